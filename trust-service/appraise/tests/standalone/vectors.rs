//! Every file of the vectors' kind `tpm-quote`, judged, with the outcome that its table states.

use ccnode_appraise::UnixTime;
use ccnode_appraise::standalone::{
    AkChain, Attestation, KbsTpm, PcrBank, PcrReplay, QuoteEvidence, QuoteKey, QuoteReport, SignatureForm,
    Status, Subject, Verdict,
};
use ccnode_evidence::{Code, HashAlg, PcrIndex, TpmEvidence};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// 2022-01-01, when the attestation keys' certificates were valid.
const AT: UnixTime = UnixTime(1_640_995_200);

/// The folder of the kind; `None` (after saying so) where there are no vectors.
pub(crate) fn folder() -> Option<PathBuf> {
    ccnode_vectors::folder("tpm-quote")
}

struct Vectors(PathBuf);

impl Vectors {
    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.0.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    /// A certificate, DER or PEM.
    fn cert(&self, file: &str) -> Vec<u8> {
        let bytes = self.read(file);
        match x509_parser::pem::parse_x509_pem(&bytes) {
            Ok((_, pem)) => pem.contents,
            Err(_) => bytes,
        }
    }

    fn ca(&self) -> [Vec<u8>; 2] {
        ["ca/tpm_ek_root_1.cer", "ca/tpm_ek_intermediate_2.crt"].map(|file| self.cert(file))
    }

    /// One of the cloud machine's quotes with its signature, judged with the key, the log and the values of the table.
    fn cloud(&self, bank: &str, row: &Value, nonce: &[u8]) -> QuoteReport {
        let alg = HashAlg::ALL.into_iter().find(|alg| alg.name() == bank).unwrap();
        let values = row["pcrs"].as_object().unwrap().iter().map(|(index, value)| {
            let index = PcrIndex::new(index.parse().unwrap()).unwrap();
            (index, hex::decode(value.as_str().unwrap()).unwrap())
        });
        let pcrs = [PcrBank::new(alg, values.collect()).unwrap()];
        let key = QuoteKey::detect(&self.read("gce-cos-85/ak.tpmt_public")).unwrap();
        let signature = self.read(&format!("gce-cos-85/quote-{bank}.sig"));
        let log = self.read("gce-cos-85/eventlog.bin");
        let certificate = self.read("gce-cos-85/ak_cert.der");
        let [root, intermediate] = self.ca();
        QuoteEvidence {
            message: &self.read(&format!("gce-cos-85/quote-{bank}.attest")),
            signature: Some(SignatureForm::Tpmt(&signature)),
            key: Some(&key),
            certificate: Some(&certificate),
            chain: Some(AkChain { intermediates: &[intermediate], roots: &[root], at: AT }),
            pcrs: &pcrs,
            nonce: Some(nonce),
            log: Some(&log),
        }
        .verify()
    }

    fn keylime(&self, key: &str) -> QuoteReport {
        let key = QuoteKey::detect(&self.read(key)).unwrap();
        let signature = self.read("keylime/quotesig.out");
        QuoteEvidence {
            message: &self.read("keylime/quote.out"),
            signature: Some(SignatureForm::Tpmt(&signature)),
            key: Some(&key),
            pcrs: &PcrBank::serialized(&self.read("keylime/quotepcr.out")).unwrap(),
            nonce: Some(&hex::decode("db1db298db6d60e6385b7231743e9c3056a18003").unwrap()),
            ..Default::default()
        }
        .verify()
    }
}

/// What the table says of a quote is what the report claims.
fn agrees(report: &QuoteReport, row: &Value, file: &str) {
    let claims = report.claims.as_ref().unwrap();
    assert_eq!(hex::encode(&claims.extra_data), row["nonce"], "{file}");
    assert_eq!(claims.pcr_digest.to_string(), row["pcr_digest"], "{file}");
    let scheme = claims.scheme.unwrap();
    assert_eq!(scheme.hash.name(), row["hash"], "{file}");
    assert_eq!(format!("{:?}", scheme.kind).to_lowercase(), row["signature_alg"], "{file}");
    let selected: Vec<Value> = claims
        .selections
        .iter()
        .filter(|s| !s.is_empty())
        .map(|s| {
            let pcrs: Vec<u8> = s.pcrs().unwrap().iter().map(PcrIndex::get).collect();
            serde_json::json!([s.alg().unwrap().name(), pcrs])
        })
        .collect();
    assert_eq!(Value::from(selected), row["selection"], "{file}");
    if row.get("reset_count").is_some() {
        assert_eq!(claims.clock.reset_count, row["reset_count"], "{file}");
        assert_eq!(claims.clock.restart_count, row["restart_count"], "{file}");
        assert_eq!(u8::from(claims.clock.safe), row["safe"], "{file}");
        assert_eq!(claims.firmware_version, row["firmware_version"], "{file}");
    }
}

