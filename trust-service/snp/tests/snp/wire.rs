//! The JSON form of `snp` evidence: recorded sessions of stock clients, the `sev` crate's own form, and what has no form.

use crate::world::vector;
use ccnode_evidence::{Nonce, SnpEvidence, SnpFormError, SnpReport, transcript::Transcript};
use ccnode_snp::{Certificates, ReportParsed};
use ccnode_testkit::snp::{ChipModel, TestChip};
use serde_json::Value;
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

/// The attestations of a recording, whole lines of JSON.
fn attestations(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| line.starts_with("{\"runtime-data\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn recorded_evidence_reads_and_binds_its_session() {
    let Some(text) = vector("kbs-transcripts/snp-testroots.txt") else { return };
    let (mut bound, mut others, mut with_certificate) = (0, 0, 0);
    for attestation in attestations(std::str::from_utf8(&text).unwrap()) {
        let primary = &attestation["tee-evidence"]["primary_evidence"];
        let evidence: SnpEvidence = serde_json::from_value(primary.clone()).unwrap();
        assert_eq!(&serde_json::to_value(&evidence).unwrap(), primary, "the form is kept");
        let raw = evidence.attestation_report.to_bytes().unwrap();
        assert_eq!(SnpReport::from_bytes(&raw).unwrap(), evidence.attestation_report);
        let theirs: AttestationReport =
            serde_json::from_value(primary["attestation_report"].clone()).unwrap();
        assert_eq!(theirs.to_bytes().unwrap().as_slice(), raw);
        let parsed = ReportParsed::parse(&raw).unwrap();
        if let Some(chain) = evidence.cert_chain {
            assert_eq!(Certificates::from_chain(&chain).unwrap().veks.len(), 1);
            with_certificate += 1;
        }
        let runtime = &attestation["runtime-data"];
        let nonce: Nonce = serde_json::from_value(runtime["nonce"].clone()).unwrap();
        let additional = attestation["tee-evidence"]["additional_evidence"].as_str().unwrap();
        let key = &runtime["tee-pubkey"];
        let due = Transcript { additional_evidence: Some(additional), nonce: &nonce, tee_pubkey: key };
        let due = ccnode_snp::report_data(&due.stock().unwrap());
        if parsed.report().report_data == due { bound += 1 } else { others += 1 }
    }
    assert!(bound >= 5 && with_certificate >= 5, "{bound} bound, {others} not, {with_certificate}");
}

#[test]
fn the_form_is_the_sev_crates() {
    for model in ChipModel::ALL {
        let chip = TestChip::new(model, 1);
        for version in 2..=5 {
            let raw = chip.report_of(version, [7; 64], 0);
            let theirs = serde_json::to_value(AttestationReport::from_bytes(&raw).unwrap()).unwrap();
            let ours = serde_json::to_value(SnpReport::from_bytes(&raw).unwrap()).unwrap();
            assert_eq!(ours, theirs, "{model:?} version {version}");
        }
    }
}

#[test]
fn what_a_node_sends_reads_back() {
    let chip = TestChip::milan();
    let raw = chip.report([7; 64], 0);
    let sent = SnpEvidence::new(&raw, &chip.certs_table()).unwrap();
    let text = serde_json::to_string(&sent).unwrap();
    let read: SnpEvidence = serde_json::from_str(&text).unwrap();
    assert_eq!(read.attestation_report.to_bytes().unwrap(), raw);
    let certs = Certificates::from_chain(read.cert_chain.as_deref().unwrap()).unwrap();
    assert_eq!(certs, Certificates::from_table(&chip.certs_table()).unwrap());
    for none in [vec![], vec![0; 4096]] {
        assert_eq!(SnpEvidence::new(&raw, &none).unwrap().cert_chain, None);
    }
    assert!(matches!(SnpEvidence::new(&raw, &[1; 10]), Err(SnpFormError::Table(_))));
}

#[test]
fn what_the_form_can_not_carry_is_refused() {
    let good = TestChip::milan().report([7; 64], 0);
    assert_eq!(SnpReport::from_bytes(&good[1..]), Err(SnpFormError::Size(1183)));
    for at in [0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x1f8, 0x29f, 0x330, 0x49f, 0x3a, 0x182] {
        let mut raw = good.clone();
        raw[at] = 1;
        assert_eq!(SnpReport::from_bytes(&raw), Err(SnpFormError::Lossy), "byte {at:#x}");
    }
    for version in [0, 1, 6] {
        let mut raw = good.clone();
        raw[0] = version;
        assert_eq!(SnpReport::from_bytes(&raw), Err(SnpFormError::Version(version.into())));
    }
}

#[test]
fn members_fit_the_version() {
    let json = |version: u32| {
        let raw = TestChip::turin().report_of(version, [7; 64], 0);
        serde_json::to_value(SnpReport::from_bytes(&raw).unwrap()).unwrap()
    };
    let bytes = |value: Value| serde_json::from_value::<SnpReport>(value).unwrap().to_bytes();
    for (version, member, value) in [
        (3, "cpuid_fam_id", Value::Null),
        (3, "cpuid_mod_id", Value::Null),
        (3, "cpuid_step", Value::Null),
        (5, "launch_mit_vector", Value::Null),
        (5, "current_mit_vector", Value::Null),
        (2, "cpuid_fam_id", 0.into()),
        (4, "launch_mit_vector", 0.into()),
    ] {
        let mut report = json(version);
        report[member] = value;
        assert_eq!(bytes(report), Err(SnpFormError::Member { member, version }));
    }
    for tcb in ["current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"] {
        let mut report = json(5);
        report[tcb]["fmc"] = Value::Null;
        assert_eq!(bytes(report), Err(SnpFormError::Fmc(tcb)));
    }
    let mut report = json(5);
    report["version"] = 6.into();
    assert_eq!(bytes(report), Err(SnpFormError::Version(6)));
    for (member, numbers) in [("report_data", 63), ("report_data", 65), ("host_data", 31), ("chip_id", 0)] {
        let mut report = json(5);
        report[member] = vec![1; numbers].into();
        assert!(serde_json::from_value::<SnpReport>(report.clone()).is_err());
        assert!(serde_json::from_str::<SnpReport>(&report.to_string()).is_err(), "{member} of {numbers}");
    }
}
