//! Steps that many stories take: a first boot, a verdict, an administrator's action.

use crate::fixture::{Answered, Granted, Trust, boot, challenge, verity};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::{Problem, admin};
use ccnode_testkit::SoftTpm;
use reqwest::Method;

/// First boot up to `ready`.
pub(crate) async fn first_boot(trust: &Trust, tpm: &SoftTpm) -> Granted {
    let granted = boot(trust, tpm).await.unwrap();
    granted.formatted(header()).await.unwrap();
    granted.ready(verity()).await.unwrap();
    granted
}

pub(crate) fn header() -> Sha256Digest {
    Sha256Digest::of(b"LUKS2 header")
}

/// A session of `tpm` up to its verdict.
pub(crate) async fn judged(trust: &Trust, tpm: &SoftTpm) -> Problem {
    let session = challenge(trust, tpm).await;
    let (attestation, ..) = session.answer(tpm);
    session.attest(&attestation).await.unwrap_err().problem
}

pub(crate) async fn judged_code(trust: &Trust, tpm: &SoftTpm) -> Code {
    judged(trust, tpm).await.code.unwrap()
}

pub(crate) async fn act(
    trust: &Trust,
    path: &str,
    name: &impl std::fmt::Display,
) -> Answered<serde_json::Value> {
    let why = admin::NodeAction { reason: Some("test".into()) };
    trust.admin().call(Method::POST, &admin::path(path, &[name]), &why).await
}
