//! A TPM's evidence with a log of 40 KiB, and the log's replay beside SHA-256 alone.

use crate::clock;
use ccnode_appraise::{
    EkRoot, Hardware, References, Session, Shelf, TpmIdentity, TrustLevel, UnixTime, appraise,
};
use ccnode_evidence::{CcnodeEvidence, HashAlg, PcrSet, Sha256Digest};
use ccnode_testkit::Scene;
use ccnode_tpm_eventlog::EventLog;
use std::hint::black_box;

const LOG: usize = 40 * 1024;

/// Milliseconds.
pub(crate) struct Times {
    pub(crate) appraisal: f64,
    pub(crate) replay: f64,
    pub(crate) sha256: f64,
    len: usize,
}

impl Times {
    /// Megabytes of log a second, of milliseconds a log.
    pub(crate) fn megabytes(&self, millis: f64) -> f64 {
        let len = u32::try_from(self.len).map_or(0.0, f64::from);
        len / millis / 1e3
    }
}

pub(crate) fn times() -> Times {
    let scene = Scene::new(LOG);
    let identity = TpmIdentity::parse(&scene.ek_cert, &scene.ak_public).expect("an identity");
    let session = Session::of_tpm(&scene.nonce, &identity, &scene.secret);
    let roots: Vec<EkRoot> = scene
        .ek_roots
        .iter()
        .map(|der| EkRoot::parse(der.clone(), TrustLevel::HypervisorVtpm).expect("a CA"))
        .collect();
    let (platforms, images) = ([scene.platform.clone()], [scene.image.clone()]);
    let hardware = Hardware::default();
    let references = References {
        platforms: &platforms,
        images: &images,
        pairs: &[(scene.platform.id(), scene.image.id())],
        ek_roots: &roots,
        allow_init_data: false,
        hardware: &hardware,
        collateral: &Shelf::default(),
    };
    let ours = CcnodeEvidence::of(&scene.attestation.tee_evidence.primary_evidence).expect("evidence");
    let log = ours.expect("our member").logs.event_log.0;
    let quoted = EventLog::parse(&log).expect("a log").replay(HashAlg::Sha256).expect("a replay").pcrs();
    let [appraisal, replay, sha256] = clock::millis([
        &mut || {
            let verdict = appraise(&session, black_box(&scene.attestation), &references, UnixTime(scene.now));
            black_box(verdict.expect("good evidence"));
        },
        &mut || {
            let log = EventLog::parse(black_box(&log)).expect("a log");
            black_box(log.matches(&quoted, PcrSet::STOCK).expect("its own values").set());
        },
        &mut || {
            black_box(Sha256Digest::of(black_box(&log)));
        },
    ]);
    Times { appraisal, replay, sha256, len: log.len() }
}
