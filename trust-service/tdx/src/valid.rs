//! Collateral that Intel signed, with the dates within which it may be used.

use crate::chain::{self, Checked, Facts};
use crate::collateral::{Signed, json};
use crate::crl::{self, Crl};
use crate::qe::QeIdentity;
use crate::tcb_info::{Kind, TcbInfo};
use crate::{
    ChainError, ChainKind, Collateral, CollateralAge, CollateralError, CollateralItem, Rejection, Root,
};
use ccnode_evidence::{Sha256Digest, UnixTime};
use rustls_pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use std::cmp::Reverse;

/// When an item was issued and when the next one is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dates {
    /// The item.
    pub item: CollateralItem,
    /// `issueDate` or `thisUpdate`.
    pub issued: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
}

/// Proof that all collateral is signed under one root and in date; [`Collateral::verify`] alone makes it.
///
/// It may be kept: [`crate::verify`] looks at the dates again.
#[derive(Debug)]
pub struct CollateralValid {
    root: Sha256Digest,
    age: CollateralAge,
    signer: Checked,
    qe_signer: Option<Checked>,
    pck_ca: (CertificateDer<'static>, Facts),
    pub(crate) tcb_info: TcbInfo,
    pub(crate) qe_identity: QeIdentity,
    root_crl: Crl,
    pck_crl: Crl,
}

impl Collateral {
    /// Checks every signature to `root`, revocation of the signers, and the dates at `now`, as lenient as `age` says.
    pub fn verify(
        &self,
        root: &Root,
        now: UnixTime,
        age: &CollateralAge,
    ) -> Result<CollateralValid, Rejection> {
        let root_crl = Crl::verify(CollateralItem::RootCrl, self.root_crl(), &root.facts)?;
        let (info, identity) = (self.tcb_info(), self.qe_identity());
        let signer = signer(ChainKind::TcbInfo, info, root, &root_crl, now)?;
        // Both have one signer as a rule; its chain need not be checked twice.
        let qe_signer = match info.chain == identity.chain {
            true => None,
            false => Some(self::signer(ChainKind::QeIdentity, identity, root, &root_crl, now)?),
        };
        signed(CollateralItem::TcbInfo, info, &signer)?;
        signed(CollateralItem::QeIdentity, identity, qe_signer.as_ref().unwrap_or(&signer))?;

        let (pck_crl, pck_chain) = self.pck_crl();
        let pck_ca = pck_ca(pck_chain, root, &root_crl, now)?;
        let valid = CollateralValid {
            root: root.key(),
            age: *age,
            tcb_info: tcb_info(info.text)?,
            qe_identity: qe_identity(identity.text)?,
            pck_crl: Crl::verify(CollateralItem::PckCrl, pck_crl, &pck_ca.1)?,
            signer,
            qe_signer,
            pck_ca,
            root_crl,
        };
        valid.current(now)?;
        Ok(valid)
    }
}

impl CollateralValid {
    /// FMSPC of the platform model that it is for.
    pub fn fmspc(&self) -> [u8; 6] {
        self.tcb_info.fmspc.0
    }

    /// PCEID of that model's provisioning certification enclave.
    pub fn pce_id(&self) -> [u8; 2] {
        self.tcb_info.pce_id.0
    }

    /// The dates of every dated item.
    pub fn dates(&self) -> [Dates; 4] {
        let dates = |item, issued: crate::json::Date, next: crate::json::Date| Dates {
            item,
            issued: issued.0,
            next_update: next.0,
        };
        [
            dates(CollateralItem::TcbInfo, self.tcb_info.issue_date, self.tcb_info.next_update),
            dates(CollateralItem::QeIdentity, self.qe_identity.issue_date, self.qe_identity.next_update),
            self.root_crl.dates,
            self.pck_crl.dates,
        ]
    }

    /// Whether nothing of it is older than in `other`: no date of issue, no TCB evaluation data number.
    pub fn is_no_older_than(&self, other: &Self) -> bool {
        let dated = self.dates().iter().zip(&other.dates()).all(|(own, others)| own.issued >= others.issued);
        let number = |valid: &Self| valid.tcb_info.tcb_evaluation_data_number;
        dated && number(self) >= number(other)
    }

    pub(crate) fn is_under(&self, root: &Root) -> Result<(), Rejection> {
        if self.root == root.key() {
            return Ok(());
        }
        Err(Rejection::CollateralRoot { seen: self.root, wanted: root.key() })
    }

