//! Every file of the shared Azure vectors has the outcome that is stated for it; a file without a case fails the test.

use crate::world::{believe, report_data, vector};
use ccnode_evidence::{AzSnpEvidence, AzTdxEvidence, AzureTpmQuote, UnixTime};
use ccnode_hcl::{HardwareReport, HclReport, RsaKey, RuntimeProven};
use ccnode_snp::{Certificates, ReportParsed, Roots, SnpPolicy};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::Value;
use x509_parser::pem::Pem;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hardware {
    Snp,
    Tdx,
}

/// What a file is.
enum Case {
    /// Evidence of a version of the form, and its kind.
    Evidence(Hardware, u32),
    /// A report alone, with the certificates or the TD quote that prove it.
    Report(Option<&'static str>),
    /// A quote with the report whose key signed it.
    Quote(&'static str),
    /// Certificates, proven with the report that they belong to.
    Certificates,
    /// A TD quote, proven by `ccnode-tdx`; here its report data count.
    TdQuote(&'static str),
    /// A quote that another VM's key signed.
    WrongQuote,
    /// Its signature, read with it.
    WrongSignature,
    /// The root of the attestation keys' certificates.
    Anchor,
}

fn case(file: &str) -> Case {
    match file {
        "snp/evidence-v0.json" => Case::Evidence(Hardware::Snp, 0),
        "snp/evidence-v1.json" => Case::Evidence(Hardware::Snp, 1),
        "snp/evidence-v2.json" => Case::Evidence(Hardware::Snp, 2),
        "tdx/evidence-v0.json" => Case::Evidence(Hardware::Tdx, 0),
        "tdx/evidence-v1.json" => Case::Evidence(Hardware::Tdx, 1),
        "snp/hcl-report.bin" => Case::Report(Some("snp/vcek.pem")),
        "tdx/hcl-report.bin" => Case::Report(Some("tdx/td-quote.bin")),
        "tdx/kinvolk-hcl-report-tdx.bin" => Case::Report(None),
        "snp/tpm-quote-v1.json" => Case::Quote("snp/hcl-report.bin"),
        "tdx/tpm-quote-v1.json" => Case::Quote("tdx/hcl-report.bin"),
        "snp/vcek.pem" => Case::Certificates,
        "tdx/td-quote.bin" => Case::TdQuote("tdx/hcl-report.bin"),
        "snp/quote-wrong-ak.msg" => Case::WrongQuote,
        "snp/quote-wrong-ak.sig" => Case::WrongSignature,
        "ca/azure-virtual-tpm-root-2023.pem" => Case::Anchor,
        other => panic!("no case for {other}"),
    }
}

fn read(file: &str) -> Vec<u8> {
    vector(&format!("azure-hcl/{file}")).unwrap()
}

fn json(file: &str) -> Value {
    serde_json::from_slice(&read(file)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_file_has_its_outcome() {
    let Some(text) = vector("azure-hcl/expected.json") else { return };
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let files = expected["files"].as_object().unwrap();
    assert!(files.len() >= 15);
    for (file, stated) in files {
        let outcome = stated["outcome"].as_str().unwrap();
        match case(file) {
            Case::Evidence(Hardware::Snp, version) => snp_evidence(file, version, stated),
            Case::Evidence(Hardware::Tdx, version) => tdx_evidence(file, version, stated),
            Case::Report(proof) => {
                let proven = report(&read(file), proof.map(read), stated);
                assert!(outcome.starts_with("valid") && proven.data().ek().is_some(), "{file}");
            }
            Case::Quote(report) => {
                let quote: AzureTpmQuote = serde_json::from_value(json(file)).unwrap();
                quote_is_signed(&quote, believe(&read(report)).unwrap().data().ak(), stated);
            }
            Case::Certificates => assert_eq!(outcome, "chain valid"),
            Case::TdQuote(report) => {
                let bytes = read(report);
                let data = td_quote_data(&read(file));
                assert_eq!(hex(&data), stated["report_data"].as_str().unwrap());
                assert!(HclReport::parse(&bytes).unwrap().bound_to(&data).is_ok());
            }
            Case::WrongQuote => {
                assert!(outcome.starts_with("invalid"));
                let proven = believe(&read("snp/hcl-report.bin")).unwrap();
                let (message, signature) = (read(file), read("snp/quote-wrong-ak.sig"));
                assert!(!signed(proven.data().ak(), &message, &signature));
            }
            Case::WrongSignature => assert!(outcome.starts_with("see ")),
            Case::Anchor => {
                let pem = read(file);
                let pem = Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
                let cert = pem.parse_x509().unwrap();
                assert!(cert.is_ca() && cert.subject() == cert.issuer() && outcome == "trust anchor");
            }
        }
    }
}

fn snp_evidence(file: &str, version: u32, stated: &Value) {
    let evidence: AzSnpEvidence = serde_json::from_value(json(file)).unwrap();
    assert_eq!(evidence.version, version);
    let proven = report(&evidence.hcl_report.0, Some(evidence.vcek.0), &stated["hcl"]);
    quote_is_signed(&evidence.tpm_quote, proven.data().ak(), &stated["tpm_quote"]);
    if version == 2 {
        let mut nonce = [0; 64];
        nonce[..48].copy_from_slice(&extra_data(&evidence.tpm_quote));
        assert!(proven.is_fresh(&nonce).is_ok(), "user data are the nonce");
    }
}

fn tdx_evidence(file: &str, version: u32, stated: &Value) {
    let evidence: AzTdxEvidence = serde_json::from_value(json(file)).unwrap();
    assert_eq!(evidence.version, version);
    let proven = report(&evidence.hcl_report.0, Some(evidence.td_quote.0), &stated["hcl"]);
    quote_is_signed(&evidence.tpm_quote, proven.data().ak(), &stated["tpm_quote"]);
    assert_eq!(stated["td_report_data_equals_var_data_hash"], true);
}

/// Reads a report, compares all that is stated of it, and proves it by its certificates or its TD quote where it came with one.
fn report(bytes: &[u8], proof: Option<Vec<u8>>, stated: &Value) -> RuntimeProven {
    let report = HclReport::parse(bytes).unwrap();
    assert_eq!(stated["header_version"], report.version());
    let kind = match report.hardware() {
        HardwareReport::Snp(_) => "SNP",
        HardwareReport::Tdx(_) => "TDX",
    };
    assert_eq!(stated["report_type"], kind);
    assert_eq!(stated["hash_type"], report.hash_name());
    let runtime = report.unproven_runtime().len();
    assert_eq!(stated["var_data_len"], runtime);
    assert_eq!(stated["zero_padding_after_var_data"], bytes.len() - 1236 - runtime);
    assert_eq!(stated["var_data_hash_equals_report_data"], true);
    let report_data = match (report.hardware(), proof) {
        (_, None) => report_data(&report),
        (HardwareReport::Tdx(_), Some(quote)) => td_quote_data(&quote),
        (HardwareReport::Snp(raw), Some(certificates)) => snp_report_data(raw, &certificates, stated),
    };
    let proven = report.bound_to(&report_data).unwrap();
    let vm = proven.data().vm();
    let stated_vm = &stated["vm_configuration"];
    for (member, value) in [
        ("secure-boot", vm.secure_boot),
        ("tpm-enabled", vm.tpm_enabled),
        ("tpm-persisted", vm.tpm_persisted),
        ("console-enabled", vm.console_enabled),
    ] {
        assert_eq!(stated_vm[member].as_bool(), value, "{member}");
    }
    assert_eq!(stated_vm["vmUniqueId"].as_str(), vm.vm_unique_id.as_deref());
    assert_eq!(stated_vm["root-cert-thumbprint"].as_str(), vm.root_cert_thumbprint.as_deref());
    let user_data = hex(proven.data().user_data().unwrap()).to_uppercase();
    assert_eq!(stated["user_data"].as_str().unwrap().to_uppercase(), user_data);
    assert_eq!(stated["keys"], serde_json::json!(["HCLAkPub", "HCLEkPub"]));
    assert!(proven.data().ek().is_some());
    proven
}

/// REPORT_DATA of the SEV-SNP report inside, proven to AMD's root and judged.
fn snp_report_data(raw: &[u8], certificates: &[u8], stated: &Value) -> [u8; 64] {
    let certs = Certificates::parse(certificates).unwrap();
    let (from, to) = certs.veks[0].validity();
    let now = UnixTime(from.0 + (to.0 - from.0) / 2);
    let proven = ReportParsed::parse(raw).unwrap().verify(&certs, Roots::amd(), now).unwrap();
    assert!(SnpPolicy::default().judge(&proven).is_ok());
    let stated = &stated["snp_report"];
    assert_eq!(hex(&proven.report().measurement), stated["measurement"].as_str().unwrap());
    assert_eq!(stated["report_version"], proven.report().version);
    assert_eq!(hex(&proven.chip_id().unwrap()), stated["chip_id"].as_str().unwrap());
    proven.report().report_data
}

/// REPORTDATA of a TD quote of version 4 (header 48 bytes, in the body at 520).
fn td_quote_data(quote: &[u8]) -> [u8; 64] {
    quote[568..632].try_into().unwrap()
}

fn signed(ak: &RsaKey, message: &[u8], signature: &[u8]) -> bool {
    let key = RsaPublicKeyComponents { n: ak.modulus(), e: ak.exponent() };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
}

/// extraData of a TPMS_ATTEST: behind magic, type and the signer's name.
fn extra_data(quote: &AzureTpmQuote) -> Vec<u8> {
    let message = &quote.message.0;
    let size = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let at = 8 + size(6);
    message[at + 2..at + 2 + size(at)].to_vec()
}

fn quote_is_signed(quote: &AzureTpmQuote, ak: &RsaKey, stated: &Value) {
    assert!(signed(ak, &quote.message.0, &quote.signature.0));
    let mut other = quote.message.0.clone();
    *other.last_mut().unwrap() ^= 1;
    assert!(!signed(ak, &other, &quote.signature.0));
    assert_eq!(hex(&extra_data(quote)), stated["nonce"].as_str().unwrap());
    let values: Vec<_> =
        quote.values().unwrap().0.iter().map(|(pcr, value)| (pcr.get().to_string(), value.hex())).collect();
    let stated = stated["pcrs_sha256"].as_object().unwrap();
    assert_eq!(values.len(), stated.len());
    assert!(values.iter().all(|(pcr, value)| stated[pcr] == *value));
}
