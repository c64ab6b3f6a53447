//! `ccnode verify` over what ccnode/1 nodes send: bodies and kept records, good ones and ones of another session.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

use ccnode_evidence::transcript::{Bound, Transcript};
use ccnode_evidence::{CcnodeEvidence, EventLogs, Nonce, Secret, SnpEvidence, Svsm, TpmEvidence, TpmQuote};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Answer, Hardware, Machine, MakerCa, Reply, Seat, SoftTpm, attest};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const NONCE: Nonce = Nonce([7; 32]);

/// Verdict, codes, and the JSON.
fn verify(name: &str, evidence: &Value, more: &[&str]) -> (String, Vec<String>, Value) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, serde_json::to_vec(evidence).unwrap()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ccnode"))
        .args(["--json", "verify", "--at", "2026-06-01"])
        .arg(&file)
        .args(more)
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["kind"], "ccnode");
    let codes = value["reasons"].as_array().unwrap().iter().map(|r| r["code"].as_str().unwrap().to_owned());
    (value["verdict"].as_str().unwrap().to_owned(), codes.collect(), value.clone())
}

fn record(attestation: Value, tee: &str, accepted: bool) -> Value {
    json!({
        "version": 1, "kind": "ccnode", "time": 1_780_272_000, "session": {"nonce": NONCE, "tee": tee},
        "attestation": attestation,
        "verdict": {
            "accepted": accepted, "code": null, "detail": null, "node": "workers-a", "pool": "workers", "level": null,
            "platform": null, "image": null, "correlation-id": "c",
        },
    })
}

fn tpm_attestation() -> Value {
    let tpm = SoftTpm::new(&MakerCa::new("maker"), Seat::A);
    let key = EphemeralKey::generate();
    let answer = Answer { nonce: &NONCE, secret: &Secret::new([1; 32]), key: &key, csr: None };
    serde_json::to_value(attest(&tpm, &answer)).unwrap()
}

#[test]
fn a_tpm_node_is_judged_by_its_transcript() {
    let sent = tpm_attestation();
    let (verdict, codes, value) = verify("tpm-record", &record(sent.clone(), "tpm", true), &[]);
    assert_eq!((verdict.as_str(), codes), ("valid", vec![]));
    assert_eq!(value["claims"]["service-verdict"]["accepted"], true);
    assert_eq!(verify("tpm-body", &sent, &[]).0, "valid");

    // Whatever the transcript binds, changed on the way, is bound no more.
    for (pointer, first) in [
        ("/runtime-data/ccnode/activation", "quote-nonce"),
        ("/runtime-data/ccnode/event-logs", "transcript-mismatch"),
    ] {
        let mut other = sent.clone();
        *other.pointer_mut(pointer).unwrap() = json!("00".repeat(32));
        let (verdict, codes, _) = verify("tpm-other", &other, &[]);
        assert_eq!((verdict.as_str(), codes[0].as_str()), ("invalid", first), "{pointer}");
        assert_eq!(codes.last().unwrap(), "quote-nonce", "{pointer}");
    }
    // What it has the digests of as well.
    for (pointer, value) in [
        ("/tee-evidence/primary_evidence/ccnode/cmdline", json!("init=/bin/sh")),
        ("/tee-evidence/primary_evidence/ccnode/csr", json!("AAAA")),
    ] {
        let mut other = sent.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        let (verdict, codes, _) = verify("tpm-unbound", &other, &[]);
        assert_eq!(
            (verdict.as_str(), codes),
            ("invalid", vec!["transcript-mismatch".to_owned()]),
            "{pointer}"
        );
    }
    let mut other = record(sent.clone(), "tpm", false);
    other["session"]["nonce"] = json!(Nonce([8; 32]));
    assert_eq!(verify("tpm-nonce", &other, &[]).1, ["nonce-mismatch"]);
    let (verdict, codes, _) = verify("tpm-tee", &record(sent, "snp", true), &[]);
    assert_eq!((verdict.as_str(), codes), ("invalid", vec!["malformed-request".to_owned()]));
    let (verdict, _, _) = verify("tpm-large", &record(Value::Null, "tpm", true), &[]);
    assert_eq!(verdict, "incomplete", "what was not kept can't be judged");
}

