//! Init-data: what the host hands in, measured into PCR 8 before one byte of it is looked at. It carries hints, never trust.
//!
//! The way is [`find`] → [`Unmeasured`] → [`InitData`]: only what is measured can be read or sent.

use crate::refusal::Coded;
use ccnode_attest_client::InitData as Wire;
use ccnode_evidence::{Code, PcrIndex, Sha256Digest};
use ccnode_tpm_device::{DeviceError, DeviceHandle};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Where QEMU's fw_cfg device shows what the host handed in as `opt/ccnode/init-data`; the module qemu_fw_cfg makes it.
pub const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/ccnode/init-data/raw";
/// The event's data in our log; its digest is that of the init-data.
pub const EVENT: &str = "ccnode:init-data";
/// Longest init-data, in bytes.
const MAX: u64 = 64 * 1024;
/// The PCR that holds SHA-256(0³² ‖ digest) afterwards.
const PCR: u32 = 8;

/// Why init-data can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InitDataError {
    /// It is there and can't be read.
    #[error("{FW_CFG}: {0}")]
    Unreadable(#[source] io::Error),
    /// It is longer than is read.
    #[error("more than {MAX} bytes of init-data")]
    Long,
    /// There is no TPM that could vouch for it.
    #[error("init-data, and no TPM to measure it into")]
    NoTpm,
    /// It is not TOML of version 0.1.0 with algorithm sha256.
    #[error("init-data is not TOML with version = \"0.1.0\", algorithm = \"sha256\" and texts below [data]")]
    Form,
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] DeviceError),
}

impl Coded for InitDataError {
    fn code(&self) -> Code {
        match self {
            Self::Tpm(error) => error.code(),
            Self::Unreadable(_) | Self::Long | Self::NoTpm | Self::Form => Code::InitDataMalformed,
        }
    }
}

/// Bytes that nobody has looked at.
pub struct Unmeasured(Vec<u8>);

/// Init-data whose digest is in PCR 8.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitData {
    body: String,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: String,
    algorithm: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// What the host handed in at `path`; nothing where there is no such file.
pub fn find(path: &Path) -> Result<Option<Unmeasured>, InitDataError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(InitDataError::Unreadable(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes).map_err(InitDataError::Unreadable)?;
    if bytes.len() as u64 > MAX { Err(InitDataError::Long) } else { Ok(Some(Unmeasured(bytes))) }
}

impl Unmeasured {
    /// Extends PCR 8 by the digest, then reads what was measured.
    pub async fn measure(self, device: Option<&DeviceHandle>) -> Result<InitData, InitDataError> {
        let device = device.ok_or(InitDataError::NoTpm)?;
        let pcr = PcrIndex::new(PCR).map_err(|_| InitDataError::NoTpm)?;
        device.extend(pcr, Sha256Digest::of(&self.0), EVENT).await?;
        let body = String::from_utf8(self.0).map_err(|_| InitDataError::Form)?;
        let form: Form = toml::from_str(&body).map_err(|_| InitDataError::Form)?;
        match (form.version.as_str(), form.algorithm.as_str()) {
            ("0.1.0", "sha256") => Ok(InitData { body, data: form.data }),
            _ => Err(InitDataError::Form),
        }
    }
}

impl InitData {
    /// As it travels.
    pub fn wire(&self) -> Wire {
        Wire { format: "toml".to_owned(), body: self.body.clone() }
    }

    /// The hints by name.
    pub fn data(&self) -> &BTreeMap<String, String> {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_none_and_what_is_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        assert!(find(&path).unwrap().is_none());
        std::fs::write(&path, vec![b' '; MAX as usize]).unwrap();
        assert!(find(&path).unwrap().is_some());
        std::fs::write(&path, vec![b' '; MAX as usize + 1]).unwrap();
        assert_eq!(find(&path).err().unwrap().code(), Code::InitDataMalformed);
        assert!(matches!(find(dir.path()), Err(InitDataError::Unreadable(_))));
    }

    #[tokio::test]
    async fn without_a_tpm_nothing_is_read() {
        let refused = Unmeasured(b"version = ".to_vec()).measure(None).await.unwrap_err();
        assert!(matches!(refused, InitDataError::NoTpm), "{refused}");
    }
}
