//! A whole session of each kind of evidence, at the level that it proves and with the root that its identity can have.

use crate::fixture::*;
use crate::machines::*;
use ccnode_evidence::{Code, EvidenceKind, ReportSource as _};
use ccnode_protocol::admin::{
    self, HardwareClaims, NodeRecord, NodeState, PoolEdit, Rule, TrustLevel, VolumeState,
};
use ccnode_protocol::grants::{RootGrant, VolumeAction};
use ccnode_server::pki;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Machine, Seat, SoftTpm};
use reqwest::Method;
use serde_json::json;

/// The record of a node that got a certificate in its own name.
async fn certified(trust: &Trust, granted: &Granted) -> NodeRecord {
    let name = granted.grants.node.clone();
    let chain = granted.certificate(&granted.csr).await.unwrap().chain;
    let der = pki::der_of_pem(&chain).unwrap();
    let subject = pki::parse(&der).unwrap().subject().to_string();
    assert_eq!(subject, format!("O=system:nodes, CN=system:node:{name}"));
    trust.admin().node(&name).await
}

/// First boot up to `ready`, a certificate, and a second boot that opens what the first made.
async fn keeps_its_root(trust: &Trust, machine: &Machine, level: TrustLevel) -> NodeRecord {
    let first = join_first(trust, machine).await;
    let record = certified(trust, &first).await;
    assert_eq!((record.state, record.level), (NodeState::Active, Some(level)), "{machine:?}");
    assert_eq!((record.kind, record.expires), (record.hardware.as_ref().map(|h| h.kind), None));
    assert!(record.counters.is_some() && record.platform.is_some(), "{machine:?}");
    tpm_of(machine).reboot(Boot::standard());
    let second = join(trust, machine).await.unwrap();
    assert_eq!(second.grants.node, first.grants.node);
    let (made, opened) = (first.grants.volume().unwrap(), second.grants.volume().unwrap());
    assert!(matches!(opened.action, VolumeAction::Open { .. }), "{machine:?}");
    assert_eq!((&opened.unlock_key, &opened.uuid), (&made.unlock_key, &made.uuid));
    assert_eq!(trust.admin().node(&first.grants.node).await.volumes[0].state, VolumeState::Ready);
    tpm_of(machine).cap();
    assert_eq!(refused(trust, machine).await, Code::AlreadyCapped, "t17: {machine:?}");
    record
}

#[tokio::test]
async fn t12_a_vtpm_in_the_report_joins_as_bound_and_keeps_its_root() {
    // No rule: whoever is at hypervisor-vtpm can't enrol here.
    let (trust, _) = confidential(&[]).await;
    for (machine, kind) in [
        (svsm(Seat::A), EvidenceKind::Snp),
        (azure(Seat::B, Hardware::az_snp(TestChip::milan())), EvidenceKind::AzSnpVtpm),
        (azure(Seat::C, Hardware::az_tdx(&PLATFORM)), EvidenceKind::AzTdxVtpm),
    ] {
        let record = keeps_its_root(&trust, &machine, TrustLevel::TeeBoundVtpm).await;
        assert_eq!(record.kind, Some(kind));
        let hardware = record.hardware.unwrap();
        assert!(hardware.covers_tpm, "{kind}");
        match hardware.claims {
            HardwareClaims::Snp(snp) => {
                assert_eq!(snp.chip_id, Some(hex::encode(TestChip::milan().chip_id())))
            }
            HardwareClaims::Tdx(tdx) => assert_eq!(tdx.tcb_status.as_deref(), Some("UpToDate")),
        }
    }
}

#[tokio::test]
async fn t12_a_hypervisors_vtpm_is_no_more_for_the_report_beside_it() {
    let (trust, maker) = confidential(&[]).await;
    let machines = [(Seat::A, Hardware::snp(TestChip::milan())), (Seat::B, Hardware::tdx(&PLATFORM))]
        .map(|(seat, hardware)| Machine::with(tpm(&maker, seat), hardware));
    for machine in &machines {
        assert_eq!(refused(&trust, machine).await, Code::EnrolmentNeedsTrust, "{machine:?}");
    }
    let pending: Vec<NodeRecord> = trust.admin().get(admin::NODES).await;
    assert_eq!(pending.len(), 2);
    assert!(pending.iter().all(|node| node.level == Some(TrustLevel::HypervisorVtpm)));
    // Without a certificate nobody says whose vTPM it is.
    let bare = Machine::with(tpm(&maker, Seat::C).without_certificate(), Hardware::snp(TestChip::milan()));
    assert_eq!(refused(&trust, &bare).await, Code::EkUncertified);

    let edit = PoolEdit { rules: Some(vec![Rule::DangerHostIsTrusted]), ..PoolEdit::default() };
    let path = admin::path(admin::POOL, &[&POOL]);
    let _: admin::Pool = trust.admin().call(Method::PATCH, &path, &edit).await.unwrap();
    for machine in &machines {
        let record = keeps_its_root(&trust, machine, TrustLevel::HypervisorVtpm).await;
        assert!(!record.hardware.unwrap().covers_tpm, "{machine:?}");
    }
}

#[tokio::test]
async fn a_report_alone_joins_as_tee_and_its_root_ends_with_the_boot() {
    let (trust, _) = confidential(&[]).await;
    for (machine, kind) in [(bare_snp(1), EvidenceKind::Snp), (bare_tdx(), EvidenceKind::Tdx)] {
        let granted = join(&trust, &machine).await.unwrap();
        assert!(matches!(granted.grants.root, RootGrant::Ephemeral { .. }), "{machine:?}");
        let record = certified(&trust, &granted).await;
        assert_eq!((record.state, record.level), (NodeState::Active, Some(TrustLevel::Tee)));
        assert_eq!(record.kind, Some(kind));
        assert!(record.volumes.is_empty() && record.counters.is_none() && record.platform.is_none());
        assert!(record.expires > record.attested, "{record:?}");
        assert!(!record.hardware.unwrap().covers_tpm);
    }
}

