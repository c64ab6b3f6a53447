//! Writes the corpora that fuzzing starts from, a folder a target: `cargo run -p ccnode-fuzz-targets --example seeds -- fuzz/corpus`.
//!
//! Every seed is made by the test kit, none is somebody's recording. Keys are made anew at each run, so the bytes differ.

use ccnode_evidence::{Nonce, ReportParts, Secret};
use ccnode_fuzz_targets::unsigned_quote;
use ccnode_protocol::{NodeName, jwe::EphemeralKey};
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::tdx::{Collateral, Platform, TdQuote};
use ccnode_testkit::{
    AkKind, Boot, EkKind, EkProfile, Hardware, Machine, MakerCa, Reply, Scene, Seat, SoftTpm, kubelet_csr,
};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod headers;
mod secrets;
mod stock;

type Done = Result<(), Box<dyn Error>>;

struct Corpora(PathBuf);

impl Corpora {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Done {
        let dir = self.0.join(target);
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join(name), bytes)?)
    }
}

fn main() -> Done {
    let dir = std::env::args_os().nth(1).ok_or("usage: seeds DIRECTORY")?;
    let corpora = Corpora(Path::new(&dir).to_owned());
    let maker = MakerCa::new("Test Maker");
    logs(&corpora)?;
    tpm(&corpora, &maker)?;
    reports(&corpora)?;
    evidence(&corpora, &maker)?;
    secrets::put(&corpora)?;
    headers::put(&corpora)?;
    stock::put(&corpora, &maker)?;
    init_data(&corpora)
}

fn logs(corpora: &Corpora) -> Done {
    let mut boot = Boot::standard();
    boot.cap();
    let logs = boot.logs();
    corpora.put("eventlog", "boot", &logs.event_log.0)?;
    corpora.put(
        "eventlog",
        "header-alone",
        Boot::standard().logs().event_log.0.get(..73).unwrap_or_default(),
    )?;
    corpora.put("own_log", "cap", &logs.own_log.0)?;
    boot.extend(15, ccnode_evidence::Sha256Digest([7; 32]), "ccnode:volume");
    corpora.put("own_log", "cap-and-volume", &boot.logs().own_log.0)?;
    corpora.put("ccel", "rtmrs", ccel())
}

/// A CCEL: SHA-384 alone, registers 1 to 4, by its table's usual beginning.
fn ccel() -> Vec<u8> {
    let signature: &[u8] = b"Spec ID Event03\0";
    // Platform class, version 2.0 errata 0, UINTN of 64 bits, one algorithm, no vendor data.
    let header = [signature, &[0; 4], &[0, 2, 0, 2], &[1, 0, 0, 0], &[0x0c, 0, 48, 0], &[0]].concat();
    let length = u32::try_from(header.len()).unwrap_or_default();
    let mut log =
        [&1u32.to_le_bytes()[..], &3u32.to_le_bytes(), &[0; 20], &length.to_le_bytes(), &header].concat();
    for (register, kind, data) in [
        (1u32, 0x8000_0008u32, &b"firmware"[..]),
        (1, 4, &[0; 4]),
        (2, 0x8000_0003, &[0; 32]),
        (3, 6, b"initrd"),
    ] {
        let size = u32::try_from(data.len()).unwrap_or_default();
        log.extend([register.to_le_bytes(), kind.to_le_bytes(), 1u32.to_le_bytes()].concat());
        log.extend([&[0x0c, 0][..], &[9; 48], &size.to_le_bytes(), data].concat());
    }
    // What follows the last event in the table's area.
    log.extend([0xff; 32]);
    log
}

fn tpm(corpora: &Corpora, maker: &MakerCa) -> Done {
    let tpm = SoftTpm::new(maker, Seat::A);
    let quote = tpm.sign_quote([7; 32]);
    corpora.put("tpms_attest", "sha256", &quote.message)?;
    corpora.put("tpms_attest", "sha384", unsigned_quote(0x0c, 48))?;
    corpora.put("tpmt_signature", "rsassa", &quote.signature)?;
    corpora.put("tpmt_public", "rsa-ak", tpm.offer().ak_public)?;
    corpora.put("tpmt_public", "rsa-ek", tpm.ek_public())?;
    corpora.put("ek_certificate", "rsa", tpm.ek_cert())?;
    corpora.put("ek_certificate", "root", maker.root())?;
    corpora.put("ek_certificate", "intermediate", maker.intermediate())?;
    for (name, kind) in [("rsapss", AkKind::RsapssSha256), ("p256", AkKind::EcdsaP256)] {
        let tpm = SoftTpm::new(maker, Seat::A).with_ak(kind);
        corpora.put("tpmt_signature", name, tpm.sign_quote([7; 32]).signature)?;
        corpora.put("tpmt_public", name, tpm.offer().ak_public)?;
    }
    let ecc = SoftTpm::new(maker, Seat::A).with_ek(EkKind::P256, maker, &EkProfile::default());
    corpora.put("tpmt_public", "ecc-ek", ecc.ek_public())?;
    corpora.put("ek_certificate", "ecc", ecc.ek_cert())
}

