//! TDX quotes: alone or beside a vTPM, under Intel's root or one that the pool adds.

use super::{Demands, Launched, ReportSatisfied, TpmVouched};
use crate::quote::hex;
use crate::session::Covered;
use crate::{LogKind, Rejection};
use ccnode_evidence::TdxEvidence;
use ccnode_protocol::admin::{HardwareClaims, TdxClaims};
use ccnode_protocol::limits;
use ccnode_tdx::{Quote, Rejection as TdxRejection, Root, Rtmr, TdxProven};
use ccnode_tpm_eventlog::EventLog;

/// Proves the quote, then asks whether it covers this session, then whether the pool takes it.
pub(super) fn judge(
    evidence: &TdxEvidence,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    let proven = prove(&evidence.quote.0, demands)?;
    proven.is_bound_to(&covered.reported).map_err(Rejection::Tdx)?;
    if let Some(log) = &evidence.cc_eventlog {
        replay(&log.0, &proven)?;
    }
    satisfied(&proven, None, false, demands)
}

/// Under the first root that the PCK chain leads to, with the platform's collateral where there is some.
pub(super) fn prove(bytes: &[u8], demands: &Demands<'_>) -> Result<TdxProven, Rejection> {
    let quote = Quote::parse(bytes).map_err(|e| Rejection::Tdx(TdxRejection::Malformed(e)))?;
    let (intel, others) = demands.hardware.tdx_roots();
    let mut due = match under(&quote, intel, demands) {
        Ok(proven) => return Ok(proven),
        Err(rejection) => rejection,
    };
    for root in others {
        match under(&quote, root, demands) {
            Ok(proven) => return Ok(proven),
            // Of its own root, what holds against it is said; where none is its own, what does under Intel's.
            Err(rejection) if ccnode_tdx::verify(&quote, root, None, demands.now).is_ok() => due = rejection,
            Err(_) => {}
        }
    }
    Err(Rejection::Tdx(due))
}

fn under(quote: &Quote<'_>, root: &Root, demands: &Demands<'_>) -> Result<TdxProven, TdxRejection> {
    let fmspc = quote.unproven_fmspc()?;
    let alone = || ccnode_tdx::verify(quote, root, None, demands.now);
    let age = &demands.hardware.policy().tdx.collateral;
    let outcome = match demands.collateral.tdx_valid(&fmspc, root, age, demands.now).transpose() {
        Ok(valid) => ccnode_tdx::verify(quote, root, valid.as_deref(), demands.now),
        // What is wrong with the quote itself is said before what is wrong with the collateral.
        Err(error) => Err(alone().err().unwrap_or(error)),
    };
    if outcome.is_ok() || alone().is_ok() {
        demands.collateral.genuine(&fmspc);
    }
    outcome
}

pub(super) fn satisfied(
    proven: &TdxProven,
    vouched: Option<TpmVouched>,
    ephemeral: bool,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    let policy = &demands.hardware.policy().tdx;
    policy.check(proven).map_err(Rejection::Tdx)?;
    let body = proven.body();
    Ok(ReportSatisfied {
        claims: HardwareClaims::Tdx(claims(proven)),
        vouched,
        keeper: demands.hardware.policy().vtpm_keepers.keep_tdx(proven),
        ephemeral,
        launch: Launched::Tdx { mr_td: body.mr_td.0, rtmrs: body.rtmr.map(|rtmr| rtmr.0) },
    })
}

/// A log that is sent must be the log of these registers; RTMR 3, which the guest extends, is in it only where the guest says so.
fn replay(log: &[u8], proven: &TdxProven) -> Result<(), Rejection> {
    let malformed = |reason| Rejection::EventLogMalformed { log: LogKind::Ccel, reason };
    if log.len() > limits::EVENT_LOG {
        return Err(crate::session::malformed(
            "tee-evidence.primary_evidence.cc_eventlog",
            format_args!("{} bytes, {} at most", log.len(), limits::EVENT_LOG),
        ));
    }
    let log = EventLog::parse(log).map_err(malformed)?;
    let firmwares = [Rtmr::Rtmr0, Rtmr::Rtmr1, Rtmr::Rtmr2];
    proven.matches_log(&log, &firmwares).map(drop).map_err(Rejection::TdxLog)
}

fn claims(proven: &TdxProven) -> TdxClaims {
    let body = proven.body();
    let tcb = proven.tcb();
    TdxClaims {
        fmspc: hex(&proven.pck().fmspc),
        tcb_status: tcb.map(|tcb| tcb.status.to_string()),
        advisories: tcb.map(|tcb| tcb.advisories.clone()).unwrap_or_default(),
        tee_tcb_svn: body.tee_tcb_svn.to_string(),
        mr_td: body.mr_td.to_string(),
        rtmrs: body.rtmr.map(|rtmr| rtmr.to_string()),
        mr_config_id: body.mr_config_id.to_string(),
        attributes: body.td_attributes.to_string(),
        xfam: body.xfam.to_string(),
        root: proven.root().hex(),
        danger_root: proven.root() != Root::intel().key(),
    }
}
