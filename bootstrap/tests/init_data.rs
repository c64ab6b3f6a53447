//! Init-data in a software TPM: measured first, then read.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, as it should")]

mod swtpm;

use ccnode_bootstrap::init_data::{InitDataError, find};
use ccnode_bootstrap::refusal::Coded as _;
use ccnode_evidence::{Code, PcrIndex, PcrSet, Sha256Digest};
use ccnode_protocol::init_data::InitDataError as Wire;
use swtpm::Swtpm;

const GOOD: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"uuid\" = \"node-1\"\n";

#[tokio::test]
async fn pcr_8_holds_the_digest_before_a_byte_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let pcr = PcrIndex::new(8).unwrap();
    for (text, good) in [
        (GOOD.to_owned(), true),
        (GOOD.replace("sha256", "sha384"), false),
        (GOOD.replace("0.1.0", "0.2.0"), false),
        (GOOD.replace("[data]", "more = 1\n[data]"), false),
        (GOOD.replace("[data]", "[data]\n\"ccnode.toml\" = \"[service]\""), false),
        ("not TOML".to_owned(), false),
    ] {
        let tpm = Swtpm::start();
        let device = tpm.open();
        std::fs::write(&path, &text).unwrap();
        let measured = find(&path).unwrap().unwrap().measure(Some(&device)).await;
        // Whatever it says, its digest is there: SHA-256(0^32 || digest), as stock services expect it.
        let want = Sha256Digest::ZERO.extend(&Sha256Digest::of(text.as_bytes()));
        let pcrs = device.read_pcrs(PcrSet::from_iter([pcr])).await.unwrap();
        assert_eq!(pcrs.get(pcr), Some(&want), "{text}");
        match measured {
            Ok(data) => {
                assert!(good && data.others() == 1, "{text}");
                assert_eq!((data.wire().format.as_str(), data.wire().body), ("toml", text));
            }
            Err(error @ InitDataError::Form(Wire::Form | Wire::Hints(_))) => {
                assert!(!good && error.code() == Code::InitDataMalformed)
            }
            Err(other) => panic!("{other}"),
        }
    }
}
