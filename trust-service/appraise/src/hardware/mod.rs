//! Hardware reports in a session: proven, bound to its transcript, judged by the pool, and what they vouch for.

mod azure;
mod collateral;
mod policy;
mod snp;
mod tdx;

pub use collateral::{Collateral, CollateralError, Shelf};
pub use policy::{
    AzurePolicy, Hardware, HardwarePolicy, PolicyError, SnpLaunch, TdxLaunch, VtpmKeepers, table,
};

use crate::public_key::PublicKey;
use crate::sent::{Sent, SentReport};
use crate::session::{Covered, Session, malformed};
use crate::{Rejection, TpmIdentity, UnixTime};
use ccnode_evidence::{Sha256Digest, Svsm};
use ccnode_protocol::admin::HardwareClaims;
use ccnode_snp::Listed;

/// What a report is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Demands<'a> {
    pub(crate) hardware: &'a Hardware,
    pub(crate) collateral: &'a dyn Collateral,
    pub(crate) now: UnixTime,
}

/// Proof that a genuine report covers this session's transcript and satisfies the pool.
#[derive(Debug)]
pub(crate) struct ReportSatisfied {
    pub(crate) claims: HardwareClaims,
    /// Where the report covers the very TPM that was offered.
    pub(crate) vouched: Option<TpmVouched>,
    /// Whether the pool lists the launch as one that keeps a vTPM.
    pub(crate) keeper: bool,
    /// Whether the vTPM is made anew at each boot, as far as its keeper says.
    pub(crate) ephemeral: bool,
    pub(crate) launch: Launched,
}

/// Proof that a report covers the key of the TPM that was offered: its endorsement key (SVSM) or its attestation key (Azure).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TpmVouched(());

/// What was launched, as the hardware measured it.
#[derive(Clone, Debug)]
pub(crate) enum Launched {
    Snp { measurement: [u8; 48], report_id: [u8; 32] },
    Tdx { mr_td: [u8; 48], rtmrs: [[u8; 48]; 4] },
}

impl Launched {
    /// The image that the pool lists this launch for.
    pub(crate) fn image(&self, policy: &HardwarePolicy) -> Option<Sha256Digest> {
        match self {
            Self::Snp { measurement, .. } => {
                policy.snp_launches.iter().find(|l| l.measurement.0 == *measurement).map(|l| l.image)
            }
            Self::Tdx { mr_td, rtmrs: [rtmr0, rtmr1, rtmr2, _] } => {
                let same = |l: &&TdxLaunch| {
                    [l.mr_td.0, l.rtmr0.0, l.rtmr1.0, l.rtmr2.0] == [*mr_td, *rtmr0, *rtmr1, *rtmr2]
                };
                policy.tdx_launches.iter().find(same).map(|l| l.image)
            }
        }
    }

    /// The launches of this kind that the pool lists, in words.
    pub(crate) fn listed(&self, policy: &HardwarePolicy) -> String {
        match self {
            Self::Snp { .. } => {
                let listed: Vec<_> = policy.snp_launches.iter().map(|launch| launch.measurement).collect();
                Listed::of(&listed).to_string()
            }
            // Four registers each: more than a refusal's sentence holds.
            Self::Tdx { .. } => format!("none of the {} that the policy lists", policy.tdx_launches.len()),
        }
    }

    /// In words, for whoever wants to list it.
    pub(crate) fn describe(&self) -> String {
        let hex = crate::quote::hex;
        match self {
            Self::Snp { measurement, .. } => format!("launch measurement {}", hex(measurement)),
            Self::Tdx { mr_td, rtmrs: [rtmr0, rtmr1, rtmr2, _] } => format!(
                "MRTD {}, RTMR0 {}, RTMR1 {}, RTMR2 {}",
                hex(mr_td),
                hex(rtmr0),
                hex(rtmr1),
                hex(rtmr2)
            ),
        }
    }
}

/// The TPM that a report may vouch for.
#[derive(Clone, Copy)]
pub(crate) enum Vtpm<'a> {
    /// One that was offered before the challenge: its credential was made for both of its keys.
    Offered(&'a TpmIdentity),
    /// One of which nothing is known but the key that its quote verifies with.
    Signer(&'a PublicKey),
}

impl Vtpm<'_> {
    fn ak_rsa(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Offered(identity) => identity.ak_rsa(),
            Self::Signer(key) => key.rsa_numbers(),
        }
    }
}

/// Judges the report of a session; `None` for evidence that has none.
pub(crate) fn judge(
    session: &Session<'_>,
    sent: &Sent,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<Option<ReportSatisfied>, Rejection> {
    let offered = session.tpm.map(|tpm| Vtpm::Offered(tpm.identity));
    let svsm = sent.ours.svsm.as_ref();
    sent.report.as_ref().map(|report| judge_report(report, svsm, offered, covered, demands)).transpose()
}

/// Judges one report. What an SVSM vouches for is an endorsement key, so only an offered TPM has an SVSM's word.
pub(crate) fn judge_report(
    report: &SentReport,
    svsm: Option<&Svsm>,
    vtpm: Option<Vtpm<'_>>,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    match report {
        SentReport::Snp(evidence) => {
            let identity = match vtpm {
                Some(Vtpm::Offered(identity)) => Some(identity),
                Some(Vtpm::Signer(_)) | None => None,
            };
            snp::judge(evidence, svsm, identity, covered, demands)
        }
        SentReport::Tdx(evidence) => tdx::judge(evidence, covered, demands),
        SentReport::AzSnp { hcl, vcek } => azure::snp(hcl, vcek, there(vtpm)?, covered, demands),
        SentReport::AzTdx { hcl, quote } => azure::tdx(hcl, quote, there(vtpm)?, covered, demands),
    }
}

/// Azure's evidence is a quote: without a TPM none is read.
fn there(vtpm: Option<Vtpm<'_>>) -> Result<Vtpm<'_>, Rejection> {
    vtpm.ok_or_else(|| malformed("extra-params.ccnode", "no TPM was offered"))
}
