//! Seeds of what stock clients and stock administrators send.

use crate::{Corpora, Done};
use ccnode_evidence::EvidenceKind;
use ccnode_fuzz_targets::{NONCE, session_key};
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::tdx::Platform;
use ccnode_testkit::{Hardware, Machine, MakerCa, Seat, SoftTpm, StockReply, stock_attest, stock_request};
use serde_json::json;
use std::sync::Arc;

const INIT_DATA: &str =
    "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"a.toml\" = \"b = 1\"\n\"c.json\" = \"{}\"\n";

pub(crate) fn put(corpora: &Corpora, maker: &MakerCa) -> Done {
    let put = |name: &str, body: serde_json::Value| corpora.put("stock_attestation", name, body.to_string());
    put("auth", stock_request(EvidenceKind::Tpm))?;
    let key = session_key()?.public();
    let tpm = SoftTpm::new(maker, Seat::A);
    let plain = stock_attest(&tpm, &StockReply { nonce: &NONCE, key: &key, init_data: None });
    put("tpm", serde_json::to_value(&plain)?)?;
    let reply = StockReply { nonce: &NONCE, key: &key, init_data: Some(INIT_DATA) };
    put("init-data", serde_json::to_value(stock_attest(&tpm, &reply))?)?;
    let platform = Arc::new(Platform::new());
    for (name, hardware) in [
        ("snp", Hardware::snp(TestChip::milan())),
        ("tdx", Hardware::tdx(&platform)),
        ("az-snp", Hardware::az_snp(TestChip::milan())),
    ] {
        let machine = Machine::with(SoftTpm::new(maker, Seat::A), hardware);
        put(name, serde_json::to_value(machine.stock_attest(&reply))?)?;
    }
    let ak = serde_json::to_value(&plain)?.pointer("/tee-evidence/primary_evidence/ak_public").cloned();
    let ak = ak.ok_or("no key")?;
    let digest = "ab".repeat(32);
    let lists = json!({"tpm_pcr4": digest, "tpm_pcr7": [digest], "tpm_pcr14": [], "trusted_aks": [ak]});
    corpora.put("stock_admin", "values", lists.to_string())?;
    corpora.put(
        "stock_admin",
        "post",
        json!({"version": "0.1.0", "type": "sample", "payload": "e30="}).to_string(),
    )?;
    corpora.put("stock_admin", "ak", json!({"public_key": ak, "uuid": "28632274"}).to_string())
}
