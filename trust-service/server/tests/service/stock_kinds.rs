//! A whole stock session of each kind of evidence, at the level that it proves; init-data, and reference values in place of tuples.

use crate::fixture::*;
use crate::machines::*;
use crate::stock_clients::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_evidence::{Code, EvidenceKind, ReportSource as _, Sha256Digest};
use ccnode_protocol::admin::{NodeRecord, NodeState, OnUnknown, PoolEdit, Rule, TrustLevel};
use ccnode_server::store::{Store as _, Tx as _};
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Machine, Seat, StockReply, pcr, stock_attest};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384};

const INIT_DATA: &str =
    "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"uuid\" = \"node-1\"\n\"cdh.toml\" = \"a = 1\"\n";
const INIT_DATA_384: &str = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n\"uuid\" = \"node-1\"\n";

/// A pool of stock clients that trusts the test hardware and lists its launches.
async fn stock_hardware(rules: &[Rule]) -> Trust {
    let trust = Trust::with(stock_config).await;
    trust.admin().create_pool(OnUnknown::Enrol, rules).await;
    let pair = trust.admin().allow(&Boot::standard(), verity()).await;
    demand(&trust, &policy(pair.image)).await;
    shelve(&trust, "UpToDate");
    trust
}

async fn machine_join(
    trust: &Trust,
    machine: &Machine,
    init_data: Option<&str>,
) -> Answered<(StockClient, Value)> {
    let client = stock_auth(trust, machine.kind()).await.unwrap();
    let reply = StockReply { nonce: &client.nonce, key: &client.key.public(), init_data };
    let token = client.attest(&machine.stock_attest(&reply)).await?;
    let claims = claims(&token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"].clone();
    Ok((client, claims))
}

#[tokio::test]
async fn t12_every_kind_is_worth_what_its_hardware_proves() {
    let trust = stock_hardware(&RULES).await;
    for (machine, level, ephemeral) in [
        (bare_snp(1), TrustLevel::Tee, true),
        (bare_tdx(), TrustLevel::Tee, true),
        (azure(Seat::A, Hardware::az_snp(TestChip::milan())), TrustLevel::TeeBoundVtpm, false),
        (azure(Seat::B, Hardware::az_tdx(&PLATFORM)), TrustLevel::TeeBoundVtpm, false),
        // A TPM beside a report that says nothing of it is no more than a TPM that nobody vouches for.
        (Machine::with(soft(Seat::C), Hardware::snp(TestChip::milan())), TrustLevel::HypervisorVtpm, false),
        (Machine::with(soft(Seat::C), Hardware::tdx(&PLATFORM)), TrustLevel::HypervisorVtpm, false),
    ] {
        let kind = machine.kind();
        let before = nodes(&trust).await.len();
        let (_, claims) = machine_join(&trust, &machine, None).await.unwrap();
        assert_eq!(claims["ccnode"]["trust-level"], level.as_str(), "{machine:?}");
        assert_eq!(claims["ccnode"]["transcript"], "stock");
        let all = nodes(&trust).await;
        assert_eq!(all.len(), before + 1);
        let newest = |node: &&NodeRecord| node.kind == Some(kind) && node.level == Some(level);
        let record = all.iter().find(newest).unwrap();
        assert_eq!((record.state, record.expires.is_some()), (NodeState::Active, ephemeral), "{machine:?}");
        assert!(claims[kind.as_str()].is_object(), "{claims}");
        let pcrs = match kind {
            EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm => &claims[kind.as_str()]["tpm"],
            _ => &claims["tpm"],
        };
        assert_eq!(pcrs["pcr07"].is_string(), machine.tpm.is_some(), "{claims}");
        if let (Some(_), false) = (&machine.tpm, ephemeral) {
            machine_join(&trust, &machine, None).await.unwrap();
            assert_eq!(nodes(&trust).await.len(), before + 1, "the same node");
        }
    }
}

#[tokio::test]
async fn t19_hardware_is_judged_as_for_every_node() {
    let trust = stock_hardware(&[Rule::DangerNoActivation]).await;
    let refused = async |machine: &Machine| code(machine_join(&trust, machine, None).await.map(|_| ()));
    let plain = Machine::bare(Hardware::snp(TestChip::milan()));
    assert_eq!(refused(&plain).await, Code::LaunchUnknown);
    let debug = Machine::bare(Hardware::snp(TestChip::milan()).reporting(|spec| {
        (spec.measurement, spec.policy) = ([0x31; 48], spec.policy | 1 << 19);
    }));
    assert_eq!(refused(&debug).await, Code::SnpDebug);
    let debug = Machine::bare(Hardware::tdx(&PLATFORM).quoting(|td| td.td_attributes |= 1));
    assert_eq!(refused(&debug).await, Code::TdxDebug);
    // Another session's report; runtime data that name another key; and a guest that the pool does not list as a keeper.
    let late = Machine::bare(Hardware::snp(TestChip::milan()).reporting(|spec| spec.report_data = [0; 64]));
    assert_eq!(refused(&late).await, Code::SnpReportData);
    let stale =
        Hardware::az_snp(TestChip::milan()).saying(|runtime| runtime["user-data"] = json!("00".repeat(64)));
    assert_eq!(refused(&azure(Seat::A, stale)).await, Code::HclUserData);
    let foreign = azure(Seat::A, Hardware::az_snp(TestChip::milan()));
    let foreign = Machine { tpm: Some(soft(Seat::B)), ..foreign };
    let client = stock_auth(&trust, EvidenceKind::AzSnpVtpm).await.unwrap();
    let reply = StockReply { nonce: &client.nonce, key: &client.key.public(), init_data: None };
    let mut attestation = serde_json::to_value(foreign.stock_attest(&reply)).unwrap();
    let other = azure(Seat::A, Hardware::az_snp(TestChip::milan())).stock_attest(&reply);
    let other = serde_json::to_value(other).unwrap();
    let primary = "/tee-evidence/primary_evidence/hcl_report";
    *attestation.pointer_mut(primary).unwrap() = other.pointer(primary).unwrap().clone();
    assert_eq!(code(client.attest(&attestation).await), Code::QuoteSignature, "a key that no report names");
    let unlisted = Hardware::az_snp(TestChip::milan()).reporting(|spec| spec.measurement = [0x77; 48]);
    assert_eq!(refused(&azure(Seat::A, unlisted)).await, Code::EnrolmentNeedsTrust);
    let edit = PoolEdit { on_unknown: Some(OnUnknown::Refuse), ..PoolEdit::default() };
    edit_pool(&trust, edit).await;
    assert_eq!(refused(&bare_snp(1)).await, Code::NodeUnknown);
}

#[tokio::test]
async fn init_data_are_believed_where_they_were_measured() {
    let trust = stock_hardware(&RULES).await;
    let tpm = soft(Seat::A);
    let mut measured = Boot::standard();
    measured.extend(8, Sha256Digest::of(INIT_DATA.as_bytes()), "init-data");
    let with = async |init_data: Option<&str>| {
        let client = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
        let reply = StockReply { nonce: &client.nonce, key: &client.key.public(), init_data };
        client.attest(&stock_attest(&tpm, &reply)).await
    };
    let snp = |digest: &[u8]| {
        let host_data: [u8; 32] = digest[..32].try_into().unwrap();
        Machine::bare(Hardware::snp(TestChip::milan()).reporting(move |spec| {
            (spec.measurement, spec.host_data) = ([0x31; 48], host_data);
        }))
    };
    let good_snp = snp(&Sha256::digest(INIT_DATA));
    assert_eq!(code(with(Some(INIT_DATA)).await), Code::InitDataNotAllowed);
    assert_eq!(
        code(machine_join(&trust, &good_snp, Some(INIT_DATA)).await.map(|_| ())),
        Code::InitDataNotAllowed
    );
    edit_pool(&trust, PoolEdit { allow_init_data: Some(true), ..PoolEdit::default() }).await;
    assert_eq!(code(with(Some(INIT_DATA)).await), Code::InitDataNotAllowed, "PCR 8 is zero");
    tpm.reboot(measured);
    let token = with(Some(INIT_DATA)).await.unwrap();
    let claims = &claims(&token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"];
    assert_eq!(claims["init_data_claims"], json!({"uuid": "node-1", "cdh.toml": {"a": 1}}));
    assert_eq!(claims["init_data"], claims["tpm"]["pcr08"]);
    assert_eq!(code(with(None).await), Code::InitDataNotAllowed, "measured, and not sent");
    assert_eq!(code(with(Some(INIT_DATA_384)).await), Code::MalformedRequest, "no digest of 32 bytes");
    for bad in [
        "",
        "a",
        "version = \"0.2.0\"\nalgorithm = \"sha256\"\n",
        "version = \"0.1.0\"\nalgorithm = \"md5\"\n",
    ] {
        assert_eq!(code(with(Some(bad)).await), Code::MalformedRequest, "{bad}");
    }

    let (_, claims) = machine_join(&trust, &good_snp, Some(INIT_DATA)).await.unwrap();
    assert_eq!(claims["init_data"], hex::encode(Sha256::digest(INIT_DATA)));
    let cut = snp(&Sha384::digest(INIT_DATA_384));
    machine_join(&trust, &cut, Some(INIT_DATA_384)).await.unwrap();
    let other = machine_join(&trust, &snp(&[7; 32]), Some(INIT_DATA)).await.map(|_| ());
    assert_eq!(code(other), Code::InitDataMismatch);
    let tdx = |config: [u8; 48]| {
        Machine::bare(Hardware::tdx(&PLATFORM).quoting(move |td| {
            (td.mr_td, td.mr_config_id) = ([0x31; 48], config);
        }))
    };
    let mut padded = [0; 48];
    padded[..32].copy_from_slice(&Sha256::digest(INIT_DATA));
    machine_join(&trust, &tdx(padded), Some(INIT_DATA)).await.unwrap();
    machine_join(&trust, &tdx(Sha384::digest(INIT_DATA_384).into()), Some(INIT_DATA_384)).await.unwrap();
    let other = machine_join(&trust, &tdx([0; 48]), Some(INIT_DATA)).await.map(|_| ());
    assert_eq!(code(other), Code::InitDataMismatch);
}

#[tokio::test]
async fn t11_reference_values_decide_in_place_of_tuples_and_all_of_them() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let tpm = soft(Seat::A);
    // A boot of which no tuple is known.
    let boot = Boot::new("other", "other", b"other");
    tpm.reboot(boot.clone());
    let refused = async || code(stock_join(&trust, &tpm).await.map(|_| ()));
    assert_eq!(refused().await, Code::PlatformUnknown);
    let post = async |name: &str, value: Value| {
        let mut tx = trust.service().store.write().await.unwrap();
        assert!(tx.set_reference_value(&pool(), name, &value).await.unwrap());
        tx.commit().await.unwrap();
    };
    let value = |index: u8| boot.pcrs().0[&pcr(index)].hex();
    post("tpm_pcr4", json!([value(4), "0".repeat(64)])).await;
    post("tpm_pcr7", json!([value(7)])).await;
    assert_eq!(refused().await, Code::ReferenceValuesIncomplete, "tpm_pcr14 is missing");
    post("tpm_pcr14", json!(value(14).to_uppercase())).await;
    let (client, token) = stock_join(&trust, &tpm).await.unwrap();
    let claims = claims(&token);
    let ours = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["ccnode"];
    assert_eq!(ours["reference-values"], json!(["tpm_pcr4", "tpm_pcr7", "tpm_pcr14"]));
    assert_eq!((&ours["image"], ours["pcrs-not-judged"].as_array().unwrap().len()), (&Value::Null, 19));
    assert_eq!(code(client.resource("a/b/c").await), Code::ResourceUnknown);
    post("trusted_aks", json!([STANDARD.encode(soft(Seat::B).ak_spki())])).await;
    assert_eq!(code(client.resource("a/b/c").await), Code::SessionExpired, "judged by other values");
    assert_eq!(refused().await, Code::ReferenceValues, "an unknown key");
    post("trusted_aks", json!([STANDARD.encode(tpm.ak_spki()), STANDARD.encode(soft(Seat::B).ak_spki())]))
        .await;
    stock_join(&trust, &tpm).await.unwrap();
    for name in ["tpm_pcr4", "tpm_pcr7", "tpm_pcr14", "tpm_pcr0"] {
        let index = name["tpm_pcr".len()..].parse().unwrap();
        post(name, json!([Sha256Digest([9; 32])])).await;
        assert_eq!(refused().await, Code::ReferenceValues, "{name}");
        post(name, json!([value(index)])).await;
    }
    post("tpm_pcr7", json!([])).await;
    assert_eq!(refused().await, Code::ReferenceValues, "an empty list allows nothing");
}

#[tokio::test]
async fn t11_reference_values_are_for_evidence_that_has_them() {
    let trust = stock_hardware(&RULES).await;
    machine_join(&trust, &bare_snp(1), None).await.unwrap();
    let mut tx = trust.service().store.write().await.unwrap();
    for name in ["tpm_pcr4", "tpm_pcr7", "tpm_pcr14"] {
        tx.set_reference_value(&pool(), name, &json!(["0".repeat(64)])).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(code(machine_join(&trust, &bare_snp(2), None).await.map(|_| ())), Code::ReferenceValues);
}
