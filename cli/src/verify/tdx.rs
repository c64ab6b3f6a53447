//! A TDX quote: signatures from the TD to Intel's root, the TCB by collateral, and what the quote says of the TD.

use super::detect::TD_REPORT;
use super::report::{Branch, Report};
use super::{Given, certs};
use anyhow::Result;
use ccnode_evidence::Code;
use ccnode_tdx::{
    Collateral, CollateralAge, CollateralValid, Quote, Rejection, Rtmr, TcbStatus, TdReport, TdxProven,
    verify,
};
use ccnode_tpm_eventlog::EventLog;
use serde_json::json;

/// Judges a raw quote; a TDREPORT, which only its own machine could check, is told apart.
pub(crate) fn judge(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("tdx", "TDX quote");
    if bytes.len() == TD_REPORT && TdReport::parse(bytes).is_ok() {
        report.title("TDREPORT");
        report.wrong(
            Code::TdxReport,
            "a TDREPORT is proven by a MAC on its own machine alone: send the quote that was made from it",
        );
        return Ok(report);
    }
    if let Some(proven) = prove(bytes, given, &mut report)? {
        bound(&proven, given, &mut report);
        if let Some(log) = &given.log {
            replays(&proven, log, &mut report);
        }
    }
    Ok(report)
}

/// Whether REPORT_DATA is what `--nonce` says.
pub(crate) fn bound(proven: &TdxProven, given: &Given, report: &mut Report) {
    let Some(nonce) = &given.nonce else {
        return report.unproven("freshness: no --nonce says what REPORT_DATA must be");
    };
    let mut wanted = [0; 64];
    wanted.iter_mut().zip(nonce).for_each(|(to, from)| *to = *from);
    match proven.carries(&wanted) {
        Ok(_) if nonce.len() <= wanted.len() => {
            report.push(Branch::proven("REPORT_DATA is the nonce given, zeros behind it"));
        }
        Ok(_) => report.wrong(Code::TdxReportData, format!("the nonce given has {} bytes", nonce.len())),
        Err(rejection) => report.wrong(rejection.code(), &rejection),
    }
}

/// Whether a CCEL replays to the quote's RTMRs.
pub(crate) fn replays(proven: &TdxProven, log: &[u8], report: &mut Report) {
    let log = match EventLog::parse_ccel(log) {
        Ok(log) => log,
        Err(error) => return report.wrong(Code::EventLogMalformed, error),
    };
    // What runs later extends RTMR 3, and logs elsewhere.
    let all = [Rtmr::Rtmr0, Rtmr::Rtmr1, Rtmr::Rtmr2];
    match proven.matches_log(&log, &all) {
        Ok(_) => report.push(Branch::proven(format!(
            "the CCEL ({} events) replays to RTMR0 to RTMR2",
            log.events.len()
        ))),
        Err(error) => report.wrong(error.code(), error),
    }
}

/// Parses, leads to a root and checks signatures and TCB; what is found goes into `report`.
pub(crate) fn prove(bytes: &[u8], given: &Given, report: &mut Report) -> Result<Option<TdxProven>> {
    let quote = match Quote::parse(bytes) {
        Ok(quote) => quote,
        Err(error) => {
            report.wrong(Code::TdxQuoteMalformed, error);
            return Ok(None);
        }
    };
    report.title(format!("TDX quote, version {}", quote.version()));
    let root = certs::intel_root(given)?;
    let collateral = given.collateral.as_deref().map(|bytes| {
        Collateral::from_json(bytes).and_then(|c| c.verify(&root, given.now, &CollateralAge::default()))
    });
    let collateral: Option<CollateralValid> = match collateral.transpose() {
        Ok(collateral) => collateral,
        Err(rejection) => {
            report.wrong(rejection.code(), &rejection);
            return Ok(None);
        }
    };
    let proven = match verify(&quote, &root, collateral.as_ref(), given.now) {
        Ok(proven) => proven,
        Err(rejection) => {
            report.wrong(rejection.code(), &rejection);
            return Ok(None);
        }
    };
    describe(&proven, root.is_intel(), report);
    status(&proven, report);
    Ok(Some(proven))
}

fn describe(proven: &TdxProven, intels: bool, report: &mut Report) {
    let (body, pck) = (proven.body(), proven.pck());
    let root = if intels { "Intel's root, pinned" } else { "a root that --danger-root added, NOT Intel's" };
    let platform =
        format!("PCK certificate of a platform of FMSPC {} leads to {root}", hex::encode(pck.fmspc));
    let enclave = Branch::proven("the quoting enclave vouches for the attestation key")
        .with(Branch::proven("its report is signed by the platform's PCK").with(Branch::proven(platform)));
    report.push(Branch::proven("signed by the attestation key of a TD quoting enclave").with(enclave));
    let mut td = Branch::proven(format!("TD with attributes {}, XFAM {}", body.td_attributes, body.xfam));
    for (name, value) in measurements(proven) {
        td.push(Branch::plain(format!("{name} {value}")));
    }
    td.push(Branch::plain(format!("REPORT_DATA {}", hex::encode(body.report_data))));
    report.push(td);
    if debug(proven) {
        report.unproven("confidentiality: the TD is under debug, so the host may read its memory");
    }
    report.claim("version", proven.version());
    report.claim("root", proven.root().hex());
    report.claim("danger-root", !intels);
    report.claim("fmspc", hex::encode(pck.fmspc));
    report.claim("debug", debug(proven));
    report.claim("td-attributes", body.td_attributes.to_string());
    report.claim("xfam", body.xfam.to_string());
    report.claim("tee-tcb-svn", body.tee_tcb_svn.to_string());
    report.claim("report-data", hex::encode(body.report_data));
    for (name, value) in measurements(proven) {
        report.claim(&name.to_lowercase(), value);
    }
}

fn debug(proven: &TdxProven) -> bool {
    proven.body().td_attributes.0 & ccnode_tdx::attributes::UNDER_DEBUG != 0
}

fn measurements(proven: &TdxProven) -> [(&'static str, String); 9] {
    let body = proven.body();
    let [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr;
    [
        ("MRSEAM", body.mr_seam),
        ("MRTD", body.mr_td),
        ("RTMR0", rtmr0),
        ("RTMR1", rtmr1),
        ("RTMR2", rtmr2),
        ("RTMR3", rtmr3),
        ("MRCONFIGID", body.mr_config_id),
        ("MROWNER", body.mr_owner),
        ("MROWNERCONFIG", body.mr_owner_config),
    ]
    .map(|(name, value)| (name, value.to_string()))
}

/// The TCB: without collateral neither it nor revocation is known.
fn status(proven: &TdxProven, report: &mut Report) {
    let Some(tcb) = proven.tcb() else {
        let missing = Rejection::CollateralMissing { fmspc: proven.pck().fmspc };
        return report.missing(missing.code(), format!("{missing}; give it with --collateral"));
    };
    report.claim("tcb-status", tcb.status.to_string());
    report.claim("advisories", json!(tcb.advisories));
    let words = format!("TCB {}, by collateral number {}", tcb.status, tcb.evaluation_number);
    match tcb.status {
        TcbStatus::UpToDate => report.push(Branch::proven(words)),
        // A matter of software and settings, which a pool's policy judges.
        TcbStatus::SwHardeningNeeded | TcbStatus::ConfigurationNeeded => {
            report.push(Branch::proven(words));
            report.unproven(format!("that the advisories {} are met", tcb.advisories.join(", ")));
        }
        _ => report.wrong(Code::TdxTcbStatus, words),
    }
}
