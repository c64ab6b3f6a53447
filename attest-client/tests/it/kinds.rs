//! Sessions of every kind of evidence: what is announced, what covers what, and what is refused to be sent.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test that panics has failed, as it should")]

use crate::server::{
    Ca, FakeTpm, NAME, Reply, SECRET, Server, attest_from, challenge, client, nonce, service_for,
};
use ccnode_attest_client::ClientError;
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{
    AdditionalEvidence, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote, CcnodeEvidence, Code, EventLogs,
    EvidenceKind, EvidenceSource, ExtraData, Identity, PcrSet, QuoteParts, ReportData, ReportParts,
    ReportSource, Secret, SnpEvidence, SnpFormError, Svsm, TdxEvidence, TpmSource,
};
use ccnode_protocol::{ATTEST, AUTH, Attestation, GRANTS, TeePubKey};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;

const FAR: u64 = 20_000;

/// A machine with reports of a kind, and a TPM where it is said so.
#[derive(Clone)]
struct Machine {
    kind: EvidenceKind,
    /// What it makes instead of what it announces.
    makes: EvidenceKind,
    tpm: Option<Rsassa>,
    svsm: bool,
    /// Whether its SEV-SNP reports lack a byte.
    cut: bool,
}

impl Machine {
    fn of(kind: EvidenceKind, tpm: bool) -> Self {
        Self { kind, makes: kind, tpm: tpm.then_some(Rsassa(0x14)), svsm: false, cut: false }
    }
}

/// A TPM that signs with a scheme of this id.
#[derive(Clone)]
struct Rsassa(u8);

impl TpmSource for Rsassa {
    type Error = Infallible;

    async fn identity(&self) -> Result<Identity, Infallible> {
        FakeTpm.identity().await
    }

    async fn activate(&self, credential: Vec<u8>, secret: Vec<u8>) -> Result<Secret<32>, Infallible> {
        FakeTpm.activate(credential, secret).await
    }

    async fn quote_pcrs(&self, set: PcrSet, extra: ExtraData) -> Result<QuoteParts, Infallible> {
        let signature = [&[0, self.0, 0, 0x0b, 0, 4][..], b"sign"].concat();
        Ok(QuoteParts { signature, ..FakeTpm.quote_pcrs(set, extra).await? })
    }
}

impl ReportSource for Machine {
    type Error = Infallible;

    fn kind(&self) -> EvidenceKind {
        self.kind
    }

    async fn report(&self, report_data: [u8; 64]) -> Result<ReportParts, Infallible> {
        let (report, vcek) = (report_data.to_vec(), b"vcek".to_vec());
        Ok(match self.makes {
            EvidenceKind::Tpm => unreachable!("no report"),
            EvidenceKind::Snp => {
                let manifest = b"manifest".to_vec().into();
                let svsm = Svsm { service: "c476".into(), version: 0, manifest };
                let mut report = snp_report(&report_data);
                report.truncate(1184 - usize::from(self.cut));
                ReportParts::Snp { report, certs: Vec::new(), svsm: self.svsm.then_some(svsm) }
            }
            EvidenceKind::Tdx => ReportParts::Tdx { quote: report, ccel: Some(b"ccel".to_vec()) },
            EvidenceKind::AzSnpVtpm => ReportParts::AzSnp { hcl_report: report, vcek },
            EvidenceKind::AzTdxVtpm => ReportParts::AzTdx { hcl_report: report, td_quote: b"quote".to_vec() },
        })
    }
}

impl EvidenceSource for Machine {
    type Error = Infallible;
    type Tpm = Rsassa;
    type Report = Self;

    fn supports_tpm(&self) -> Option<&Rsassa> {
        self.tpm.as_ref()
    }

    fn supports_report(&self) -> Option<&Self> {
        Some(self)
    }

    async fn logs(&self) -> Result<EventLogs, Infallible> {
        Ok(EventLogs { cmdline: "quiet".into(), ..EventLogs::default() })
    }
}