/// A report of an SVSM with its vTPM beside it; `manifest` as sent, `covered` as the report has it.
fn svsm_attestation(chip: &TestChip, manifest: &[u8], covered: &[u8]) -> Value {
    let tpm = SoftTpm::new(&MakerCa::new("maker"), Seat::A);
    let key = EphemeralKey::generate().public();
    let secret = Secret::new([1; 32]);
    let beside = Transcript { additional_evidence: None, nonce: &NONCE, tee_pubkey: &key };
    let bound = Bound { event_logs: Some(EventLogs::default().digest().unwrap()), ..Bound::default() };
    let (ext, data) = beside.bind(bound, &secret).unwrap();
    let quote = tpm.sign_quote(data.qualifying_data());
    let additional = json!({"tpm": TpmEvidence {
        tpm_quote: TpmQuote {
            signature: quote.signature.into(),
            message: quote.message.into(),
            pcrs: quote.pcrs.0.into_values().collect(),
        },
        ak_public: quote.ak_public.into(),
        ccnode: None,
    }})
    .to_string();
    let whole = Transcript { additional_evidence: Some(&additional), nonce: &NONCE, tee_pubkey: &key };
    let mut nonce = [0; 64];
    nonce[..48].copy_from_slice(&whole.cover(&ext).unwrap().0);
    let report = chip.svsm_report(&nonce, covered);
    let ours = CcnodeEvidence {
        version: 1,
        logs: EventLogs::default(),
        csr: None,
        svsm: Some(Svsm {
            service: ccnode_snp::VTPM_SERVICE.to_owned(),
            version: 0,
            manifest: manifest.to_vec().into(),
        }),
    };
    let primary = ours.beside(&SnpEvidence::new(&report, &chip.certs_table()).unwrap()).unwrap();
    json!({
        "init-data": null,
        "runtime-data": {"nonce": NONCE, "tee-pubkey": key, "ccnode": ext},
        "tee-evidence": {"primary_evidence": primary, "additional_evidence": additional},
    })
}

#[test]
fn an_svsm_node_is_judged_part_by_part() {
    let chip = TestChip::milan();
    let ark = Path::new(env!("CARGO_TARGET_TMPDIR")).join("svsm-ark.der");
    std::fs::write(&ark, chip.ark_der()).unwrap();
    let trusted = ["--danger-root", ark.to_str().unwrap()];
    let manifest = [&[0, 1, 0, 0x0b][..], &[3; 300]].concat();
    let good = svsm_attestation(&chip, &manifest, &manifest);
    let (verdict, codes, value) = verify("svsm", &record(good.clone(), "snp", true), &trusted);
    assert_eq!((verdict.as_str(), codes), ("valid", vec![]), "{value}");
    assert_eq!(value["claims"]["primary"]["danger-root"], true);

    // A test chip is nobody's but for who says so.
    assert_eq!(verify("svsm-root", &good, &[]).1, ["snp-chain"]);
    let other = svsm_attestation(&chip, &manifest, &[&[0, 1, 0, 0x0b][..], &[4; 300]].concat());
    assert_eq!(verify("svsm-manifest", &other, &trusted).1, ["snp-svsm"]);
    // The quote of another session in place of this one's: the report covers it no more, nor is it bound.
    let mut swapped = good.clone();
    swapped["tee-evidence"]["additional_evidence"] =
        svsm_attestation(&chip, &manifest, &manifest)["tee-evidence"]["additional_evidence"].clone();
    let codes = verify("svsm-swapped", &swapped, &trusted).1;
    assert_eq!(codes, ["snp-svsm", "quote-nonce"]);
}

#[test]
fn an_azure_report_of_another_session_is_told() {
    let chip = TestChip::milan();
    let roots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azure-ark.der");
    std::fs::write(&roots, chip.ark_der()).unwrap();
    let ask = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azure-ask.der");
    std::fs::write(&ask, chip.ask_der()).unwrap();
    let given = ["--danger-root", roots.to_str().unwrap(), "--certs", ask.to_str().unwrap()];
    let stale = |hardware: Hardware| {
        let machine = Machine::with(SoftTpm::new(&MakerCa::new("maker"), Seat::A), hardware);
        let (secret, key) = (Secret::new([1; 32]), EphemeralKey::generate());
        let reply = Reply { nonce: &NONCE, secret: Some(&secret), key: &key, csr: None };
        let sent = serde_json::to_value(machine.attest(&reply)).unwrap();
        let (verdict, codes, value) = verify("azure", &sent, &given);
        assert_eq!((verdict.as_str(), codes), ("valid", vec![]), "{value}");
        value["claims"]["primary"]["unproven"].to_string().contains("that the hardware report is as fresh")
    };
    assert!(!stale(Hardware::az_snp(chip.clone())));
    let other = |runtime: &mut Value| runtime["user-data"] = json!("ab".repeat(64));
    assert!(stale(Hardware::az_snp(chip).saying(other)));
}
