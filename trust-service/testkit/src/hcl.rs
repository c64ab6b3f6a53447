//! The report of Azure's paravisor in software: any hardware report with runtime data, and lies about each field.

use crate::snp::TestChip;
use ccnode_evidence::Base64Url;
use rsa::RsaPublicKey;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Every field of an HCL report; a field may lie. Lengths are those of the parts unless they are given.
#[derive(Clone, Debug)]
pub struct HclSpec {
    /// The first four bytes.
    pub signature: [u8; 4],
    /// Version of the header.
    pub version: u32,
    /// Length in the header.
    pub report_size: Option<u32>,
    /// Request type and status of the header, which are Azure's own.
    pub request: [u32; 2],
    /// Reserved words of the header.
    pub reserved: [u32; 3],
    /// The hardware report, put into an area of 1184 bytes.
    pub hardware: Vec<u8>,
    /// Length in the runtime data's header.
    pub data_size: Option<u32>,
    /// Version of the runtime data's header.
    pub data_version: u32,
    /// 2 for SEV-SNP, 4 for TDX.
    pub kind: u32,
    /// 1 for SHA-256, 2 for SHA-384, 3 for SHA-512.
    pub hash: u32,
    /// The capability bitmap that newer paravisors write.
    pub extension: Option<u32>,
    /// The runtime data, JSON.
    pub runtime: Vec<u8>,
    /// What follows.
    pub padding: Vec<u8>,
}

impl HclSpec {
    /// An honest report of a VM on this chip: its hardware report covers the runtime data by SHA-256.
    pub fn snp(chip: &TestChip, runtime: &Value) -> Self {
        let runtime = runtime.to_string().into_bytes();
        let mut report_data = [0; 64];
        report_data.iter_mut().zip(Sha256::digest(&runtime)).for_each(|(to, from)| *to = from);
        Self::of(2, chip.report(report_data, 0), runtime)
    }

    /// An honest report of a TDX VM: a TDREPORT that covers the runtime data, and nothing else in it.
    pub fn tdx(runtime: &Value) -> Self {
        let runtime = runtime.to_string().into_bytes();
        let mut report = vec![0; 1024];
        report.iter_mut().zip([0x81]).for_each(|(to, from)| *to = from);
        report.iter_mut().skip(128).zip(Sha256::digest(&runtime)).for_each(|(to, from)| *to = from);
        Self::of(4, report, runtime)
    }

    fn of(kind: u32, hardware: Vec<u8>, runtime: Vec<u8>) -> Self {
        Self {
            signature: *b"HCLA",
            version: 2,
            report_size: None,
            request: [2, 0],
            reserved: [0; 3],
            hardware,
            data_size: None,
            data_version: 1,
            kind,
            hash: 1,
            extension: None,
            runtime,
            padding: vec![0; 200],
        }
    }

    /// The report.
    pub fn bytes(&self) -> Vec<u8> {
        let number = |len: usize| u32::try_from(len).expect("short");
        let extension = if self.extension.is_some() { 4 } else { 0 };
        let data = number(20 + extension + self.runtime.len());
        let mut area = self.hardware.clone();
        area.resize(1184, 0);
        let mut out = self.signature.to_vec();
        let words = [self.version, self.report_size.unwrap_or(32 + 1184 + data)];
        words
            .iter()
            .chain(&self.request)
            .chain(&self.reserved)
            .for_each(|word| out.extend(word.to_le_bytes()));
        out.extend(area);
        let words = [
            self.data_size.unwrap_or(data),
            self.data_version,
            self.kind,
            self.hash,
            number(self.runtime.len()),
        ];
        words.iter().chain(&self.extension).for_each(|word| out.extend(word.to_le_bytes()));
        out.extend(&self.runtime);
        out.extend(&self.padding);
        out
    }
}

/// Runtime data that name these keys, with what the guest wrote.
pub fn runtime_data(ak: &RsaPublicKey, ek: &RsaPublicKey, user_data: &[u8; 64]) -> Value {
    let user_data: String = user_data.iter().map(|b| format!("{b:02X}")).collect();
    json!({
        "keys": [jwk("HCLAkPub", "sign", ak), jwk("HCLEkPub", "encrypt", ek)],
        "vm-configuration": {
            "console-enabled": true,
            "secure-boot": true,
            "tpm-enabled": true,
            "vmUniqueId": "26F8BC30-774E-4290-8E7A-535F3B672AEE",
        },
        "user-data": user_data,
    })
}

fn jwk(kid: &str, operation: &str, key: &RsaPublicKey) -> Value {
    json!({
        "kid": kid,
        "key_ops": [operation],
        "kty": "RSA",
        "e": Base64Url(key.e().to_bytes_be()),
        "n": Base64Url(key.n().to_bytes_be()),
    })
}
