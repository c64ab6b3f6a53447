//! The recordings: their evidence passes every gate that it is of, and none of it once a byte of the session is another.

use ccnode_appraise::stock::{
    ReferenceValues, StockMatch, StockReferences, StockSession, StockVerdict, ak_id, appraise, claimed,
};
use ccnode_appraise::{Hardware, References, Refused, Rejection, Shelf, TrustLevel, UnixTime};
use ccnode_evidence::{Code, EvidenceKind, Nonce};
use ccnode_protocol::Attestation;
use ccnode_vectors as vectors;
use serde_json::{Value, json};

/// A recorded session: the challenge's nonce and the attestation.
struct Recorded {
    nonce: Nonce,
    attestation: Value,
}

fn sessions(file: &str) -> Option<Vec<Recorded>> {
    let text = String::from_utf8(vectors::read(&format!("kbs-transcripts/{file}"))?).unwrap();
    let (mut nonces, mut found) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        if let Some(nonce) = value.get("nonce") {
            nonces.push(nonce.clone());
        }
        if value.get("tee-evidence").is_some() {
            let nonce = value["runtime-data"]["nonce"].clone();
            assert!(nonces.contains(&nonce), "a nonce of the service's");
            let nonce = serde_json::from_value(nonce).unwrap();
            found.push(Recorded { nonce, attestation: value });
        }
    }
    assert!(!found.is_empty(), "{file}");
    Some(found)
}

impl Recorded {
    fn read(&self) -> Attestation {
        serde_json::from_value(self.attestation.clone()).unwrap()
    }

    fn edited(&self, edit: impl FnOnce(&mut Value)) -> Attestation {
        let mut value = self.attestation.clone();
        edit(&mut value);
        serde_json::from_value(value).unwrap()
    }
}

fn judge(
    recorded: &Recorded,
    attestation: &Attestation,
    values: Option<&ReferenceValues>,
) -> Result<StockVerdict, Box<Refused>> {
    let (hardware, shelf) = (Hardware::default(), Shelf::default());
    let pool = References {
        platforms: &[],
        images: &[],
        pairs: &[],
        ek_roots: &[],
        allow_init_data: false,
        hardware: &hardware,
        collateral: &shelf,
    };
    let session = StockSession { nonce: &recorded.nonce, kind: EvidenceKind::Tpm };
    appraise(&session, attestation, &StockReferences { pool, values }, UnixTime(1_795_401_224))
}

#[test]
fn the_stock_tpm_attester_passes_by_its_reference_values() {
    let Some(recorded) = sessions("attester-tpm.txt") else { return };
    for recorded in &recorded {
        let attestation = recorded.read();
        let primary = &recorded.attestation["tee-evidence"]["primary_evidence"];
        let mut values = ReferenceValues::default();
        for pcr in [4, 7, 8, 11, 14] {
            values.add(&format!("tpm_pcr{pcr}"), &primary["tpm_quote"]["pcrs"][pcr]).unwrap();
        }
        values.add("trusted_aks", &json!([primary["ak_public"]])).unwrap();
        let verdict = judge(recorded, &attestation, Some(&values)).unwrap();
        assert_eq!((verdict.level, verdict.ephemeral), (TrustLevel::HypervisorVtpm, false));
        let StockMatch::Values { names } = &verdict.matched else { panic!("{:?}", verdict.matched) };
        assert_eq!(names.len(), 6);
        let tpm = verdict.tpm.unwrap();
        assert_eq!((tpm.pcrs.0.len(), tpm.not_judged.len()), (24, 18));
        assert_eq!(verdict.node_id, ak_id(EvidenceKind::Tpm, &tpm.ak));
        // Something is in PCR 8 that no init-data explain: it has to be among the values.
        let mut without = ReferenceValues::default();
        for pcr in [4, 7, 14] {
            without.add(&format!("tpm_pcr{pcr}"), &primary["tpm_quote"]["pcrs"][pcr]).unwrap();
        }
        let refused = judge(recorded, &attestation, Some(&without)).unwrap_err();
        assert_eq!(refused.rejection.code(), Code::InitDataNotAllowed);
        let refused = judge(recorded, &attestation, None).unwrap_err();
        assert_eq!(refused.rejection.code(), Code::PlatformUnknown);
        assert!(!refused.kept.activation_proven, "whoever made the key up would be told");

        let other = Recorded { nonce: Nonce([0; 32]), attestation: recorded.attestation.clone() };
        let refused = judge(&other, &attestation, Some(&values)).unwrap_err();
        assert!(matches!(refused.rejection, Rejection::NonceMismatch { .. }));
        for (pointer, code) in [
            ("/runtime-data/tee-pubkey/x", Code::QuoteNonce),
            ("/tee-evidence/primary_evidence/tpm_quote/pcrs/23", Code::QuotePcrDigest),
        ] {
            let edited = recorded.edited(|value| {
                let text = value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
                let other = if text.starts_with('a') { "b" } else { "a" };
                *value.pointer_mut(pointer).unwrap() = format!("{other}{}", &text[1..]).into();
            });
            assert_eq!(
                judge(recorded, &edited, Some(&values)).unwrap_err().rejection.code(),
                code,
                "{pointer}"
            );
        }
    }
}

#[test]
fn the_recorded_azure_reports_are_of_no_paravisor() {
    let Some(recorded) = sessions("az-snp-testroots.txt") else { return };
    for recorded in &recorded {
        let session = StockSession { nonce: &recorded.nonce, kind: EvidenceKind::AzSnpVtpm };
        // They were made for the recording, with a length in their header that the stock service does not look at.
        let refused = claimed(&session, &recorded.read()).unwrap_err();
        assert!(matches!(refused, Rejection::Hcl(_)), "{refused}");
    }
}

#[test]
fn the_recorded_snp_evidence_is_read_and_names_nobody_yet() {
    let Some(recorded) = sessions("snp-testroots.txt") else { return };
    for recorded in &recorded {
        let session = StockSession { nonce: &recorded.nonce, kind: EvidenceKind::Snp };
        assert_eq!(claimed(&session, &recorded.read()).unwrap(), None);
    }
}
