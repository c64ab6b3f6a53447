//! Where the TPM is: a character device, or in tests a software TPM behind TCP.

use crate::DeviceError;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use tss_esapi::tcti_ldr::{DeviceConfig, TctiNameConf};

/// What stands before a device's path.
const DEVICE: &str = "device:";

/// The transport to a TPM, by its TCTI loader string (TSS 2.0 TCTI, 3.5): `device:/dev/tpmrm0`, `swtpm:host=…,port=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcti {
    pub(crate) conf: TctiNameConf,
    text: String,
}

/// Text that names no transport.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a TCTI (`device:/dev/tpmrm0`): `{0}`")]
pub struct TctiParseError(pub String);

impl Tcti {
    /// This machine's TPM: the kernel's resource manager `/dev/tpmrm0`, else `/dev/tpm0`, else [`DeviceError::TpmMissing`].
    pub fn machine() -> Result<Self, DeviceError> {
        ["/dev/tpmrm0", "/dev/tpm0"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .and_then(Self::at_device)
            .ok_or_else(|| DeviceError::TpmMissing("/dev/tpmrm0".to_owned()))
    }

    /// Not by way of the library's parser of texts, which compiles regular expressions: 30 ms of an emulated boot.
    fn at_device(path: &str) -> Option<Self> {
        let conf = TctiNameConf::Device(DeviceConfig::from_str(path).ok()?);
        Some(Self { conf, text: format!("{DEVICE}{path}") })
    }

    /// The device's path, where it is one.
    pub(crate) fn device(&self) -> Option<&Path> {
        self.text.strip_prefix(DEVICE).map(Path::new)
    }
}

impl FromStr for Tcti {
    type Err = TctiParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let conf = TctiNameConf::from_str(text).map_err(|_| TctiParseError(text.to_owned()))?;
        Ok(Self { conf, text: text.to_owned() })
    }
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_a_transport() {
        let tcti: Tcti = "device:/dev/tpm7".parse().unwrap();
        assert_eq!(tcti.device(), Some(Path::new("/dev/tpm7")));
        assert_eq!(tcti.to_string(), "device:/dev/tpm7");
        let tcti: Tcti = "swtpm:host=127.0.0.1,port=2321".parse().unwrap();
        assert_eq!(tcti.device(), None);
        assert_eq!(Tcti::at_device("/dev/tpm7"), Some("device:/dev/tpm7".parse().unwrap()));
        assert_eq!("tpm0".parse::<Tcti>(), Err(TctiParseError("tpm0".into())));
    }
}
