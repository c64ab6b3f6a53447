//! Certificates, revocation lists and TCB information that do not come with the evidence.

use ccnode_snp::{Certificates, CertificatesError, Report};
use ccnode_tdx::Collateral as TdxCollateral;
use std::collections::BTreeMap;

/// Where appraisal looks for what the evidence lacks.
///
/// An implementer owes: an answer from memory, at once; what it gives is judged like what comes with evidence.
pub trait Collateral: Send + Sync {
    /// Endorsement certificates that may be of the report's key, CAs and revocation lists.
    fn snp(&self, report: &Report) -> Certificates;

    /// The collateral of the platform model of this FMSPC.
    fn tdx(&self, fmspc: &[u8; 6]) -> Option<&TdxCollateral>;
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
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    snp: Certificates,
    tdx: BTreeMap<[u8; 6], TdxCollateral>,
}

impl Shelf {
    /// Adds a certificate or revocation list of SEV-SNP, DER.
    pub fn add_snp(&mut self, der: &[u8]) -> Result<(), CollateralError> {
        self.snp.add(der).map_err(CollateralError::Snp)
    }

    /// Adds the TDX collateral of one platform model, JSON; a later one takes the place of an earlier.
    pub fn add_tdx(&mut self, json: &str) -> Result<(), CollateralError> {
        let collateral: TdxCollateral = serde_json::from_str(json).map_err(CollateralError::Tdx)?;
        let fmspc = collateral.unproven_fmspc().ok_or(CollateralError::NoFmspc)?;
        self.tdx.insert(fmspc, collateral);
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
        self.tdx.get(fmspc)
    }
}
