//! What evidence is worth, and whose it is: derived from proofs, never claimed by a node.

use crate::hardware::{Launched, ReportSatisfied};
use crate::session::{Offered, Session};
use crate::{EkChainValid, EkRoot, HardwarePolicy, Rejection, TrustLevel, UnixTime};
use ccnode_evidence::transcript::ActivationProven;
use ccnode_evidence::{EvidenceKind, ImageTuple, Sha256Digest};
use std::fmt;

/// Why a hardware report does not make its vTPM worth more than the TPM alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unbound {
    /// There is none.
    NoReport,
    /// It covers the session, and not the TPM's key: whoever keeps the TPM is not in it.
    NotCovered,
    /// It covers the TPM's key, and the pool does not list its launch as one that keeps a vTPM: any guest can cover a key.
    NotKeeper,
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoReport => "there is no hardware report",
            Self::NotCovered => "the hardware report does not cover this TPM's key",
            Self::NotKeeper => {
                "the hardware report covers this TPM's key, but the pool's [vtpm-keepers] do not list its launch"
            }
        })
    }
}

/// Proof of what a TPM is worth. Made only by [`TpmLevel::derive`].
#[derive(Debug)]
pub(crate) struct TpmLevel {
    pub(crate) level: TrustLevel,
    /// Why it is no higher.
    pub(crate) unbound: Option<Unbound>,
    pub(crate) node_id: Sha256Digest,
    pub(crate) ephemeral: bool,
}

impl TpmLevel {
    /// A report that covers the TPM's key, of a guest that the pool lists, makes it `tee-bound-vtpm`; else the pool's EK roots say.
    pub(crate) fn derive(
        session: &Session<'_>,
        tpm: Offered<'_>,
        report: Option<&ReportSatisfied>,
        policy: &HardwarePolicy,
        ek_roots: &[EkRoot],
        now: UnixTime,
        _activated: &ActivationProven,
    ) -> Result<Self, Rejection> {
        let unbound = match report {
            Some(ReportSatisfied { vouched: Some(_vouched), keeper: true, .. }) => None,
            Some(ReportSatisfied { vouched: Some(_), keeper: false, .. }) => Some(Unbound::NotKeeper),
            Some(_) => Some(Unbound::NotCovered),
            None => Some(Unbound::NoReport),
        };
        let level = match unbound {
            None => TrustLevel::TeeBoundVtpm,
            Some(unbound) => {
                let certificate = tpm.identity.ek_cert().ok_or(Rejection::EkUncertified(unbound))?;
                let level = EkChainValid::check(certificate, ek_roots, now)?.level();
                // No CA of endorsement keys makes a TPM more than a TPM.
                level.max(TrustLevel::DiscreteTpm)
            }
        };
        let ephemeral = unbound.is_none() && policy.ephemeral_vtpm;
        let ephemeral = ephemeral || report.is_some_and(|report| report.ephemeral);
        Ok(Self { level, unbound, node_id: tpm.identity.node_id(session.kind), ephemeral })
    }
}

/// Proof that a report alone covers an image that the pool lists. Made only by [`LaunchMatched::check`].
#[derive(Clone, Debug)]
pub(crate) struct LaunchMatched(());

impl LaunchMatched {
    /// The image whose launch this is, and whose boot: a report id is one launch's, a TD has none and is this session's.
    pub(crate) fn check<'a>(
        session: &Session<'_>,
        report: &ReportSatisfied,
        policy: &HardwarePolicy,
        images: &'a [ImageTuple],
    ) -> Result<(Self, &'a ImageTuple, Sha256Digest), Rejection> {
        let (proof, image) = Self::of(report, policy, images)?;
        let node_id = match &report.launch {
            Launched::Snp { report_id, .. } => labelled(b"ccnode report-id", report_id),
            Launched::Tdx { .. } => labelled(b"ccnode session", &session.nonce.0),
        };
        Ok((proof, image, node_id))
    }

    /// The image whose launch this is.
    pub(crate) fn of<'a>(
        report: &ReportSatisfied,
        policy: &HardwarePolicy,
        images: &'a [ImageTuple],
    ) -> Result<(Self, &'a ImageTuple), Rejection> {
        if let Launched::Tdx { rtmrs: [.., rtmr3], .. } = &report.launch
            && rtmr3.iter().any(|b| *b != 0)
        {
            return Err(Rejection::RtmrCapped { value: crate::quote::hex(rtmr3) });
        }
        let unknown = || Rejection::LaunchUnknown {
            launch: report.launch.describe(),
            listed: report.launch.listed(policy),
        };
        let id = report.launch.image(policy).ok_or_else(unknown)?;
        let image =
            images.iter().find(|tuple| tuple.id() == id).ok_or(Rejection::LaunchImage { image: id })?;
        Ok((Self(()), image))
    }
}

/// SHA-256 of a label and what it stands before: the identities of one label are never those of another.
pub(crate) fn labelled(label: &[u8], bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::of(&[label, bytes].concat())
}

/// Whether the pool takes evidence of this kind and level.
pub(crate) fn admitted(
    kind: EvidenceKind,
    level: TrustLevel,
    unbound: Option<Unbound>,
    policy: &HardwarePolicy,
) -> Result<(), Rejection> {
    if let Some(allowed) = policy.kinds.as_ref().filter(|allowed| !allowed.contains(&kind)) {
        return Err(Rejection::KindNotAllowed { kind, allowed: allowed.iter().copied().collect() });
    }
    match policy.least_level {
        // The strongest level is the least.
        Some(least) if level > least => Err(Rejection::LevelTooLow { level, least, unbound }),
        _ => Ok(()),
    }
}