fn valid(report: &QuoteReport, file: &str) {
    assert_eq!(report.verdict(), Verdict::Valid, "{file}: {:#?}", report.findings);
    for subject in [Subject::Signature, Subject::Pcrs, Subject::Nonce] {
        assert!(report.proven(subject), "{file}: {subject:?}");
    }
}

/// The log explains every quoted PCR but the one that the kernel extended.
fn explained(report: &QuoteReport, file: &str) {
    let log = report.log.as_ref().unwrap();
    for (pcr, replay) in &log.pcrs {
        let due = if pcr.get() == 10 { PcrReplay::Silent } else { PcrReplay::Equal };
        assert_eq!(*replay, due, "{file}: {pcr:?}");
    }
    assert_eq!(log.pcrs.len(), 24, "{file}");
    assert!(report.proven(Subject::Log) && report.codes().contains(&Code::EventLogIncomplete), "{file}");
}

fn judge(vectors: &Vectors, file: &str, row: &Value) {
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    match file {
        "gce-cos-85/quote-sha1.attest"
        | "gce-cos-85/quote-sha256.attest"
        | "gce-cos-85/quote-sha384.attest" => {
            let bank = name.trim_start_matches("quote-").trim_end_matches(".attest");
            let report = vectors.cloud(bank, row, &[0x90, 0x09]);
            valid(&report, file);
            agrees(&report, row, file);
            explained(&report, file);
            assert!(report.proven(Subject::Key) && report.proven(Subject::Chain), "{file}");
            let weak = report.findings.iter().find(|finding| finding.status == Status::Weak);
            let due = (bank == "sha1").then_some(Code::QuoteBankWeak);
            assert_eq!(weak.and_then(|finding| finding.code()), due, "{file}");
            let other = vectors.cloud(bank, row, &[0x90, 0x08]);
            assert_eq!(other.verdict(), Verdict::Invalid, "{file}");
            assert!(other.codes().contains(&Code::QuoteNonce), "{file}");
        }
        "gce-cos-85/quote-sha1.sig" | "gce-cos-85/quote-sha256.sig" | "gce-cos-85/quote-sha384.sig" => {
            let key = QuoteKey::tpmt_public(&vectors.read("gce-cos-85/ak.tpmt_public")).unwrap();
            let mut signature = vectors.read(file);
            let message = vectors.read(&file.replace(".sig", ".attest"));
            let verdict = |signature: &[u8]| {
                let signature = Some(SignatureForm::Tpmt(signature));
                QuoteEvidence { message: &message, signature, key: Some(&key), ..Default::default() }
                    .verify()
                    .verdict()
            };
            assert_eq!(verdict(&signature), Verdict::Valid, "{file}");
            *signature.last_mut().unwrap() ^= 1;
            assert_eq!(verdict(&signature), Verdict::Invalid, "{file}");
        }
        "gce-cos-85/gce-cos-85-nonce9009.pb" => {
            let attestation = Attestation::parse(&vectors.read(file)).unwrap();
            let key = QuoteKey::tpmt_public(&attestation.ak_pub).unwrap();
            assert_eq!(attestation.quotes.len(), 3);
            let [root, intermediate] = vectors.ca();
            let chain = AkChain { intermediates: &[intermediate], roots: &[root], at: AT };
            for report in attestation.verify(&key, Some(&[0x90, 0x09]), Some(chain)) {
                valid(&report, file);
                explained(&report, file);
                assert!(report.proven(Subject::Key), "{file}");
            }
            for report in attestation.verify(&key, Some(b"other"), None) {
                assert_eq!(report.verdict(), Verdict::Invalid, "{file}");
            }
        }
        "gce-cos-85/ak.tpmt_public" | "gce-cos-85/ak_cert.der" => {
            let public = QuoteKey::detect(&vectors.read("gce-cos-85/ak.tpmt_public")).unwrap();
            let certificate = QuoteKey::detect(&vectors.read("gce-cos-85/ak_cert.der")).unwrap();
            assert_eq!(public.spki_der(), certificate.spki_der(), "{file}");
        }
        "gce-cos-85/eventlog.bin" => {
            let bytes = vectors.read(file);
            let log = ccnode_tpm_eventlog::EventLog::parse(&bytes).unwrap();
            assert_eq!(log.events.len(), row["events"]);
            for (bank, pcrs) in row["replay"].as_object().unwrap() {
                let alg = HashAlg::ALL.into_iter().find(|alg| alg.name() == bank).unwrap();
                let replay = log.replay(alg).unwrap();
                for (pcr, due) in pcrs.as_object().unwrap() {
                    let value = replay.value(pcr.parse().unwrap()).unwrap();
                    assert_eq!(hex::encode(value), *due, "{bank} {pcr}");
                }
            }
        }
        "ca/tpm_ek_root_1.cer" | "ca/tpm_ek_intermediate_2.crt" => {
            let certificate = vectors.read("gce-cos-85/ak_cert.der");
            let key = QuoteKey::certificate(&certificate).unwrap();
            let [root, intermediate] = vectors.ca();
            let chain = |roots: &[Vec<u8>], intermediates: &[Vec<u8>], at| {
                let chain = Some(AkChain { intermediates, roots, at });
                let message = &vectors.read("gce-cos-85/quote-sha256.attest");
                let report = QuoteEvidence { message, key: Some(&key), chain, ..Default::default() }.verify();
                report.findings.into_iter().find(|finding| finding.subject == Subject::Chain).unwrap().code()
            };
            let (roots, below) = ([root], [intermediate]);
            assert_eq!(chain(&roots, &below, AT), None, "{file}");
            assert_eq!(chain(&below, &[], AT), None, "{file}: an intermediate may be the trusted one");
            assert_eq!(chain(&roots, &[], AT), Some(Code::AkCertUntrusted), "{file}");
            assert_eq!(chain(&roots, &below, UnixTime(3_000_000_000)), Some(Code::AkCertExpired), "{file}");
        }
        "ca/gcp_ek_ak_ca_root.crt" | "ca/gcp_ek_ak_ca_intermediate_v3.crt" => {
            // The cloud's later chain: a CA that a pool can have, and none of this machine's.
            use ccnode_appraise::{EkRoot, TrustLevel};
            let der = vectors.cert(file);
            assert!(EkRoot::parse(der.clone(), TrustLevel::HypervisorVtpm).is_ok(), "{file}");
            let certificate = vectors.read("gce-cos-85/ak_cert.der");
            let key = QuoteKey::certificate(&certificate).unwrap();
            let chain = Some(AkChain { intermediates: &[], roots: &[der], at: AT });
            let message = &vectors.read("gce-cos-85/quote-sha256.attest");
            let report = QuoteEvidence { message, key: Some(&key), chain, ..Default::default() }.verify();
            assert!(report.codes().contains(&Code::AkCertUntrusted), "{file}");
        }
        "trustee/tpm_evidence.json" => {
            let evidence: TpmEvidence = serde_json::from_slice(&vectors.read(file)).unwrap();
            let kbs = KbsTpm::new(evidence).unwrap();
            let nonce = hex::decode(row["nonce"].as_str().unwrap()).unwrap();
            let report = kbs.quote(Some(&nonce)).verify();
            valid(&report, file);
            agrees(&report, row, file);
            assert!(report.codes().contains(&Code::AkAttributesUnknown), "{file}");
            assert_eq!(kbs.quote(Some(&nonce[..48])).verify().verdict(), Verdict::Invalid, "{file}");
        }
        "keylime/quote.out"
        | "keylime/quotesig.out"
        | "keylime/quotepcr.out"
        | "keylime/ak.pub"
        | "keylime/akpub.pem" => {
            let report = vectors.keylime("keylime/akpub.pem");
            valid(&report, file);
            if name == "quote.out" {
                agrees(&report, row, file);
            }
            assert!(report.codes().contains(&Code::AkAttributesUnknown), "{file}");
            // The same key as TPM2B_PUBLIC says what guards it.
            let known = vectors.keylime("keylime/ak.pub");
            valid(&known, file);
            assert!(known.proven(Subject::Key), "{file}");
        }
        "keylime/ak.name" => {
            let public = vectors.read("keylime/ak.pub");
            let key = QuoteKey::detect(&public).unwrap();
            assert_eq!(key.name().unwrap(), vectors.read(file));
        }
        other => panic!("{other} is in the table, and nothing here judges it"),
    }
}

#[test]
fn t10_every_file_has_the_outcome_of_the_table() {
    let Some(folder) = folder() else { return };
    let vectors = Vectors(folder);
    let table: Value = serde_json::from_slice(&vectors.read("expected.json")).unwrap();
    let rows = table["files"].as_object().unwrap();
    for (file, row) in rows {
        judge(&vectors, file, row);
    }
    // And every file is in the table.
    let mut found = 0;
    for dir in std::fs::read_dir(&vectors.0).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        for file in std::fs::read_dir(&dir).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&vectors.0).unwrap().to_str().unwrap().to_owned();
            assert!(rows.contains_key(&name), "{name} is not in the table");
            found += 1;
        }
    }
    assert_eq!(found, rows.len());
}
