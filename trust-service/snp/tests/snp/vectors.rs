//! Every file of the shared SEV-SNP vectors has the outcome that is stated for it; a file without a case fails the test.

use crate::world::vector;
use ccnode_evidence::UnixTime;
use ccnode_snp::{
    Certificates, Endorsement, Holder, KeyKind, Product, ReportParsed, Roots, SnpPolicy, SnpProven,
    SnpRejection, TcbVersion,
};
use serde_json::Value;

/// What a file is.
enum Case {
    /// Intermediate and root.
    Anchors,
    /// A report with the certificate that belongs to it.
    Report(&'static str),
    /// An endorsement certificate and its line.
    Vek(Product),
    /// One that AMD did not sign.
    Forged,
    /// Input of a launch measurement (see `measured.rs`) or of a report's data (below).
    Input,
}

fn case(file: &str) -> Case {
    match file {
        _ if file.starts_with("ca/") => Case::Anchors,
        "milan-v2-debug/report.bin" => Case::Report("milan-v2-debug/vcek.der"),
        "milan-v2-virtee/report_milan.hex" => Case::Report("milan-v2-virtee/vcek_milan.der"),
        "milan-v2-trustee/report.bin" => Case::Report("milan-v2-trustee/test-vcek.der"),
        "milan-v3-vlek-aws-us/report.bin" => Case::Report("milan-v3-vlek-aws-us/test-vlek.der"),
        "milan-v3-ms/report.bin" => Case::Report("milan-v3-ms/milan_vcek.pem"),
        "genoa-v3-ms/report.bin" => Case::Report("genoa-v3-ms/genoa_vcek.pem"),
        "turin-v5-ms/report.bin" => Case::Report("turin-v5-ms/turin_vcek.pem"),
        "milan-v5-gcp/sev-gcp.bin"
        | "milan-v5-gcp/sev-gcp-reportdata.bin"
        | "milan-v5-gcp/sev-gcp-x25519-bound.bin" => Case::Report("milan-v5-gcp/sev-gcp-vcek.pem"),
        "milan-v2-debug/vcek.der"
        | "milan-v2-virtee/vcek_milan.der"
        | "milan-v2-trustee/test-vcek.der"
        | "milan-v3-vlek-aws-us/test-vlek.der"
        | "milan-v3-ms/milan_vcek.pem"
        | "milan-v5-gcp/sev-gcp-vcek.pem" => Case::Vek(Product::Milan),
        "genoa-v3-ms/genoa_vcek.pem" => Case::Vek(Product::Genoa),
        "turin-v5-ms/turin_vcek.pem" | "turin-vcek-only/vcek_turin.der" => Case::Vek(Product::Turin),
        "milan-v2-trustee/test-vcek-invalid-legacy.der" | "milan-v2-trustee/test-vcek-invalid-new.der" => {
            Case::Forged
        }
        "milan-v5-gcp/sev-gcp-x25519-bound.txt" => Case::Input,
        _ if file.starts_with("launch-measurement/") => Case::Input,
        other => panic!("no case for {other}"),
    }
}

fn read(file: &str) -> Vec<u8> {
    let bytes = vector(&format!("snp/{file}")).unwrap();
    if file.ends_with(".hex") { unhex(std::str::from_utf8(&bytes).unwrap().trim()) } else { bytes }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A second in the middle of what the certificate holds for.
fn within(sent: &Certificates) -> UnixTime {
    let (from, to) = sent.veks[0].validity();
    UnixTime(from.0 + (to.0 - from.0) / 2)
}

#[test]
fn every_file_has_its_outcome() {
    let Some(text) = vector("snp/expected.json") else { return };
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let files = expected["files"].as_object().unwrap();
    assert!(files.len() >= 31);
    for (file, stated) in files {
        let outcome = stated["outcome"].as_str().unwrap();
        match case(file) {
            Case::Anchors => anchors(file, stated),
            Case::Report(certificate) => {
                assert!(outcome.starts_with("valid"), "{file}");
                report(file, certificate, stated);
            }
            Case::Vek(line) => {
                assert!(outcome.starts_with("chain to SEV-"), "{file}");
                vek(file, line, stated);
            }
            Case::Forged => {
                assert!(outcome.starts_with("invalid"), "{file}");
                forged(file);
            }
            Case::Input => {}
        }
    }
}

fn anchors(file: &str, stated: &Value) {
    let certs = Certificates::parse(&read(file)).unwrap();
    assert!(certs.veks.is_empty() && certs.cas.len() == 2, "{file}");
    let names: Vec<_> = certs.cas.iter().map(|ca| ca.common_name()).collect();
    if let Some(subjects) = stated["subjects"].as_array() {
        assert_eq!(names, subjects.iter().map(|s| s.as_str().unwrap()).collect::<Vec<_>>());
    }
    let own = Roots::amd().fingerprints().any(|(line, sha, amd)| {
        amd && sha == certs.cas[1].fingerprint() && format!("ARK-{line}") == names[1]
    });
    assert!(own, "{file} has another root than the built-in one");
}

fn vek(file: &str, line: Product, stated: &Value) {
    let certs = Certificates::parse(&read(file)).unwrap();
    let endorsement = Endorsement::verify(&certs.veks[0], &certs, Roots::amd(), within(&certs)).expect(file);
    assert_eq!(endorsement.product(), line, "{file}");
    assert!(!endorsement.danger_root());
    let middle = if endorsement.vek().kind() == KeyKind::Vlek { "VLEK-" } else { "" };
    let names: Vec<_> = endorsement.subjects().collect();
    let leaf = format!("SEV-{}", endorsement.vek().kind());
    assert_eq!(names, [format!("ARK-{line}"), format!("SEV-{middle}{line}"), leaf]);
    if let Some(extensions) = stated.get("extensions") {
        let last = |name: &str| u8::from_str_radix(&extensions[name].as_str().unwrap()[4..], 16).unwrap();
        let tcb = TcbVersion {
            fmc: Some(last("fmc")),
            bootloader: last("bl"),
            tee: last("tee"),
            snp: last("snp"),
            microcode: last("ucode"),
        };
        assert_eq!(endorsement.tcb(), tcb);
        let Holder::Chip(id) = endorsement.vek().holder() else { panic!("{file}") };
        assert_eq!(hex(&id[..8]), extensions["hwid"].as_str().unwrap());
    }
}

/// Both forged certificates lie in their extensions; whatever they say, no root leads to them.
fn forged(file: &str) {
    let certs = Certificates::parse(&read(file)).expect(file);
    let got = Endorsement::verify(&certs.veks[0], &certs, Roots::amd(), within(&certs));
    assert!(
        matches!(&got, Err(SnpRejection::ChainSignature { issuer, .. }) if issuer == "SEV-Milan"),
        "{file}: {got:?}"
    );
}

fn prove(file: &str, certificate: &str) -> SnpProven {
    let certs = Certificates::parse(&read(certificate)).unwrap();
    let now = within(&certs);
    ReportParsed::parse(&read(file)).expect(file).verify(&certs, Roots::amd(), now).expect(file)
}

fn report(file: &str, certificate: &str, stated: &Value) {
    let proven = prove(file, certificate);
    let report = proven.report();
    let text = |name: &str| stated[name].as_str().unwrap().to_owned();
    let number = |name: &str| stated[name].as_u64().unwrap();
    assert_eq!(u64::from(report.version), number("report_version"));
    let cpuid = report.cpuid.map(|c| vec![c.family, c.model, c.stepping]);
    assert_eq!(serde_json::to_value(cpuid).unwrap(), stated["cpuid_family_model_stepping"]);
    assert_eq!(report.policy.to_string(), text("policy"));
    assert_eq!(report.policy.debug(), stated["debug_allowed"].as_bool().unwrap());
    assert_eq!(u64::from(report.vmpl), number("vmpl"));
    assert_eq!(proven.signing_key().to_string(), text("signing_key"));
    assert_eq!(report.platform_info.to_string(), text("platform_info"));
    assert_eq!(u64::from(report.guest_svn), number("guest_svn"));
    let tcbs = proven.tcbs();
    for (tcb, name) in [
        (tcbs.reported, "reported_tcb"),
        (tcbs.current, "current_tcb"),
        (tcbs.committed, "committed_tcb"),
        (tcbs.launch, "launch_tcb"),
    ] {
        assert_eq!(tcb_json(tcb), stated[name], "{file}: {name}");
    }
    assert_eq!(hex(&report.measurement), text("measurement"));
    assert_eq!(hex(&report.report_data), text("report_data"));
    assert_eq!(hex(&report.host_data), text("host_data"));
    assert_eq!(hex(&report.id_key_digest), text("id_key_digest"));
    assert_eq!(hex(&report.report_id), text("report_id"));
    assert_eq!(hex(&report.chip_id), text("chip_id"));
    let checked = &stated["checked"];
    assert_eq!(tcb_json(proven.endorsement().tcb()), checked["vek_tcb"]);
    let issuer = proven.endorsement().subjects().nth(1).unwrap().to_owned();
    assert_eq!(issuer, checked["vek_issuer"].as_str().unwrap());
    if let Some(csp) = checked.get("vlek_csp_id") {
        assert_eq!(proven.provider(), csp.as_str());
        assert_eq!(proven.chip_id(), None);
    } else {
        assert_eq!(proven.chip_id().unwrap(), report.chip_id);
    }
    let judged = SnpPolicy { vmpl: vec![0, 1], ..SnpPolicy::default() }.judge(&proven);
    assert_eq!(judged.is_err(), report.policy.debug(), "{file}: {judged:?}");
}

fn tcb_json(tcb: TcbVersion) -> Value {
    let names = [("bl", tcb.bootloader), ("tee", tcb.tee), ("snp", tcb.snp), ("ucode", tcb.microcode)];
    let fmc = tcb.fmc.map(|fmc| ("fmc", fmc));
    names.into_iter().chain(fmc).map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

#[test]
fn t19_a_real_debug_guest_is_refused() {
    if vector("snp/expected.json").is_none() {
        return;
    }
    let proven = prove("milan-v2-debug/report.bin", "milan-v2-debug/vcek.der");
    let got = SnpPolicy::default().judge(&proven);
    assert!(matches!(got, Err(SnpRejection::Debug(policy)) if policy.0 == 0xb0000), "{got:?}");
    assert!(SnpPolicy { danger_debug: true, ..SnpPolicy::default() }.judge(&proven).is_ok());
}

#[test]
fn report_data_of_the_bound_report_covers_nonce_and_key() {
    if vector("snp/expected.json").is_none() {
        return;
    }
    let proven = prove("milan-v5-gcp/sev-gcp-x25519-bound.bin", "milan-v5-gcp/sev-gcp-vcek.pem");
    let text = String::from_utf8(read("milan-v5-gcp/sev-gcp-x25519-bound.txt")).unwrap();
    let bound: Vec<u8> = text
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() >= 64)
        .flat_map(unhex)
        .collect();
    assert_eq!(bound.len(), 64, "{text}");
    use sha2::Digest as _;
    assert_eq!(sha2::Sha512::digest(&bound).as_slice(), proven.report().report_data);
}