    /// Whether everything is still in date, as lenient as it was verified.
    pub fn current(&self, now: UnixTime) -> Result<(), Rejection> {
        self.dates().iter().try_for_each(|dates| self.age.check(dates, now))?;
        let chains =
            [(ChainKind::TcbInfo, Some(&self.signer)), (ChainKind::QeIdentity, self.qe_signer.as_ref())];
        for (kind, checked) in chains {
            let valid = checked.map_or(Ok(()), |chain| chain.valid(now));
            valid.map_err(|error| Rejection::Chain { chain: kind, error })?;
        }
        self.pck_ca.1.valid(now).map_err(|error| Rejection::Chain { chain: ChainKind::PckCrl, error })
    }

    /// The CA of PCK certificates that was led to the root.
    pub(crate) fn pck_ca(&self) -> &CertificateDer<'static> {
        &self.pck_ca.0
    }

    /// Whether no certificate of a PCK chain is revoked.
    pub(crate) fn not_revoked(&self, chain: &Checked) -> Result<(), Rejection> {
        crl::check(ChainKind::Pck, chain, &[&self.pck_crl, &self.root_crl])
    }
}

fn signer(
    kind: ChainKind,
    item: Signed<'_>,
    root: &Root,
    crl: &Crl,
    now: UnixTime,
) -> Result<Checked, Rejection> {
    let fail = |error| Rejection::Chain { chain: kind, error };
    let certs = chain::read_pem(item.chain.as_bytes()).map_err(fail)?;
    let checked = chain::check(kind, &certs, root, None, now).map_err(fail)?;
    crl::check(kind, &checked, &[crl])?;
    Ok(checked)
}

fn pck_ca(
    pem: &str,
    root: &Root,
    crl: &Crl,
    now: UnixTime,
) -> Result<(CertificateDer<'static>, Facts), Rejection> {
    let kind = ChainKind::PckCrl;
    let fail = |error| Rejection::Chain { chain: kind, error };
    let certs = chain::read_pem(pem.as_bytes()).map_err(fail)?;
    let checked = chain::check_ca(&certs, root, now).map_err(fail)?;
    crl::check(kind, &checked, &[crl])?;
    let ca = certs.into_iter().next().zip(checked.leaf().cloned());
    ca.ok_or(fail(ChainError::Length { seen: 0, due: 1 }))
}

fn signed(item: CollateralItem, signed: Signed<'_>, signer: &Checked) -> Result<(), Rejection> {
    let bad = Rejection::CollateralMalformed { item, error: CollateralError::Signature };
    let signature: &[u8; 64] = signed.signature.try_into().map_err(|_| bad)?;
    match signer.leaf() {
        Some(leaf) if leaf.point.signed(signed.text.as_bytes(), signature) => Ok(()),
        _ => Err(Rejection::CollateralSignature(item)),
    }
}

fn tcb_info(text: &str) -> Result<TcbInfo, Rejection> {
    let item = CollateralItem::TcbInfo;
    // Version 2 is of SGX alone and does not name its TEE.
    let mut info: TcbInfo = read(item, text, ("TDX", &[3]), |info: &TcbInfo| (&info.id, info.version))?;
    if info.tcb_type != 0 {
        let error = CollateralError::TcbType(info.tcb_type);
        return Err(Rejection::CollateralMalformed { item, error });
    }
    // Intel's library brings levels into this order, whatever the text's is.
    info.tcb_levels.sort_by_key(|level| Reverse(level.tcb));
    Ok(info)
}

fn qe_identity(text: &str) -> Result<QeIdentity, Rejection> {
    read(CollateralItem::QeIdentity, text, ("TD_QE", &[2, 3]), |qe: &QeIdentity| (&qe.id, qe.version))
}

/// Reads a signed text of one kind and of the versions known here.
fn read<T: DeserializeOwned>(
    item: CollateralItem,
    text: &str,
    (wanted, versions): (&'static str, &'static [u32]),
    kind: impl FnOnce(&T) -> (&str, u32),
) -> Result<T, Rejection> {
    let parsed = serde_json::from_str::<T>(text);
    let other: Kind;
    let (id, version) = match &parsed {
        Ok(value) => kind(value),
        // What is of another kind lacks members: better to say the kind than which.
        Err(error) => {
            other = serde_json::from_str(text).map_err(|_| json(item, error))?;
            (other.id.as_str(), other.version)
        }
    };
    if id != wanted {
        return Err(Rejection::CollateralKind { item, seen: printable(id), wanted });
    }
    if !versions.contains(&version) {
        let error = CollateralError::Version { seen: version, wanted: versions };
        return Err(Rejection::CollateralMalformed { item, error });
    }
    parsed.map_err(|e| json(item, &e))
}

fn printable(text: &str) -> String {
    chain::printable(text).chars().take(40).collect()
}
