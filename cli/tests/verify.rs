//! `ccnode verify` over every recorded piece of evidence, with the outcome that is stated for it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and skip aloud"
)]

use ccnode_vectors::root as vectors;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Where all certificates of the set are valid, unless a case says otherwise.
const AT: &str = "2026-06-01";

/// Verdict, exit code and codes of the reasons.
fn verify(dir: &Path, args: &[String]) -> (String, i32, Vec<String>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ccnode"))
        .current_dir(dir)
        .args(["--json", "verify"])
        .args(args)
        .output()
        .unwrap();
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(value["version"], 1);
    let codes = value["reasons"].as_array().unwrap().iter().map(|r| r["code"].as_str().unwrap().to_owned());
    let verdict = value["verdict"].as_str().unwrap().to_owned();
    (verdict, output.status.code().unwrap(), codes.collect(), value.clone())
}

/// What goes with a file, and what must come of it: verdict and the first code.
struct Case {
    file: &'static str,
    with: &'static str,
    kind: &'static str,
    due: &'static str,
    code: Option<&'static str>,
}

const fn case(file: &'static str, with: &'static str, kind: &'static str, due: &'static str) -> Case {
    Case { file, with, kind, due, code: None }
}

const fn coded(
    file: &'static str,
    with: &'static str,
    kind: &'static str,
    due: &'static str,
    code: &'static str,
) -> Case {
    Case { file, with, kind, due, code: Some(code) }
}

