//! A report proven by an endorsement key: nothing of it is believed before.

use crate::bits::KeyKind;
use crate::endorse::{Endorsement, signing_key};
use crate::product::Product;
use crate::rejection::SnpRejection;
use crate::report::{Report, ReportError, ReportParsed};
use crate::tcb::{TcbKind, TcbVersion};
use crate::vek::Holder;
use crate::{Certificates, Roots, crypto};
use ccnode_evidence::UnixTime;

/// The four TCBs of a report, read in the layout of its processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcbs {
    /// What runs now.
    pub current: TcbVersion,
    /// What the endorsement key was derived from.
    pub reported: TcbVersion,
    /// What the firmware can't be rolled back behind.
    pub committed: TcbVersion,
    /// What ran when the guest was launched.
    pub launch: TcbVersion,
}

/// Proof that a trusted root vouches for every field of a report. Made only by [`ReportParsed::prove`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnpProven {
    report: Report,
    tcbs: Tcbs,
    endorsement: Endorsement,
}

impl ReportParsed {
    /// Chain and report at once, with what certificates came along; for one report of a key.
    pub fn verify(
        self,
        sent: &Certificates,
        roots: &Roots,
        now: UnixTime,
    ) -> Result<SnpProven, SnpRejection> {
        let endorsement = Endorsement::of_report(self.report(), sent, roots, now)?;
        self.prove(&endorsement, now)
    }

    /// Checks that the report belongs to the endorsed key (kind, line, reported TCB, chip) and that this key signed it.
    pub fn prove(self, endorsement: &Endorsement, now: UnixTime) -> Result<SnpProven, SnpRejection> {
        endorsement.check_time(now)?;
        let report = self.report();
        let vek = endorsement.vek();
        let kind = signing_key(report)?;
        if kind != vek.kind() {
            return Err(SnpRejection::KeyKind { report: kind, certificate: vek.kind() });
        }
        same_product(report, endorsement)?;
        let tcbs = tcbs(report, endorsement.product())?;
        if tcbs.reported != vek.tcb() {
            return Err(SnpRejection::TcbMismatch { certificate: vek.tcb(), reported: tcbs.reported });
        }
        // A masked chip id can't be compared; the key itself is one chip's.
        if let (Holder::Chip(own), Some(id)) = (vek.holder(), report.chip_id())
            && *own != id
        {
            return Err(SnpRejection::ChipMismatch {
                certificate: hex::encode(own),
                report: hex::encode(id),
            });
        }
        crypto::ecdsa_p384(vek.point(), self.signed(), self.signature())
            .ok_or(SnpRejection::Signature { kind })?;
        Ok(SnpProven { tcbs, endorsement: endorsement.clone(), report: self.into_report() })
    }
}

fn same_product(report: &Report, endorsement: &Endorsement) -> Result<(), SnpRejection> {
    // Version 2 does not name the processor; there the certificate does.
    let Some(cpuid) = report.cpuid else { return Ok(()) };
    let other = Product::from_cpuid(cpuid).ok_or(SnpRejection::ProductUnknown { cpuid })?;
    let certificate = endorsement.product();
    if other == certificate {
        Ok(())
    } else {
        Err(SnpRejection::ProductMismatch { certificate, other, root: false })
    }
}

fn tcbs(report: &Report, product: Product) -> Result<Tcbs, SnpRejection> {
    let read = |raw: crate::RawTcb, kind: TcbKind| {
        raw.read(product.layout()).ok_or(SnpRejection::ReportMalformed(ReportError::TcbReserved { kind }))
    };
    Ok(Tcbs {
        current: read(report.current_tcb, TcbKind::Current)?,
        reported: read(report.reported_tcb, TcbKind::Reported)?,
        committed: read(report.committed_tcb, TcbKind::Committed)?,
        launch: read(report.launch_tcb, TcbKind::Launch)?,
    })
}

impl SnpProven {
    /// The fields, proven.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The TCBs, read in the layout of the processor.
    pub fn tcbs(&self) -> &Tcbs {
        &self.tcbs
    }

    /// The line of processors.
    pub fn product(&self) -> Product {
        self.endorsement.product()
    }

    /// VCEK or VLEK.
    pub fn signing_key(&self) -> KeyKind {
        self.endorsement.vek().kind()
    }

    /// The chip: by the VCEK's certificate, or by the report where a VLEK signed and the id is not masked.
    pub fn chip_id(&self) -> Option<[u8; 64]> {
        match self.endorsement.vek().holder() {
            Holder::Chip(id) => Some(*id),
            Holder::Provider(_) => self.report.chip_id(),
        }
    }

    /// The provider whose VLEK signed.
    pub fn provider(&self) -> Option<&str> {
        match self.endorsement.vek().holder() {
            Holder::Chip(_) => None,
            Holder::Provider(name) => Some(name),
        }
    }

    /// The digest of the author key, where one certified the ID key.
    pub fn author_key(&self) -> Option<[u8; 48]> {
        Some(self.report.author_key_digest).filter(|_| self.report.key_info.author_key)
    }

    /// What vouches for it.
    pub fn endorsement(&self) -> &Endorsement {
        &self.endorsement
    }
}