/// A report of version 3 over `report_data`, and zeros elsewhere.
fn snp_report(report_data: &[u8; 64]) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 3;
    report[0x188] = 0x19;
    report[0x50..0x90].copy_from_slice(report_data);
    report
}

fn primary<T: serde::de::DeserializeOwned>(attestation: &Attestation) -> T {
    serde_json::from_value(attestation.tee_evidence.primary_evidence.clone()).unwrap()
}

/// The transcript's report data over the form with this additional evidence; activation is checked where there is a TPM.
fn covered(attestation: &Attestation, additional: Option<&str>, activates: bool) -> ReportData {
    let runtime = &attestation.runtime_data;
    let ext = runtime.ccnode.as_ref().unwrap();
    let tee_pubkey = &runtime.stock.tee_pubkey;
    let transcript = Transcript { additional_evidence: additional, nonce: &nonce(), tee_pubkey };
    match activates {
        true => transcript.verify(ext, &Secret::new(SECRET)).unwrap().1,
        false => transcript.cover(ext).unwrap(),
    }
}

fn ours(attestation: &Attestation) -> CcnodeEvidence {
    let ours = CcnodeEvidence::of(&attestation.tee_evidence.primary_evidence).unwrap().unwrap();
    let bound = attestation.runtime_data.ccnode.unwrap().bound;
    assert_eq!((ours.version, ours.logs.cmdline.as_str()), (1, "quiet"));
    assert_eq!(bound.event_logs, Some(ours.logs.digest().unwrap()));
    ours
}

/// What each report must cover, and each quote.
fn check(attestation: &Attestation, machine: &Machine) {
    let additional = attestation.tee_evidence.additional_evidence.as_str();
    let beside = machine.kind.takes_additional() && machine.tpm.is_some();
    assert_eq!(additional.is_empty(), !beside);
    if beside {
        let AdditionalEvidence { tpm } = serde_json::from_str(additional).unwrap();
        let quoted = covered(attestation, None, true);
        assert_eq!(
            tpm.tpm_quote.message.0,
            quoted.qualifying_data(),
            "32 bytes of the form without the quote"
        );
        assert!(tpm.ccnode.is_none() && tpm.tpm_quote.pcrs.len() == 16);
    }
    let data = covered(attestation, Some(additional), !beside && machine.tpm.is_some());
    let activation = attestation.runtime_data.ccnode.unwrap().activation;
    assert_eq!(activation.is_some(), machine.tpm.is_some());
    let ours = ours(attestation);
    assert_eq!(ours.svsm.is_some(), machine.svsm);
    let azure = |quote: AzureTpmQuote, hcl: &[u8]| {
        assert_eq!(quote.message.0, data.0, "all 48 bytes");
        assert_eq!((quote.signature.0.as_slice(), quote.pcrs.len()), (&b"sign"[..], 16));
        assert_eq!(hcl, data.report_data());
    };
    match machine.kind {
        EvidenceKind::Tpm => panic!("no report"),
        EvidenceKind::Snp => {
            let report = primary::<SnpEvidence>(attestation).attestation_report.to_bytes().unwrap();
            assert_eq!(report, snp_report(&data.report_data()));
        }
        EvidenceKind::Tdx => {
            let evidence: TdxEvidence = primary(attestation);
            assert_eq!(evidence.quote.0, data.report_data());
            assert_eq!(evidence.cc_eventlog.unwrap().0, b"ccel");
        }
        EvidenceKind::AzSnpVtpm => {
            let evidence: AzSnpEvidence = primary(attestation);
            azure(evidence.tpm_quote, &evidence.hcl_report.0);
            assert_eq!((evidence.version, evidence.vcek.0.as_slice()), (2, &b"vcek"[..]));
        }
        EvidenceKind::AzTdxVtpm => {
            let evidence: AzTdxEvidence = primary(attestation);
            azure(evidence.tpm_quote, &evidence.hcl_report.0);
            assert_eq!(evidence.td_quote.0, b"quote");
        }
    }
}

