//! What a machine that proved nothing is told, and leaves behind: neither pools nor records.

use crate::fixture::*;
use crate::machines::*;
use ccnode_evidence::{Code, Secret};
use ccnode_protocol::admin::{self, LastEvidence, RefusalRecord, Rule};
use ccnode_protocol::{AuthRequest, ExtParams, NodeName};
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Lies, Machine, Seat, kubelet_csr};
use reqwest::Method;
use serde_json::Value;

fn for_pool(machine: &Machine, name: &str) -> AuthRequest {
    let mut request = machine.auth_request(&pool());
    let ExtParams::Ccnode { ccnode } = &mut request.extra_params else { panic!() };
    ccnode.pool = name.parse().unwrap();
    request
}

async fn in_pool(trust: &Trust, machine: &Machine, name: &str, guess: bool) -> Code {
    let session = try_challenge(trust, &for_pool(machine, name)).await.unwrap();
    let secret = session.opened(machine).map(|honest| if guess { Secret::new([7; 32]) } else { honest });
    let (csr, _) = kubelet_csr(&"workers-a".parse().unwrap());
    code(session.attest(&session.reply_with(machine, secret.as_ref(), &csr)).await)
}

#[tokio::test]
async fn which_pools_there_are_is_told_to_the_proven_alone() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    // With a TPM: whoever does not activate hears the same of every pool.
    let beside = Machine::with(tpm(&maker, Seat::A), Hardware::snp(TestChip::milan()));
    for name in [POOL, "none"] {
        assert_eq!(in_pool(&trust, &beside, name, true).await, Code::ActivationFailed, "{name}");
    }
    assert_eq!(in_pool(&trust, &beside, "none", false).await, Code::PoolUnknown);
    // Without: whoever has no genuine report hears what is wrong with it.
    let stranger = Machine::bare(Hardware::snp(TestChip::genoa()));
    for (name, machine) in [(POOL, &stranger), ("none", &stranger), ("none", &bare_snp(1))] {
        assert_eq!(in_pool(&trust, machine, name, false).await, Code::SnpChain, "{name}: {machine:?}");
    }
    let stranger = Machine::bare(Hardware::tdx(&ccnode_testkit::tdx::Platform::new().into()));
    for name in [POOL, "none"] {
        assert_eq!(in_pool(&trust, &stranger, name, false).await, Code::TdxChain, "{name}");
    }
    nobody(&trust).await;
}

async fn evidence(trust: &Trust, name: &NodeName) -> LastEvidence {
    trust.admin().get(&admin::path(admin::NODE_EVIDENCE, &[name])).await
}

#[tokio::test]
async fn last_evidence_of_a_composite_is_kept_by_activation_alone() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let machine = certified_svsm(&maker, Seat::A);
    let name = join(&trust, &machine).await.unwrap().grants.node;
    let good = evidence(&trust, &name).await;
    assert!(good.verdict.accepted && good.verdict.hardware.as_ref().is_some_and(|h| h.covers_tpm));
    assert!(good.session.ek_cert.is_some() && good.attestation.is_some());

    // Without activation, whatever else is genuine, nothing of it is kept.
    let session = offer(&trust, &machine).await;
    let (csr, _) = kubelet_csr(&name);
    let guess = session.reply_with(&machine, Some(&Secret::new([7; 32])), &csr);
    assert_eq!(code(session.attest(&guess).await), Code::ActivationFailed);
    assert_eq!(evidence(&trust, &name).await.verdict, good.verdict);
    let newest: RefusalRecord = trust.admin().refusals().await.remove(0);
    assert!(!newest.has_evidence, "{newest:?}");

    // Activated and refused, it is: with what the hardware proved, as far as it did.
    tpm_of(&machine).lie(Lies { signer: Some(Seat::B), ..Lies::default() });
    assert_eq!(refused(&trust, &machine).await, Code::QuoteSignature);
    let kept = evidence(&trust, &name).await.verdict;
    assert_eq!((kept.accepted, kept.code), (false, Some(Code::QuoteSignature)));
    assert!(kept.hardware.is_some() && kept.image.is_none());
    tpm_of(&machine).lie(Lies::default());
    tpm_of(&machine).reboot(Boot::new("2022.11", "init=/bin/sh", b"initrd"));
    assert_eq!(refused(&trust, &machine).await, Code::ImageUnknown);
    assert_eq!(evidence(&trust, &name).await.verdict.code, Some(Code::ImageUnknown));
}

#[tokio::test]
async fn refused_reports_without_a_tpm_leave_nothing_but_the_refusal() {
    let (trust, _) = confidential(&[]).await;
    let plain = Machine::bare(Hardware::snp(TestChip::milan()));
    let session = offer(&trust, &plain).await;
    let name = session.node_name(None);
    assert_eq!(code(session.attest(&session.reply(&plain).0).await), Code::LaunchUnknown);
    nobody(&trust).await;
    let path = admin::path(admin::NODE_EVIDENCE, &[&name]);
    assert_eq!(code(trust.admin().call::<Value>(Method::GET, &path, &()).await), Code::NotFound);
    // An accepted one has its evidence kept with its record.
    let granted = join(&trust, &bare_snp(1)).await.unwrap();
    let kept = evidence(&trust, &granted.grants.node).await;
    assert!(kept.verdict.accepted && kept.session.ak.is_none() && kept.attestation.is_some());
}
