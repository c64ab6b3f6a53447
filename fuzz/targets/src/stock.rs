//! What stock clients send to be attested: judged as evidence of each kind, by a pool that allows nothing but init-data.

use crate::printable;
use ccnode_appraise::stock::{
    ReferenceValues, StockReferences, StockSession, TRUSTED_AKS, appraise, claimed, read_ak,
};
use ccnode_appraise::{Hardware, References, Shelf, TrustLevel, UnixTime};
use ccnode_evidence::{EvidenceKind, Nonce};
use ccnode_protocol::jwe;
use ccnode_protocol::{AkRegistration, Attestation, AuthRequest, ReferenceValuePost};
use serde_json::{Value, json};

/// The nonce of the seeds' challenges.
pub const NONCE: Nonce = Nonce([3; 32]);

pub(crate) fn attestation(bytes: &[u8]) {
    if let Ok(asked) = serde_json::from_slice::<AuthRequest>(bytes) {
        drop(serde_json::to_string(&asked));
    }
    let Ok(attestation) = serde_json::from_slice::<Attestation>(bytes) else { return };
    if let Err(error) = jwe::check(&attestation.runtime_data.stock.tee_pubkey) {
        printable(&error.to_string());
    }
    let (hardware, shelf) = (Hardware::default(), Shelf::default());
    let pool = References {
        platforms: &[],
        images: &[],
        pairs: &[],
        ek_roots: &[],
        allow_init_data: true,
        hardware: &hardware,
        collateral: &shelf,
    };
    let values = as_sent(&attestation);
    for kind in EvidenceKind::ALL {
        let session = StockSession { nonce: &NONCE, kind };
        let who = claimed(&session, &attestation);
        if let Err(rejection) = &who {
            printable(&rejection.to_string());
        }
        for values in [None, Some(&values)] {
            match appraise(&session, &attestation, &StockReferences { pool, values }, UnixTime(1_795_401_224))
            {
                // No report here leads to a maker's root, and the tuples allow nothing.
                Ok(verdict) => {
                    assert_eq!(verdict.level, TrustLevel::HypervisorVtpm);
                    assert!(values.is_some());
                    assert_eq!(who.as_ref().ok().copied().flatten(), Some(verdict.node_id));
                }
                Err(refused) => printable(&refused.rejection.to_string()),
            }
        }
    }
}

/// Reference values that are what the attestation itself says, as somebody may post who believes it.
fn as_sent(attestation: &Attestation) -> ReferenceValues {
    let primary = &attestation.tee_evidence.primary_evidence;
    let mut values = ReferenceValues::default();
    for pcr in 0..16 {
        let value = primary.pointer(&format!("/tpm_quote/pcrs/{pcr}")).unwrap_or(&Value::Null);
        if let Err(error) = values.add(&format!("tpm_pcr{pcr}"), value) {
            printable(&error.to_string());
        }
    }
    if let Err(error) = values.add(TRUSTED_AKS, &json!([primary["ak_public"]])) {
        printable(&error.to_string());
    }
    values
}

pub(crate) fn administration(bytes: &[u8]) {
    if let Ok(post) = serde_json::from_slice::<ReferenceValuePost>(bytes) {
        drop(post);
    }
    if let Ok(registration) = serde_json::from_slice::<AkRegistration>(bytes)
        && let Err(error) = read_ak(registration.public_key.as_bytes())
    {
        printable(&error.to_string());
    }
    let Ok(Value::Object(lists)) = serde_json::from_slice::<Value>(bytes) else { return };
    let mut values = ReferenceValues::default();
    for (name, value) in &lists {
        if let Err(error) = values.add(name, value) {
            printable(&error.to_string());
        }
    }
    assert!(values.pcrs().keys().all(|pcr| pcr.get() < 24));
}