fn reports(corpora: &Corpora) -> Done {
    let platform = Platform::new();
    for (name, chip) in
        [("milan", TestChip::milan()), ("genoa", TestChip::genoa()), ("turin", TestChip::turin())]
    {
        for version in 2..=5 {
            corpora.put("snp_report", &format!("{name}-{version}"), chip.report_of(version, [7; 64], 0))?;
        }
        corpora.put("snp_certificates", name, chip.certs_table())?;
    }
    for (name, quote) in
        [("v4", TdQuote::v4()), ("v5-tdx-1.0", TdQuote::v5(2)), ("v5-tdx-1.5", TdQuote::v5(3))]
    {
        corpora.put("tdx_quote", name, quote.sign(&platform))?;
    }
    corpora.put("tdx_quote", "td-report", TdQuote::v4().td.report())?;
    for status in ["UpToDate", "OutOfDate"] {
        let collateral = Collateral::with_status(status).sign(&platform);
        corpora.put("tdx_collateral", status, collateral.to_string())?;
    }
    Ok(())
}

fn evidence(corpora: &Corpora, maker: &MakerCa) -> Done {
    let put = |name: &str, evidence: &Value| corpora.put("evidence_json", name, evidence.to_string());
    put("tpm", &Scene::new(0).attestation.tee_evidence.primary_evidence)?;
    let platform = Arc::new(Platform::new());
    let hardware = [
        ("snp", Hardware::snp(TestChip::milan())),
        ("svsm", Hardware::svsm(TestChip::genoa(), vec![7; 32])),
        ("tdx", Hardware::tdx(&platform)),
        ("az-snp", Hardware::az_snp(TestChip::milan())),
        ("az-tdx", Hardware::az_tdx(&platform)),
    ];
    let (nonce, secret, key) = (Nonce([3; 32]), Secret::new([4; 32]), EphemeralKey::generate());
    let name: NodeName = "workers-aaaaaaaaaa".parse()?;
    for (file, hardware) in hardware {
        let machine = Machine::with(SoftTpm::new(maker, Seat::A), hardware);
        if let ReportParts::AzSnp { hcl_report, .. } | ReportParts::AzTdx { hcl_report, .. } =
            machine.report_over([7; 64])
        {
            corpora.put("hcl_report", file, hcl_report)?;
        }
        let csr = Some(kubelet_csr(&name).0);
        let reply = Reply { nonce: &nonce, secret: Some(&secret), key: &key, csr };
        let said = machine.attest(&reply).tee_evidence;
        put(file, &said.primary_evidence)?;
        if file == "snp" && !said.additional_evidence.is_empty() {
            put("additional", &serde_json::from_str(&said.additional_evidence)?)?;
        }
    }
    Ok(())
}

fn init_data(corpora: &Corpora) -> Done {
    let put = |name: &str, data: &str| {
        let text = format!("version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n{data}");
        corpora.put("init_data", name, text)
    };
    put("others", "\"aa.toml\" = \"a = 1\"\nuuid = \"node-1\"\n")?;
    let network = "[network]\naddress = \"192.0.2.7/24\"\ngateway = \"192.0.2.1\"\ndns = [\"192.0.2.53\"]\n";
    let proxy = "proxy = \"http://proxy.example.com:3128\"\n";
    let files = "[files]\nmotd = \"hello\"\n\"user-data.yaml\" = \"a: b\"\n";
    for (name, hints) in [
        ("address", network.to_owned()),
        ("proxy", format!("[network]\n{proxy}")),
        ("files", files.to_owned()),
        ("all", [network, proxy, files].concat()),
    ] {
        put(name, &format!("\"ccnode.toml\" = '''\n{hints}'''\n"))?;
    }
    Ok(())
}
