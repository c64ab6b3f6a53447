//! An SEV-SNP report: signature, endorsement key, chain, and what the report says of its guest.

use super::report::{Branch, Report};
use super::{Given, certs};
use anyhow::Result;
use ccnode_evidence::Code;
use ccnode_snp::{Certificates, ReportParsed, SnpProven, SnpRejection, TcbVersion};
use serde_json::{Value, json};

/// Judges a raw report with what `--certs` gave.
pub(crate) fn judge(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("snp", "SEV-SNP attestation report");
    let Some(certificates) = certs::given(given, &mut report) else { return Ok(report) };
    if let Some(proven) = prove(bytes, &certificates, given, &mut report)? {
        bound(&proven, given, &mut report);
    }
    Ok(report)
}

/// Whether REPORT_DATA is what `--nonce` says.
pub(crate) fn bound(proven: &SnpProven, given: &Given, report: &mut Report) {
    let seen = proven.report().report_data;
    match &given.nonce {
        None => report.unproven("freshness: no --nonce says what REPORT_DATA must be"),
        Some(nonce) if *nonce == padded(nonce, &seen) && !nonce.is_empty() => {
            report.push(Branch::proven("REPORT_DATA is the nonce given"));
        }
        Some(nonce) if padded(nonce, &seen) == seen && !nonce.is_empty() => {
            report.push(Branch::proven("REPORT_DATA is the nonce given, then zeros"));
        }
        Some(nonce) => report.wrong(
            Code::SnpReportData,
            format!("REPORT_DATA is {}, the nonce given is {}", hex::encode(seen), hex::encode(nonce)),
        ),
    }
}

/// `nonce` with zeros behind it, as long as `like`.
fn padded(nonce: &[u8], like: &[u8]) -> Vec<u8> {
    let mut out = nonce.to_vec();
    out.resize(like.len().max(nonce.len()), 0);
    out
}

/// Parses, leads to a root and checks the signature; what is found goes into `report`.
pub(crate) fn prove(
    bytes: &[u8],
    certificates: &Certificates,
    given: &Given,
    report: &mut Report,
) -> Result<Option<SnpProven>> {
    let parsed = match ReportParsed::parse(bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            report.wrong(Code::SnpReportMalformed, error);
            return Ok(None);
        }
    };
    let roots = certs::amd_roots(given)?;
    let unproven = parsed.report().clone();
    report.title(format!("SEV-SNP attestation report, version {}", unproven.version));
    match parsed.verify(certificates, &roots, given.now) {
        Ok(proven) => {
            describe(&proven, report);
            Ok(Some(proven))
        }
        Err(SnpRejection::CertificateMissing { wanted }) => {
            let detail = format!("the {wanted} certificate that signed it: give it with --certs");
            report.missing(Code::SnpCertMissing, detail);
            report.claim("version", unproven.version);
            Ok(None)
        }
        Err(rejection) => {
            report.wrong(rejection.code(), &rejection);
            Ok(None)
        }
    }
}

fn describe(proven: &SnpProven, report: &mut Report) {
    let (fields, endorsement) = (proven.report(), proven.endorsement());
    let subjects: Vec<&str> = endorsement.subjects().collect();
    let chain: Vec<&str> = subjects.iter().rev().copied().collect();
    let root = match endorsement.danger_root() {
        true => "a root that --danger-root added, NOT AMD's",
        false => "AMD's root, pinned",
    };
    let signer = match (proven.chip_id(), proven.provider()) {
        (_, Some(provider)) => format!("{} of provider {provider}", proven.signing_key()),
        (Some(chip), None) => format!("{} of chip {}…", proven.signing_key(), short(&chip)),
        (None, None) => proven.signing_key().to_string(),
    };
    let crl = match endorsement.crl_checked() {
        true => Branch::proven("a revocation list of the root is current and names none of them"),
        false => Branch::plain("revocation was not asked: --certs had no list"),
    };
    let chain = Branch::proven(format!("{} ({root})", chain.join(" ← "))).with(crl);
    report.push(Branch::proven(format!("signed by the {signer}")).with(chain));
    let tcbs = proven.tcbs();
    let tcb = format!("reported TCB {} is the certificate's", words(&tcbs.reported));
    report.push(Branch::proven(tcb).with(Branch::plain(format!("current TCB {}", words(&tcbs.current)))));

    let mut guest = Branch::proven(format!("guest on {} at VMPL {}", proven.product(), fields.vmpl));
    for (name, value) in [
        ("launch measurement", fields.measurement.as_slice()),
        ("HOST_DATA", &fields.host_data),
        ("ID key digest", &fields.id_key_digest),
        ("REPORT_DATA", &fields.report_data),
    ] {
        guest.push(Branch::plain(format!("{name} {}", hex::encode(value))));
    }
    let policy = fields.policy;
    guest.push(Branch::plain(format!(
        "policy {:#x}: debug {}, migration {}, SMT {}",
        policy.0,
        allowed(policy.debug()),
        allowed(policy.migration()),
        allowed(policy.smt())
    )));
    report.push(guest);
    if policy.debug() {
        report.unproven(
            "confidentiality: the guest's policy allows debugging, so the host may read its memory",
        );
    }
    claims(proven, report);
}

fn allowed(yes: bool) -> &'static str {
    if yes { "allowed" } else { "forbidden" }
}

fn short(bytes: &[u8]) -> String {
    hex::encode(bytes).chars().take(16).collect()
}

fn words(tcb: &TcbVersion) -> String {
    tcb.components().map(|(component, value)| format!("{component} {value}")).collect::<Vec<_>>().join(", ")
}

fn tcb(tcb: &TcbVersion) -> Value {
    let members = tcb.components().map(|(component, value)| (component.to_string(), json!(value)));
    Value::Object(members.collect())
}

fn claims(proven: &SnpProven, report: &mut Report) {
    let (fields, tcbs) = (proven.report(), proven.tcbs());
    let endorsement = proven.endorsement();
    report.claim("version", fields.version);
    report.claim("product", proven.product().name());
    report.claim("signing-key", proven.signing_key().to_string());
    report.claim("root", hex::encode(endorsement.root()));
    report.claim("danger-root", endorsement.danger_root());
    report.claim("crl-checked", endorsement.crl_checked());
    report.claim("chip-id", proven.chip_id().map(hex::encode));
    report.claim("provider", proven.provider());
    report.claim("vmpl", fields.vmpl);
    report.claim("guest-svn", fields.guest_svn);
    report.claim("policy", format!("{:#x}", fields.policy.0));
    report.claim("debug", fields.policy.debug());
    report.claim("migration", fields.policy.migration());
    report.claim("smt", fields.policy.smt());
    report.claim("platform-info", format!("{:#x}", fields.platform_info.0));
    for (name, value) in [
        ("measurement", fields.measurement.as_slice()),
        ("report-data", &fields.report_data),
        ("host-data", &fields.host_data),
        ("id-key-digest", &fields.id_key_digest),
        ("author-key-digest", &fields.author_key_digest),
        ("report-id", &fields.report_id),
    ] {
        report.claim(name, hex::encode(value));
    }
    report.claim("reported-tcb", tcb(&tcbs.reported));
    report.claim("current-tcb", tcb(&tcbs.current));
    report.claim("committed-tcb", tcb(&tcbs.committed));
    report.claim("launch-tcb", tcb(&tcbs.launch));
}