/// A challenge for a node without a TPM.
fn bare_challenge() -> Reply {
    let ext = json!({"version": 1, "node": NAME});
    Reply::Json(200, json!({"nonce": nonce().text(), "extra-params": {"ccnode": ext}}))
}

async fn run(machine: &Machine, ask: fn() -> Reply) -> (Result<(), ClientError>, Arc<Server>) {
    let (ca, looked_at) = (Ca::new(), machine.clone());
    let look = move |attestation: &Attestation| -> TeePubKey {
        check(attestation, &looked_at);
        attestation.runtime_data.stock.tee_pubkey.clone()
    };
    let script = service_for(ask, look, |_, _| None);
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let (outcome, _) = attest_from(&mut client(&[&server.url], &ca, 0), machine, FAR).await;
    (outcome.map(drop), Arc::new(server))
}

#[tokio::test]
async fn t08_every_kind_binds_all_its_parts_to_one_session() {
    for kind in EvidenceKind::ALL.into_iter().filter(|kind| *kind != EvidenceKind::Tpm) {
        for svsm in [false, true].into_iter().filter(|svsm| !svsm || kind == EvidenceKind::Snp) {
            let (outcome, server) = run(&Machine { svsm, ..Machine::of(kind, true) }, challenge).await;
            outcome.unwrap();
            assert_eq!(server.paths(), [AUTH, ATTEST, GRANTS]);
            let auth: Value = server.requests()[0].json();
            assert_eq!(auth["tee"], kind.as_str());
            assert_eq!(auth["extra-params"]["ccnode"]["ek-cert"], "ZWs");
        }
    }
}

#[tokio::test]
async fn without_a_tpm_the_report_stands_alone() {
    for kind in [EvidenceKind::Snp, EvidenceKind::Tdx] {
        let (outcome, server) = run(&Machine::of(kind, false), bare_challenge).await;
        outcome.unwrap();
        let auth: Value = server.requests()[0].json();
        assert_eq!(auth["extra-params"], json!({"ccnode": {"version": 1, "pool": "workers"}}));
        let attestation: Value = server.requests()[1].json();
        assert_eq!(attestation["runtime-data"]["ccnode"]["activation"], Value::Null);
    }
}

#[tokio::test]
async fn a_challenge_must_fit_what_was_offered() {
    let garbage = |outcome: Result<(), ClientError>| {
        let error = outcome.unwrap_err();
        assert!(matches!(error, ClientError::Garbage { .. }), "{error}");
    };
    garbage(run(&Machine::of(EvidenceKind::Snp, true), bare_challenge).await.0);
    garbage(run(&Machine::of(EvidenceKind::Snp, false), challenge).await.0);
}

#[tokio::test]
async fn what_has_no_form_is_not_sent() {
    let unsent = async |machine: Machine, ask: fn() -> Reply| {
        let (outcome, server) = run(&machine, ask).await;
        assert!(!server.paths().contains(&ATTEST.to_owned()));
        outcome.unwrap_err()
    };
    let other = Machine { makes: EvidenceKind::Tdx, ..Machine::of(EvidenceKind::Snp, true) };
    let error = unsent(other, challenge).await;
    assert!(matches!(
        error,
        ClientError::ReportKind { announced: EvidenceKind::Snp, made: EvidenceKind::Tdx }
    ));
    assert_eq!(error.code(), Code::NodeInternal);
    let pss = Machine { tpm: Some(Rsassa(0x16)), ..Machine::of(EvidenceKind::AzSnpVtpm, true) };
    assert!(matches!(unsent(pss, challenge).await, ClientError::QuoteScheme));
    // Azure's kinds are a quote; without a TPM there is none.
    let error = unsent(Machine::of(EvidenceKind::AzTdxVtpm, false), bare_challenge).await;
    assert!(matches!(error, ClientError::ReportForm(EvidenceKind::AzTdxVtpm)), "{error}");
    let cut = Machine { cut: true, ..Machine::of(EvidenceKind::Snp, true) };
    let error = unsent(cut, challenge).await;
    assert!(matches!(error, ClientError::SnpForm(SnpFormError::Size(1183))), "{error}");
}