#[tokio::test]
async fn a_report_alone_needs_a_launch_that_the_pool_lists() {
    let (trust, _) = confidential(&[]).await;
    let plain = Machine::bare(Hardware::snp(TestChip::milan()));
    assert_eq!(refused(&trust, &plain).await, Code::LaunchUnknown);
    for register in 0..3 {
        let other = bare_tdx().hardware.quoting(move |td| {
            td.mr_td = [0x31; 48];
            td.rtmr[register][0] ^= 1;
        });
        assert_eq!(refused(&trust, &Machine::bare(other)).await, Code::LaunchUnknown, "RTMR {register}");
    }
    assert_eq!(refused(&trust, &Machine::bare(Hardware::tdx(&PLATFORM))).await, Code::LaunchUnknown);
    nobody(&trust).await;
    // What is listed may go between verdict and release.
    let machine = bare_snp(1);
    let session = offer(&trust, &machine).await;
    session.attest(&session.reply(&machine).0).await.unwrap();
    edit_demands(&trust, |policy| policy["snp-launches"] = json!([])).await;
    edit_demands(&trust, |policy| policy["tdx-launches"] = json!([])).await;
    assert_eq!(code(session.grants().await), Code::LaunchUnknown);
}

#[tokio::test]
async fn a_vtpm_that_forgets_has_a_root_of_one_boot() {
    let (trust, _) = confidential(&[]).await;
    let forgets = Hardware::az_snp(TestChip::milan())
        .saying(|runtime| runtime["vm-configuration"]["tpm-persisted"] = json!(false));
    let ephemeral = async |machine: &Machine| {
        let granted = join(&trust, machine).await.unwrap();
        let record = certified(&trust, &granted).await;
        assert!(matches!(granted.grants.root, RootGrant::Ephemeral { .. }), "{machine:?}");
        assert_eq!(record.level, Some(TrustLevel::TeeBoundVtpm));
        assert!(record.expires.is_some() && record.volumes.is_empty(), "{record:?}");
    };
    ephemeral(&azure(Seat::A, forgets)).await;
    edit_demands(&trust, |policy| policy["ephemeral-vtpm"] = json!(true)).await;
    ephemeral(&svsm(Seat::B)).await;
}

#[tokio::test]
async fn t19_old_debugged_and_denied_hardware_has_codes_of_its_own() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let snp: [&dyn Fn(Hardware) -> Machine; 2] =
        [&|hardware| Machine::with(SoftTpm::new(&maker, Seat::A), hardware), &|hardware| {
            azure(Seat::A, hardware)
        }];
    let kinds: [fn(TestChip) -> Hardware; 2] = [Hardware::snp, Hardware::az_snp];
    for (with, kind) in snp.into_iter().zip(kinds) {
        let honest = with(kind(TestChip::milan()));
        let debug = with(kind(TestChip::milan()).reporting(|spec| spec.policy |= 1 << 19));
        assert_eq!(refused(&trust, &debug).await, Code::SnpDebug);
        let vmpl = with(kind(TestChip::milan()).reporting(|spec| spec.vmpl = 2));
        assert_eq!(refused(&trust, &vmpl).await, Code::SnpVmpl);
        edit_demands(&trust, |p| p["snp"]["vmpl"] = json!([0, 2])).await;
        let azure = honest.kind() == EvidenceKind::AzSnpVtpm;
        let due = if azure { Code::SnpVmpl } else { Code::LevelTooLow };
        edit_demands(&trust, |p| p["least-level"] = json!("tee-bound-vtpm")).await;
        assert_eq!(refused(&trust, &vmpl).await, due, "what boots never speaks for the paravisor");
        edit_demands(&trust, |p| p.as_object_mut().unwrap().retain(|name, _| name != "least-level")).await;
        edit_demands(&trust, |p| p["snp"]["vmpl"] = json!([0])).await;
        edit_demands(&trust, |p| p["snp"]["minimum-tcb"] = json!({"milan": {"microcode": 220}})).await;
        assert_eq!(refused(&trust, &honest).await, Code::SnpTcbTooOld);
        edit_demands(&trust, |p| p["snp"]["minimum-tcb"] = json!({})).await;
        let id = hex::encode(TestChip::milan().chip_id());
        edit_demands(&trust, |p| p["snp"]["chip-ids-denied"] = json!([id])).await;
        assert_eq!(refused(&trust, &honest).await, Code::SnpChip);
        edit_demands(&trust, |p| p["snp"]["chip-ids-denied"] = json!([])).await;
    }
    let tdx: [(&dyn Fn(Hardware) -> Machine, Hardware); 2] =
        [(snp[0], Hardware::tdx(&PLATFORM)), (snp[1], Hardware::az_tdx(&PLATFORM))];
    for (with, hardware) in tdx {
        let debug = with(hardware.clone().quoting(|td| td.td_attributes |= 1));
        assert_eq!(refused(&trust, &debug).await, Code::TdxDebug);
        let honest = with(hardware);
        shelve(&trust, "OutOfDate");
        assert_eq!(refused(&trust, &honest).await, Code::TdxTcbStatus);
        trust.service().collateral.replace(ccnode_appraise::Shelf::default());
        assert_eq!(refused(&trust, &honest).await, Code::TdxCollateralMissing);
        shelve(&trust, "UpToDate");
    }
    nobody(&trust).await;
}
