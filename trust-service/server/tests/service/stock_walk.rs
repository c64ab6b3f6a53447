//! This project's stock client against this project's service: every kind of evidence and of session key, up to the resource.

use crate::fixture::*;
use crate::machines::*;
use crate::stock_clients::*;
use ccnode_attest_client::stock::{StockClient, StockSettings};
use ccnode_attest_client::{AttestError, ClockAtLeast, Deadline};
use ccnode_evidence::{Code, EvidenceSource};
use ccnode_protocol::ResourceUri;
use ccnode_protocol::admin::{OnUnknown, Reader};
use ccnode_protocol::jwe::SessionKeyKind;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Seat};
use std::time::Duration;

const SECRET: &[u8] = b"what opens the root";

/// What an honest machine reads of `default/disk/root`.
async fn fetch<S: EvidenceSource>(trust: &Trust, source: &S, key: SessionKeyKind) -> Result<Vec<u8>, Code> {
    let pins = vec![std::fs::read(trust.dir().join("tls/ca.pem")).unwrap()];
    let urls = vec![trust.url("")];
    let mut client =
        StockClient::new(StockSettings { urls, pins, clock: ClockAtLeast { floor: 0 }, key }).unwrap();
    let wanted: ResourceUri = "kbs:///default/disk/root".parse().unwrap();
    let deadline = Deadline::after(Duration::from_secs(30));
    match client.fetch(source, &[wanted], None, deadline, |_| ()).await {
        Ok(outcome) => Ok(outcome.resources[0].expose().to_vec()),
        Err(AttestError::Client(error)) => Err(error.code()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_stock_client_reads_what_was_bound_to_its_pool() {
    let trust = Trust::with(stock_config).await;
    trust.admin().create_pool(OnUnknown::Enrol, &RULES).await;
    let pair = trust.admin().allow(&Boot::standard(), verity()).await;
    demand(&trust, &policy(pair.image)).await;
    shelve(&trust, "UpToDate");
    trust.admin().set("default/disk/root", SECRET).await.unwrap();
    let tpm = soft(Seat::A);
    assert_eq!(
        fetch(&trust, &tpm, SessionKeyKind::P256).await,
        Err(Code::ResourceUnknown),
        "deny by default"
    );
    trust.admin().allow_reader("default/disk/root", &Reader::Pool(pool())).await.unwrap();
    for key in [SessionKeyKind::P256, SessionKeyKind::P521, SessionKeyKind::Rsa] {
        assert_eq!(fetch(&trust, &tpm, key).await.as_deref(), Ok(SECRET), "{key:?}");
    }
    for machine in [
        bare_snp(1),
        bare_tdx(),
        azure(Seat::B, Hardware::az_snp(TestChip::milan())),
        azure(Seat::C, Hardware::az_tdx(&PLATFORM)),
    ] {
        assert_eq!(fetch(&trust, &machine, SessionKeyKind::P256).await.as_deref(), Ok(SECRET), "{machine:?}");
    }
    tpm.reboot(Boot::new("other", "other", b"other"));
    assert_eq!(fetch(&trust, &tpm, SessionKeyKind::P256).await, Err(Code::PlatformUnknown));
}
