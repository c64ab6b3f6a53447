//! What ccnode-init sends of an emulated guest.

use crate::guest::{CERTIFICATES, MANIFEST, level, snp, svsm, tdx};
use ccnode_bootstrap::prover::{Hardware, ProofError, Prover, Reports};
use ccnode_bootstrap::refusal::Coded as _;
use ccnode_cvm::Cvm;
use ccnode_evidence::{Code, EvidenceKind, EvidenceSource as _, ReportParts, ReportSource as _};
use ccnode_tsm_emulator::{Emulator, Platform};
use std::sync::Arc;

fn hardware(platform: impl Platform + 'static, manifest: Option<&[u8]>) -> Hardware {
    let places = tempfile::tempdir().unwrap();
    let emulator = Emulator::on(Some(Box::new(platform)));
    let cvm = Cvm::on(emulator, places.path(), places.path()).unwrap().unwrap();
    let reports: Arc<dyn Reports> = Arc::new(cvm);
    Hardware::Cvm { reports, manifest: manifest.map(<[u8]>::to_vec) }
}

fn prover(platform: impl Platform + 'static) -> Prover {
    Prover::new(None, Some(hardware(platform, None)), "quiet".to_owned())
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn report(prover: &Prover) -> Result<ReportParts, ProofError> {
    wait(prover.supports_report().unwrap().report([7; 64]))
}

#[test]
fn the_strongest_is_said_and_sent() {
    for (prover, words, kind) in [
        (prover(snp()), "evidence snp, no TPM", EvidenceKind::Snp),
        (prover(svsm()), "evidence snp of an SVSM, no TPM", EvidenceKind::Snp),
        (prover(tdx()), "evidence tdx, no TPM", EvidenceKind::Tdx),
    ] {
        assert_eq!((prover.sent().to_string().as_str(), prover.sent().kind), (words, kind));
        assert_eq!(report(&prover).unwrap().kind(), kind);
        assert!(prover.supports_tpm().is_none());
        let logs = wait(prover.logs()).unwrap();
        assert_eq!((logs.cmdline.as_str(), logs.event_log.0.len()), ("quiet", 0));
    }
}

#[test]
fn an_svsms_report_carries_its_manifest() {
    let ReportParts::Snp { report, certs, svsm } = report(&prover(svsm())).unwrap() else { panic!("SNP") };
    assert_eq!((level(&report), certs.as_slice()), (0, CERTIFICATES));
    assert_eq!(svsm.unwrap().manifest.0, MANIFEST);
    let Ok(ReportParts::Snp { svsm: None, .. }) = report_of_snp() else { panic!("a guest without an SVSM") };
}

fn report_of_snp() -> Result<ReportParts, ProofError> {
    report(&prover(snp()))
}

#[test]
fn t06_a_manifest_that_changes_between_vouching_and_reporting() {
    wait(hardware(svsm(), Some(MANIFEST)).report([7; 64])).unwrap();
    let error = wait(hardware(svsm(), Some(b"the key that was vouched for")).report([7; 64])).unwrap_err();
    assert_eq!(error.code(), Code::SvsmManifestForeign, "{error}");
}
