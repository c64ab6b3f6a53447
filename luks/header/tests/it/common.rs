//! Builds headers byte by byte, independently of the crate's own encoder.

use ccnode_luks_header::{HEADER_LEN, METADATA_SIZE};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Read;

pub(crate) const UUID: &str = "28632274-8c8a-493f-835b-da802e1c576b";

/// Metadata as this product writes it.
pub(crate) fn metadata() -> Value {
    let b64_32 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    json!({
        "keyslots": {},
        "tokens": {"0": {
            "type": "ccnode", "keyslots": [], "version": 1, "volume": "n-abc/root", "generation": 1,
            "wrapped-key": "A".repeat(96),
        }},
        "segments": {"0": {
            "type": "crypt", "offset": "1048576", "size": "dynamic", "iv_tweak": "0",
            "encryption": "aes-xts-plain64", "sector_size": 4096,
        }},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": [], "segments": ["0"], "hash": "sha256", "iterations": 1000,
            "salt": b64_32, "digest": b64_32,
        }},
        "config": {"json_size": "12288", "keyslots_size": "4096"},
    })
}

pub(crate) struct Parts {
    pub(crate) seqid: u64,
    pub(crate) label: &'static str,
    pub(crate) uuid: &'static str,
    pub(crate) json: String,
}

impl Parts {
    pub(crate) fn new(json: impl ToString) -> Self {
        Self { seqid: 3, label: "", uuid: UUID, json: json.to_string() }
    }

    pub(crate) fn copy(&self, secondary: bool) -> Vec<u8> {
        let size = METADATA_SIZE;
        let mut out = vec![0; size as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, if secondary { b"SKUL\xba\xbe" } else { b"LUKS\xba\xbe" });
        put(6, &2u16.to_be_bytes());
        put(8, &size.to_be_bytes());
        put(16, &self.seqid.to_be_bytes());
        put(24, self.label.as_bytes());
        put(72, b"sha256");
        put(104, &[if secondary { 2 } else { 1 }; 64]);
        put(168, self.uuid.as_bytes());
        put(256, &(if secondary { size } else { 0 }).to_be_bytes());
        put(4096, self.json.as_bytes());
        reseal(&mut out);
        out
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = [self.copy(false), self.copy(true)].concat();
        out.resize(HEADER_LEN, 0);
        out
    }
}

/// Makes the checksum of a copy right again.
pub(crate) fn reseal(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = Sha256::digest(&copy);
    copy[448..480].copy_from_slice(&sum);
}

/// Changes both copies by `change` and makes both checksums right again.
pub(crate) fn patch(header: &mut [u8], change: impl Fn(&mut [u8])) {
    let (primary, rest) = header.split_at_mut(METADATA_SIZE as usize);
    for copy in [primary, &mut rest[..METADATA_SIZE as usize]] {
        change(copy);
        reseal(copy);
    }
}

/// A disk that answers the first read of a byte truly and every later one with a patched header.
pub(crate) struct Liar {
    truth: Vec<u8>,
    lie: Vec<u8>,
    seen: Vec<bool>,
    at: usize,
}

impl Liar {
    pub(crate) fn new(truth: Vec<u8>, lie: Vec<u8>) -> Self {
        Self { seen: vec![false; truth.len()], truth, lie, at: 0 }
    }

    pub(crate) fn rewind(&mut self) {
        self.at = 0;
    }
}

impl Read for Liar {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(self.truth.len() - self.at).min(1000);
        for byte in &mut buf[..n] {
            let source = if self.seen[self.at] { &self.lie } else { &self.truth };
            *byte = source[self.at];
            self.seen[self.at] = true;
            self.at += 1;
        }
        Ok(n)
    }
}
