//! Certificates, revocation lists and TCB information that do not come with the evidence.

use crate::UnixTime;
use ccnode_evidence::Sha256Digest;
use ccnode_snp::{Certificates, CertificatesError, Report};
use ccnode_tdx::{Collateral as TdxCollateral, CollateralAge, CollateralValid, Rejection, Root};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Where appraisal looks for what the evidence lacks.
///
/// An implementer owes: an answer from memory, at once; what it gives is judged like what comes with evidence.
pub trait Collateral: Send + Sync {
    /// Endorsement certificates that may be of the report's key, CAs and revocation lists.
    fn snp(&self, report: &Report) -> Certificates;

    /// The collateral of the platform model of this FMSPC.
    fn tdx(&self, fmspc: &[u8; 6]) -> Option<&TdxCollateral>;

    /// The same, verified under `root` and in date at `now` as `age` says.
    ///
    /// # Errors
    /// What is wrong with it now, whatever was right before.
    fn tdx_valid(
        &self,
        fmspc: &[u8; 6],
        root: &Root,
        age: &CollateralAge,
        now: UnixTime,
    ) -> Option<Result<Arc<CollateralValid>, Rejection>> {
        self.tdx(fmspc).map(|collateral| collateral.verify(root, now, age).map(Arc::new))
    }

    /// Told that a quote of this platform model is genuine, whatever came of it: an FMSPC alone anybody can write.
    fn genuine(&self, _fmspc: &[u8; 6]) {}
}

/// Why something is no collateral.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    /// A certificate or revocation list that is none of SEV-SNP's.
    #[error("{0}")]
    Snp(#[source] CertificatesError),
    /// Not TDX collateral in the form of dcap-qvl.
    #[error("TDX collateral: {0}")]
    Tdx(#[source] serde_json::Error),
    /// TCB information that names no platform model.
    #[error("TDX collateral: its TCB info names no FMSPC")]
    NoFmspc,
}

/// Collateral in memory, sorted for look-up.
///
/// What was verified of it is kept beside it: its signatures are looked at once, its dates each time. A new shelf begins anew.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    snp: Certificates,
    tdx: BTreeMap<[u8; 6], Model>,
}

/// Collateral of one platform model.
#[derive(Debug)]
struct Model {
    collateral: TdxCollateral,
    verified: Mutex<Vec<Verified>>,
}

/// Collateral that was verified for pools of one root and one leniency about its age.
#[derive(Debug)]
struct Verified {
    root: Sha256Digest,
    age: CollateralAge,
    valid: Arc<CollateralValid>,
}

/// Roots and leniencies that a model's collateral is kept for; pools seldom differ in them.
const KEPT: usize = 16;

impl Model {
    fn new(collateral: TdxCollateral) -> Self {
        Self { collateral, verified: Mutex::default() }
    }

    fn valid(
        &self,
        root: &Root,
        age: &CollateralAge,
        now: UnixTime,
    ) -> Result<Arc<CollateralValid>, Rejection> {
        let same = |kept: &Verified| kept.root == root.key() && kept.age == *age;
        let kept = self.kept().iter().find(|kept| same(kept)).map(|kept| Arc::clone(&kept.valid));
        if let Some(valid) = kept {
            valid.current(now)?;
            return Ok(valid);
        }
        // Not under the lock: others need not wait for signatures.
        let valid = Arc::new(self.collateral.verify(root, now, age)?);
        let mut kept = self.kept();
        kept.retain(|kept| !same(kept));
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(Verified { root: root.key(), age: *age, valid: Arc::clone(&valid) });
        Ok(valid)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Model {
    fn clone(&self) -> Self {
        Self::new(self.collateral.clone())
    }
}

impl Shelf {
    /// Adds a certificate or revocation list of SEV-SNP, DER.
    pub fn add_snp(&mut self, der: &[u8]) -> Result<(), CollateralError> {
        self.snp.add(der).map_err(CollateralError::Snp)
    }

    /// Adds the TDX collateral of one platform model, JSON; a later one takes the place of an earlier.
    pub fn add_tdx(&mut self, json: &str) -> Result<(), CollateralError> {
        self.put_tdx(serde_json::from_str(json).map_err(CollateralError::Tdx)?)
    }

    /// The same, read.
    pub fn put_tdx(&mut self, collateral: TdxCollateral) -> Result<(), CollateralError> {
        let fmspc = collateral.unproven_fmspc().ok_or(CollateralError::NoFmspc)?;
        self.tdx.insert(fmspc, Model::new(collateral));
        Ok(())
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.tdx.is_empty() && self.snp == Certificates::default()
    }
}

impl Collateral for Shelf {
    fn snp(&self, report: &Report) -> Certificates {
        Certificates {
            veks: self.snp.veks.iter().filter(|vek| vek.may_sign(report)).cloned().collect(),
            cas: self.snp.cas.clone(),
            crls: self.snp.crls.clone(),
        }
    }

    fn tdx(&self, fmspc: &[u8; 6]) -> Option<&TdxCollateral> {
        self.tdx.get(fmspc).map(|model| &model.collateral)
    }

    fn tdx_valid(
        &self,
        fmspc: &[u8; 6],
        root: &Root,
        age: &CollateralAge,
        now: UnixTime,
    ) -> Option<Result<Arc<CollateralValid>, Rejection>> {
        self.tdx.get(fmspc).map(|model| model.valid(root, age, now))
    }
}
