//! What the token says of a verdict, so that whoever checks it can require level, kind, TCB and chip.

use crate::fixture::*;
use crate::machines::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_protocol::admin::Rule;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Hardware, Machine, Seat};
use serde_json::{Value, json};

/// The one submodule of a token.
fn cpu(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&B64.decode(claims).unwrap()).unwrap();
    claims["submods"]["cpu0"].clone()
}

#[tokio::test]
async fn tokens_carry_level_kind_tcb_and_chip() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let beside = |seat, hardware| Machine::with(tpm(&maker, seat), hardware);
    for (machine, level, kind, ephemeral) in [
        (svsm(Seat::A), "tee-bound-vtpm", "snp", false),
        (azure(Seat::A, Hardware::az_snp(TestChip::milan())), "tee-bound-vtpm", "az-snp-vtpm", false),
        (azure(Seat::B, Hardware::az_tdx(&PLATFORM)), "tee-bound-vtpm", "az-tdx-vtpm", false),
        (beside(Seat::B, Hardware::snp(TestChip::milan())), "hypervisor-vtpm", "snp", false),
        (beside(Seat::C, Hardware::tdx(&PLATFORM)), "hypervisor-vtpm", "tdx", false),
        (bare_snp(1), "tee", "snp", true),
        (bare_tdx(), "tee", "tdx", true),
    ] {
        let cpu = cpu(&join(&trust, &machine).await.unwrap().token);
        assert_eq!(cpu["ear.status"], "affirming");
        assert_eq!(cpu["ear.trustworthiness-vector"]["hardware"], 2, "genuine");
        assert_eq!(cpu["ear.appraisal-policy-id"], "pool:workers");
        let evidence = &cpu["ear.veraison.annotated-evidence"];
        let ours = &evidence["ccnode"];
        assert_eq!((&ours["trust-level"], &ours["tee"]), (&json!(level), &json!(kind)), "{machine:?}");
        assert_eq!(ours["ephemeral"], ephemeral, "{machine:?}");
        assert_eq!(ours["platform"].is_null(), machine.tpm.is_none(), "{machine:?}");
        assert_eq!(ours["hardware"]["covers-tpm"], level == "tee-bound-vtpm", "{machine:?}");
        assert_eq!(ours["hardware"]["kind"], kind);
        let stock = &evidence[kind];
        if kind.contains("snp") {
            let chip = json!(hex::encode(TestChip::milan().chip_id()));
            let tcb = json!({"bootloader": 4, "tee": 1, "snp": 24, "microcode": 219});
            let snp = &ours["hardware"]["snp"];
            assert_eq!((&snp["chip-id"], &snp["tcb"], &snp["launch-tcb"]), (&chip, &tcb, &tcb));
            assert_eq!((&snp["danger-root"], &snp["vmpl"]), (&json!(true), &json!(0)));
            assert_eq!(stock["chip_id"], chip, "under the stock service's name, too");
            for (name, value) in tcb.as_object().unwrap() {
                assert_eq!(&stock[format!("reported_tcb_{name}")], value, "{name}");
            }
            assert_eq!((&snp["policy"], &snp["platform-info"]), (&json!("0x30000"), &json!("0x25")));
            for (name, value) in [
                ("policy_abi_major", json!(0)),
                ("policy_abi_minor", json!(0)),
                ("policy_smt_allowed", json!(true)),
                ("policy_migrate_ma", json!(false)),
                ("policy_debug_allowed", json!(false)),
                ("policy_single_socket", json!(false)),
                ("platform_smt_enabled", json!(true)),
                ("platform_tsme_enabled", json!(false)),
            ] {
                assert_eq!(stock[name], value, "{name}");
            }
        } else {
            let tdx = &ours["hardware"]["tdx"];
            assert_eq!((&tdx["fmspc"], &tdx["tcb-status"]), (&json!("b0c06f000000"), &json!("UpToDate")));
            assert_eq!((&tdx["advisories"], &tdx["danger-root"]), (&json!([]), &json!(true)));
            assert_eq!(stock["tcb_status"], "UpToDate");
            assert_eq!(stock["quote"]["body"]["mr_td"], tdx["mr-td"]);
            assert_eq!(stock["quote"]["body"]["rtmr_2"], tdx["rtmrs"][2]);
        }
    }
    // A TPM alone claims no hardware.
    let cpu = cpu(&boot(&trust, &tpm(&maker, Seat::B)).await.unwrap().token);
    assert_eq!(cpu["ear.trustworthiness-vector"]["hardware"], 0);
    let ours = &cpu["ear.veraison.annotated-evidence"]["ccnode"];
    assert_eq!((&ours["tee"], &ours["hardware"]), (&json!("tpm"), &Value::Null));
}
