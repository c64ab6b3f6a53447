//! The node's real client against the real service: format, certificate, second boot, a wrong pin.

use crate::fixture::*;
use crate::machines::*;
use ccnode_attest_client::{Client, ClockAtLeast, Deadline, Outcome, Settings, Subject};
use ccnode_evidence::{Code, EvidenceSource};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::Rule;
use ccnode_protocol::grants::{CertificateRequest, Formatted, Ready, VolumeAction};
use ccnode_server::pki;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Machine, Seat, SoftTpm, kubelet_csr};
use std::convert::Infallible;
use std::time::Duration;

fn client(trust: &Trust, ca: Vec<u8>) -> Client {
    let settings = Settings {
        urls: vec![trust.url("")],
        pins: vec![ca],
        pool: pool(),
        clock: ClockAtLeast { floor: 0 },
    };
    Client::new(settings).unwrap()
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn csr(name: &NodeName) -> Result<Vec<u8>, Infallible> {
    Ok(kubelet_csr(name).0)
}

async fn attest(client: &mut Client, tpm: &SoftTpm) -> Result<Outcome, Code> {
    let subject = Subject { identity: Some(tpm.offer()), logs: tpm.read_logs() };
    attest_of(client, &subject, tpm).await
}

async fn attest_of<S: EvidenceSource>(
    client: &mut Client,
    subject: &Subject,
    source: &S,
) -> Result<Outcome, Code> {
    let outcome = client.attest(subject, source, csr, deadline(), |_| ()).await;
    outcome.map_err(|error| match error {
        ccnode_attest_client::AttestError::Client(error) => error.code(),
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn the_nodes_client_walks_the_whole_way() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let ca = std::fs::read(trust.dir().join("tls/ca.pem")).unwrap();
    let mut client_a = client(&trust, ca);
    let Outcome { grants, csr } = attest(&mut client_a, &tpm).await.unwrap();
    let volume = grants.volume().unwrap().clone();
    let VolumeAction::Format { grant, .. } = volume.action.clone() else { panic!() };
    let (id, secret, generation) = (grant.id, grant.secret, volume.generation);
    let formatted = Formatted {
        grant: id.clone(),
        secret: secret.clone(),
        generation,
        header_digest: header(),
        recovery: None,
    };
    client_a.formatted(&formatted, deadline(), |_| ()).await.unwrap();
    let ready = Ready { grant: id, secret, generation, populated_from: verity() };
    client_a.ready(&ready, deadline(), |_| ()).await.unwrap();
    let request = CertificateRequest {
        grant: grants.certificate.id,
        secret: grants.certificate.secret,
        csr: csr.into(),
    };
    let chain = client_a.certificate(&request, deadline(), |_| ()).await.unwrap().chain;
    let der = pki::der_of_pem(&chain).unwrap();
    assert!(pki::parse(&der).unwrap().subject().to_string().ends_with(grants.node.as_str()));

    tpm.reboot(Boot::standard());
    let again = attest(&mut client_a, &tpm).await.unwrap();
    assert!(matches!(again.grants.volume().unwrap().action, VolumeAction::Open { .. }));
    assert_eq!(again.grants.volume().unwrap().unlock_key, volume.unlock_key);
    tpm.cap();
    assert_eq!(attest(&mut client_a, &tpm).await.unwrap_err(), Code::AlreadyCapped);
}

#[tokio::test]
async fn the_nodes_client_joins_with_every_kind_of_report() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let ca = std::fs::read(trust.dir().join("tls/ca.pem")).unwrap();
    let mut client = client(&trust, ca);
    for (machine, persists) in [
        (svsm(Seat::A), true),
        (Machine::with(tpm(&maker, Seat::B), Hardware::snp(TestChip::milan())), true),
        (Machine::with(tpm(&maker, Seat::C), Hardware::tdx(&PLATFORM)), true),
        (azure(Seat::A, Hardware::az_snp(TestChip::milan())), true),
        (azure(Seat::B, Hardware::az_tdx(&PLATFORM)), true),
        (bare_snp(1), false),
        (bare_tdx(), false),
    ] {
        let subject = Subject { identity: machine.offer(), logs: machine.logs() };
        let Outcome { grants, csr } = attest_of(&mut client, &subject, &machine).await.unwrap();
        assert_eq!(grants.volume().is_some(), persists, "{machine:?}");
        let grant = grants.certificate;
        let request = CertificateRequest { grant: grant.id, secret: grant.secret, csr: csr.into() };
        let chain = client.certificate(&request, deadline(), |_| ()).await.unwrap().chain;
        let der = pki::der_of_pem(&chain).unwrap();
        assert!(pki::parse(&der).unwrap().subject().to_string().ends_with(grants.node.as_str()));
    }
}

#[tokio::test]
async fn t08_the_nodes_client_talks_to_its_pinned_ca_alone() {
    let (trust, maker) = ready().await;
    let (foreign, _) = pki::ca("foreign", time::OffsetDateTime::now_utc()).unwrap();
    let mut client = client(&trust, foreign.cert.into_bytes());
    assert_eq!(attest(&mut client, &tpm(&maker, Seat::A)).await.unwrap_err(), Code::ServiceUntrusted);
    assert!(trust.admin().refusals().await.is_empty());
}