/// Runs the cases of one kind, and demands that each file of the set is judged in one, goes with one, or is named in `beside`.
fn table(folder: &str, cases: &[Case], beside: &[&str]) {
    let Some(dir) = vectors().map(|dir| dir.join(folder)) else { return };
    let mut wrong = Vec::new();
    for Case { file, with, kind, due, code } in cases {
        let mut args = vec![(*file).to_owned()];
        args.extend(with.split_whitespace().map(str::to_owned));
        if !with.contains("--at") {
            args.extend(["--at".to_owned(), AT.to_owned()]);
        }
        let (verdict, exit, codes, value) = verify(&dir, &args);
        let exits = match verdict.as_str() {
            "valid" => 0,
            "incomplete" => 5,
            _ => 3,
        };
        assert_eq!(exit, exits, "{file}");
        let right = verdict == *due && value["kind"] == *kind;
        // What is valid has no reason but one that is stated.
        let reasoned = code.is_none() && verdict == "valid" && !codes.is_empty();
        if !right || reasoned || code.is_some_and(|code| codes.first().map(String::as_str) != Some(code)) {
            wrong.push(format!(
                "{file} {with}: {} {verdict} {codes:?}, due {kind} {due} {code:?}",
                value["kind"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let stated: Value = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    for file in stated["files"].as_object().unwrap().keys() {
        let used = cases.iter().any(|case| case.file == file || case.with.contains(file.as_str()));
        let named = beside.iter().any(|name| file.starts_with(name));
        assert!(used || named, "{folder}/{file} is in no case");
    }
    println!("{folder}: {} cases as stated", cases.len());
}

#[test]
fn snp() {
    const REPORTS: &[Case] = &[
        case("milan-v2-debug/report.bin", "--certs milan-v2-debug/vcek.der", "snp", "valid"),
        case("milan-v2-virtee/report_milan.hex", "--certs milan-v2-virtee/vcek_milan.der", "snp", "valid"),
        case("milan-v2-trustee/report.bin", "--certs milan-v2-trustee/test-vcek.der", "snp", "valid"),
        coded(
            "milan-v2-trustee/report.bin",
            "--certs milan-v2-trustee/test-vcek-invalid-legacy.der",
            "snp",
            "invalid",
            "snp-chain",
        ),
        coded(
            "milan-v2-trustee/report.bin",
            "--certs milan-v2-trustee/test-vcek-invalid-new.der",
            "snp",
            "invalid",
            "snp-chain",
        ),
        case(
            "milan-v3-vlek-aws-us/report.bin",
            "--certs milan-v3-vlek-aws-us/test-vlek.der --at 2025-09-20",
            "snp",
            "valid",
        ),
        coded(
            "milan-v3-vlek-aws-us/report.bin",
            "--certs milan-v3-vlek-aws-us/test-vlek.der --at 2026-06-01",
            "snp",
            "invalid",
            "snp-cert-expired",
        ),
        case("milan-v3-ms/report.bin", "--certs milan-v3-ms/milan_vcek.pem", "snp", "valid"),
        case("genoa-v3-ms/report.bin", "--certs genoa-v3-ms/genoa_vcek.pem", "snp", "valid"),
        case("turin-v5-ms/report.bin", "--certs turin-v5-ms/turin_vcek.pem", "snp", "valid"),
        case("milan-v5-gcp/sev-gcp.bin", "--certs milan-v5-gcp/sev-gcp-vcek.pem", "snp", "valid"),
        case("milan-v5-gcp/sev-gcp-reportdata.bin", "--certs milan-v5-gcp/sev-gcp-vcek.pem", "snp", "valid"),
        case(
            "milan-v5-gcp/sev-gcp-x25519-bound.bin",
            "--certs milan-v5-gcp/sev-gcp-vcek.pem",
            "snp",
            "valid",
        ),
        // The intermediates may come along; more certificates than are needed do no harm.
        case(
            "genoa-v3-ms/report.bin",
            "--certs genoa-v3-ms/genoa_vcek.pem --certs ca/ask_ark_genoa.pem --certs ca/ask_ark_milan.pem",
            "snp",
            "valid",
        ),
        coded("milan-v3-ms/report.bin", "", "snp", "incomplete", "snp-cert-missing"),
        // Another chip's key.
        coded(
            "milan-v3-ms/report.bin",
            "--certs milan-v2-debug/vcek.der",
            "snp",
            "invalid",
            "snp-tcb-mismatch",
        ),
        coded(
            "milan-v3-ms/report.bin",
            "--certs milan-v3-ms/milan_vcek.pem --nonce 01",
            "snp",
            "invalid",
            "snp-report-data",
        ),
        coded("milan-v3-ms/report.bin", "--certs expected.json", "snp", "invalid", "snp-cert-malformed"),
        coded("milan-v2-debug/vcek.der", "", "unknown", "invalid", "evidence-unknown"),
    ];
    // CAs, a lone certificate, what was hashed into REPORT_DATA, and firmware of launch digests.
    table(
        "snp",
        REPORTS,
        &["ca/", "turin-vcek-only/", "milan-v5-gcp/sev-gcp-x25519-bound.txt", "launch-measurement/"],
    );
}

#[test]
fn tdx() {
    const MISSING: &str = "tdx-collateral-missing";
    const QUOTES: &[Case] = &[
        coded("trustee/tdx_quote_4.dat", "", "tdx", "incomplete", MISSING),
        coded("trustee/tdx_quote_5.dat", "", "tdx", "incomplete", MISSING),
        coded("trustee/tdx_quote_6.dat", "", "tdx", "incomplete", MISSING),
        coded("phala/quote-from-tappd.hex", "", "tdx", "incomplete", MISSING),
        coded("phala/tdx-quote.hex", "", "tdx", "incomplete", MISSING),
        coded("google-v5/quote_v5_sample.dat", "", "tdx", "incomplete", MISSING),
        coded("teekit/tdx-v4-edgeless.dat", "", "tdx", "incomplete", MISSING),
        coded("teekit/tdx-v4-moemahhouk.dat", "", "tdx", "incomplete", MISSING),
        coded("teekit/tdx-v4-zkdcap.dat", "", "tdx", "incomplete", MISSING),
        coded("teekit/tdx-v4-gcp.json", "", "kbs-tdx", "incomplete", MISSING),
        coded("dstack/quote-report.json", "", "kbs-tdx", "incomplete", MISSING),
        case(
            "phala/tdx_quote",
            "--collateral phala/tdx_quote_collateral.json --at 2025-07-01",
            "tdx",
            "valid",
        ),
        coded(
            "phala/tdx_quote",
            "--collateral phala/tdx_quote_collateral.json --at 2026-07-01",
            "tdx",
            "invalid",
            "tdx-collateral-expired",
        ),
        coded(
            "phala/tdx_quote_outdated",
            "--collateral phala/tdx_quote_outdated_collateral.json --at 2026-02-20",
            "tdx",
            "invalid",
            "tdx-tcb-status",
        ),
        coded(
            "gcp-cos-113/quote.dat",
            "--nonce @gcp-cos-113/nonce.dat --log ../tcg-eventlog/ccel/cos-113-intel-tdx.bin",
            "tdx",
            "incomplete",
            MISSING,
        ),
        coded("gcp-cos-113/quote.dat", "--nonce 01", "tdx", "invalid", MISSING),
        // A text follows the quote.
        coded("google-spr-e4/tdx_prod_quote_SPR_E4.dat", "", "tdx", "invalid", "tdx-quote-malformed"),
        coded("tdreport/tdx_report_1.bin", "", "tdx", "invalid", "tdx-report"),
        coded("tdreport/google-report.dat", "", "unknown", "invalid", "evidence-unknown"),
        coded("untrusted-root-sgx/quote.dat", "", "tdx", "invalid", "tdx-quote-malformed"),
    ];
    table("tdx", QUOTES, &["ca/", "google-spr-e4/", "google-v5/sample", "untrusted-root-sgx/"]);
}

#[test]
fn azure() {
    const CHALLENGE: &str = "--nonce 6368616c6c656e6765";
    const EVIDENCE: &[Case] = &[
        case("snp/evidence-v0.json", CHALLENGE, "az-snp-vtpm", "valid"),
        case("snp/evidence-v1.json", CHALLENGE, "az-snp-vtpm", "valid"),
        case("snp/evidence-v2.json", "", "az-snp-vtpm", "valid"),
        coded("snp/evidence-v2.json", CHALLENGE, "az-snp-vtpm", "invalid", "quote-nonce"),
        coded("tdx/evidence-v0.json", CHALLENGE, "az-tdx-vtpm", "incomplete", "tdx-collateral-missing"),
        coded("tdx/evidence-v1.json", CHALLENGE, "az-tdx-vtpm", "incomplete", "tdx-collateral-missing"),
        case("snp/hcl-report.bin", "--certs snp/vcek.pem", "hcl", "valid"),
        coded("snp/hcl-report.bin", "", "hcl", "incomplete", "snp-cert-missing"),
        coded("tdx/hcl-report.bin", "", "hcl", "incomplete", "tdx-report"),
        coded("tdx/kinvolk-hcl-report-tdx.bin", "", "hcl", "incomplete", "tdx-report"),
        coded("tdx/td-quote.bin", "", "tdx", "incomplete", "tdx-collateral-missing"),
        coded(
            "snp/quote-wrong-ak.msg",
            "--signature snp/quote-wrong-ak.sig",
            "tpm-quote",
            "incomplete",
            "quote-key-missing",
        ),
    ];
    // Quotes apart from their reports; they are judged with the key of the report in the crates that read both.
    table("azure-hcl", EVIDENCE, &["snp/tpm-quote-v1.json", "tdx/tpm-quote-v1.json", "ca/"]);
}

#[test]
fn tpm_quotes() {
    const ALL: &str =
        "--key gce-cos-85/ak.tpmt_public --nonce 9009 --log gce-cos-85/eventlog.bin --signature";
    let with = |bank: &str| -> &'static str { format!("{ALL} gce-cos-85/quote-{bank}.sig").leak() };
    // A log of another boot, with no values beside it, and one without the quote's bank: neither is proven by this quote.
    const OTHER_BANK: &str = "--log ../tcg-eventlog/pc/event-uefi-sha1-log.bin";
    let beside = |log: &str, bank: &str| -> &'static str {
        let key = "--key gce-cos-85/ak.tpmt_public --nonce 9009";
        format!("{key} {log} --signature gce-cos-85/quote-{bank}.sig").leak()
    };
    let other_log = |bank: &str| beside("--log ../tcg-eventlog/gce/rhel8-uefi.bin", bank);
    let other_bank = |bank: &str| beside(OTHER_BANK, bank);
    const KEYLIME: &str = "--signature keylime/quotesig.out --pcrs keylime/quotepcr.out --key";
    let keylime = |key: &str| -> &'static str { format!("{KEYLIME} keylime/{key}").leak() };
    let quotes = [
        coded("gce-cos-85/gce-cos-85-nonce9009.pb", "--nonce 9009", "tpm-quote", "valid", "quote-bank-weak"),
        coded("gce-cos-85/gce-cos-85-nonce9009.pb", "--nonce 9008", "tpm-quote", "invalid", "quote-nonce"),
        coded("gce-cos-85/quote-sha1.attest", beside("", "sha1"), "tpm-quote", "valid", "quote-bank-weak"),
        case("gce-cos-85/quote-sha256.attest", beside("", "sha256"), "tpm-quote", "valid"),
        case("gce-cos-85/quote-sha384.attest", beside("", "sha384"), "tpm-quote", "valid"),
        // IMA extended PCR 10, and no values are beside the firmware's log, which does not say so.
        coded("gce-cos-85/quote-sha1.attest", with("sha1"), "tpm-quote", "incomplete", "pcr-values-missing"),
        coded(
            "gce-cos-85/quote-sha256.attest",
            with("sha256"),
            "tpm-quote",
            "incomplete",
            "pcr-values-missing",
        ),
        coded(
            "gce-cos-85/quote-sha384.attest",
            with("sha384"),
            "tpm-quote",
            "incomplete",
            "pcr-values-missing",
        ),
        coded("gce-cos-85/quote-sha384.attest", with("sha256"), "tpm-quote", "invalid", "quote-signature"),
        coded(
            "gce-cos-85/quote-sha256.attest",
            other_log("sha256"),
            "tpm-quote",
            "incomplete",
            "pcr-values-missing",
        ),
        coded(
            "gce-cos-85/quote-sha384.attest",
            other_bank("sha384"),
            "tpm-quote",
            "incomplete",
            "pcr-values-missing",
        ),
        coded("trustee/tpm_evidence.json", OTHER_BANK, "kbs-tpm", "incomplete", "event-log-incomplete"),
        coded("gce-cos-85/quote-sha256.attest", "", "tpm-quote", "incomplete", "quote-signature-missing"),
        case("trustee/tpm_evidence.json", "", "kbs-tpm", "valid"),
        coded("trustee/tpm_evidence.json", "--nonce 00", "kbs-tpm", "invalid", "quote-nonce"),
        case("keylime/quote.out", keylime("akpub.pem"), "tpm-quote", "valid"),
        case("keylime/quote.out", keylime("ak.pub"), "tpm-quote", "valid"),
        coded("keylime/quote.out", "--key keylime/ak.name", "tpm-quote", "invalid", "ak-malformed"),
    ];
    table("tpm-quote", &quotes, &["ca/", "gce-cos-85/ak_cert.der"]);
}

#[test]
fn event_logs() {
    let Some(dir) = vectors().map(|dir| dir.join("tcg-eventlog")) else { return };
    let stated: Value = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    for (file, facts) in stated["files"].as_object().unwrap() {
        let (verdict, _, codes, value) = verify(&dir, std::slice::from_ref(file));
        let due = match file.as_str() {
            // Four bytes of a cut event.
            "small/specid-vendordata.bin" => "invalid",
            "malformed/keylime-bogus" | "malformed/keylime-empty" | "ccel/cos-113-intel-tdx.table.bin" => {
                "invalid"
            }
            "ccel/CCEL_data_csv" => "incomplete",
            _ => "valid",
        };
        assert_eq!(verdict, due, "{file}: {codes:?}");
        if due == "valid" {
            assert_eq!(value["kind"], "event-log", "{file}");
            for (bank, values) in facts["replay"].as_object().unwrap() {
                for (register, wanted) in values.as_object().unwrap() {
                    let found = &value["claims"]["replay"][bank][register.to_lowercase()];
                    assert!(
                        found == wanted || found.is_null(),
                        "{file} {bank} {register}: {found}, due {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_demand_that_nobody_would_look_at_is_refused() {
    let Some(dir) = vectors() else { return };
    let exit = |args: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ccnode"))
            .current_dir(&dir)
            .arg("verify")
            .args(args.split(' '))
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let other = "tpm-quote/gce-cos-85/ak.tpmt_public";
    let own = "tpm-quote/trustee/tpm_evidence.json";
    // The evidence brings a key of its own along: that it is not the one asked for must not end in `valid`.
    for args in [
        format!("{own} --key {other}"),
        format!("{own} --pcrs {other}"),
        format!("tpm-quote/gce-cos-85/gce-cos-85-nonce9009.pb --key {other}"),
        "tcg-eventlog/gce/rhel8-uefi.bin --nonce 00".to_owned(),
    ] {
        let (code, text) = exit(&args);
        assert_eq!(code, 2, "{args}: {text}");
        assert!(text.contains("does not go with evidence of kind"), "{args}: {text}");
    }
    assert_eq!(exit(own).0, 0);
}

#[test]
fn the_log_that_was_asked_for_counts_whatever_came_along() {
    use base64::Engine as _;
    let Some(dir) = vectors() else { return };
    let bytes = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let base64 = |bytes: Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let folder = std::env::temp_dir().join(format!("ccnode-verify-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("evidence.json");
    let outcome = |evidence: &Value, args: &[&str]| {
        std::fs::write(&file, serde_json::to_vec(evidence).unwrap()).unwrap();
        let args = [&[file.to_str().unwrap(), "--at", AT], args].concat();
        let (verdict, _, codes, _) = verify(&dir, &args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        (verdict, codes.first().cloned().unwrap_or_default())
    };
    let other = ["--log", "tcg-eventlog/gce/rhel8-uefi.bin"];

    let (quote, log) = (bytes("tdx/gcp-cos-113/quote.dat"), bytes("tcg-eventlog/ccel/cos-113-intel-tdx.bin"));
    let evidence = serde_json::json!({ "quote": base64(quote), "cc_eventlog": base64(log) });
    assert_eq!(outcome(&evidence, &[]).0, "incomplete");
    assert_eq!(outcome(&evidence, &other).0, "invalid");

    let mut evidence: Value = serde_json::from_slice(&bytes("tpm-quote/trustee/tpm_evidence.json")).unwrap();
    evidence["ccnode"] = serde_json::json!({
        "version": 1, "event-log": "AAAA", "own-log": "", "cmdline": "", "csr": null,
    });
    let (sent, asked) = (outcome(&evidence, &[]), outcome(&evidence, &other));
    assert_eq!((sent.0.as_str(), asked.0.as_str()), ("invalid", "invalid"));
    assert_eq!(sent.1, "event-log-malformed");
    assert_ne!(asked.1, "event-log-malformed", "it reads, and does not replay");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn zeros_are_no_evidence() {
    let folder = std::env::temp_dir().join(format!("ccnode-zeros-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("zeros"), [0; 3200]).unwrap();
    std::fs::write(folder.join("text"), "AAAA".repeat(800)).unwrap();
    for (args, code) in [
        (&["zeros"][..], "evidence-unknown"),
        (&["text"], "evidence-unknown"),
        (&["zeros", "--kind", "event-log"], "event-log-malformed"),
    ] {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let (verdict, exit, codes, _) = verify(&folder, &args);
        assert_eq!((verdict.as_str(), exit, codes), ("invalid", 3, vec![code.to_owned()]), "{args:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
