//! Init-data: what the host hands in, measured into PCR 8 before one byte of it is looked at. It carries hints, never trust.
//!
//! The way is [`find`] → [`Unmeasured`] → [`InitData`] → [`Followed`]: only what is measured can be read or sent, and only what the
//! image lists is followed.

use crate::config::{Cidr, Hint, Network};
use crate::refusal::Coded;
use crate::status::write_file;
use ccnode_attest_client::InitData as Wire;
use ccnode_evidence::{Code, PcrIndex, Sha256Digest};
use ccnode_protocol::init_data::{self as wire, Hints, Proxy, UserFile};
use ccnode_protocol::limits;
use ccnode_tpm_device::{DeviceError, DeviceHandle};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Where QEMU's fw_cfg device shows what the host handed in as `opt/ccnode/init-data`; the module qemu_fw_cfg makes it.
pub const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/ccnode/init-data/raw";
/// The event's data in our log; its digest is that of the init-data.
pub const EVENT: &str = "ccnode:init-data";
/// Where user files are, for whoever in the running system wants a host's word.
pub const USER: &str = "/run/ccnode/user";
/// Longest init-data, in bytes.
const MAX: u64 = limits::INIT_DATA as u64;
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
    /// It is not UTF-8.
    #[error("init-data is not UTF-8")]
    Utf8,
    /// It is of another form, or has a hint that is none.
    #[error(transparent)]
    Form(#[from] wire::InitDataError),
    /// It has a hint of a kind that the image does not list.
    #[error("init-data has a hint `{}`, and the image does not list it", .0.as_str())]
    NotListed(Hint),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] DeviceError),
}

impl Coded for InitDataError {
    fn code(&self) -> Code {
        match self {
            Self::Tpm(error) => error.code(),
            Self::NotListed(_) => Code::HintNotAllowed,
            Self::Unreadable(_) | Self::Long | Self::NoTpm | Self::Utf8 | Self::Form(_) => {
                Code::InitDataMalformed
            }
        }
    }
}

/// Bytes that nobody has looked at.
pub struct Unmeasured(Vec<u8>);

/// Init-data whose digest is in PCR 8.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitData {
    body: String,
    read: wire::InitData,
}

/// Hints that were measured, and that the image lets the host give.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed(Hints);

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
        let body = String::from_utf8(self.0).map_err(|_| InitDataError::Utf8)?;
        let read = body.parse()?;
        Ok(InitData { body, read })
    }
}

impl InitData {
    /// As it travels.
    pub fn wire(&self) -> Wire {
        Wire { format: "toml".to_owned(), body: self.body.clone() }
    }

    /// The hints, where the image lists each kind of them: one that it does not is refused, so that nobody takes it for followed.
    pub fn follow(&self, listed: &BTreeSet<Hint>) -> Result<Followed, InitDataError> {
        let Hints { address, proxy, files } = &self.read.hints;
        let given = [
            (Hint::Address, address.is_some()),
            (Hint::Proxy, proxy.is_some()),
            (Hint::Files, !files.is_empty()),
        ];
        match given.into_iter().find(|(hint, given)| *given && !listed.contains(hint)) {
            Some((hint, _)) => Err(InitDataError::NotListed(hint)),
            None => Ok(Followed(self.read.hints.clone())),
        }
    }

    /// How many texts nobody on the node reads.
    pub fn others(&self) -> usize {
        self.read.others
    }
}

impl Followed {
    /// The network as the image has it, with the host's address in place of DHCP. What is measured stays: the interface, name servers.
    pub fn network(&self, measured: &Network) -> Network {
        let mut network = measured.clone();
        if let (Some(hint), None) = (&self.0.address, measured.address) {
            network.address = Some(Cidr { address: hint.address, prefix: hint.prefix });
            network.gateway = hint.gateway;
            if network.dns.is_empty() {
                network.dns.clone_from(&hint.dns);
            }
        }
        network
    }

    /// The proxy on the way to the service.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.0.proxy.as_ref()
    }

    /// The files for the running system.
    pub fn files(&self) -> &[UserFile] {
        &self.0.files
    }

    /// What is followed, in words; of files their number.
    pub fn words(&self) -> String {
        let Hints { address, proxy, files } = &self.0;
        let words = [
            address.as_ref().map(|a| format!("address {}/{}", a.address, a.prefix)),
            proxy.as_ref().map(|proxy| format!("proxy {proxy}")),
            (!files.is_empty()).then(|| format!("{} user files", files.len())),
        ];
        match words.into_iter().flatten().collect::<Vec<_>>() {
            none if none.is_empty() => "no hints".to_owned(),
            words => words.join(", "),
        }
    }
}

/// Writes `files` into `dir`, a new folder, each for root alone. Their names are plain by their type.
pub fn write_files(dir: &Path, files: &[UserFile]) -> io::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above)?;
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    files.iter().try_for_each(|file| write_file(&dir.join(&file.name), file.content.as_bytes(), 0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt as _;

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

    const HINTS: &str = r#"version = "0.1.0"
algorithm = "sha256"
[data]
uuid = "node-1"
"ccnode.toml" = '''
[network]
address = "192.0.2.7/24"
gateway = "192.0.2.1"
dns = ["192.0.2.53"]
proxy = "http://192.0.2.8:3128"
[files]
motd = "from the host"
'''
"#;

    fn read(text: &str) -> InitData {
        InitData { body: text.to_owned(), read: text.parse().unwrap() }
    }

    #[test]
    fn only_what_the_image_lists_is_followed() {
        let data = read(HINTS);
        let all = BTreeSet::from([Hint::Address, Hint::Proxy, Hint::Files]);
        let followed = data.follow(&all).unwrap();
        assert_eq!(followed.words(), "address 192.0.2.7/24, proxy http://192.0.2.8:3128, 1 user files");
        assert_eq!((followed.files().len(), data.others()), (1, 1));
        for hint in [Hint::Address, Hint::Proxy, Hint::Files] {
            let mut but_one = all.clone();
            but_one.remove(&hint);
            let error = data.follow(&but_one).unwrap_err();
            assert!(matches!(error, InitDataError::NotListed(h) if h == hint), "{error}");
            assert_eq!(error.code(), Code::HintNotAllowed);
        }
        let none = read(&HINTS.replace("ccnode.toml", "other.toml"));
        let followed = none.follow(&BTreeSet::new()).unwrap();
        assert_eq!((followed.words().as_str(), none.others()), ("no hints", 2));
        assert_eq!(followed.network(&Network::default()), Network::default());
    }

    #[test]
    fn an_address_takes_the_place_of_dhcp_and_of_nothing_that_is_measured() {
        let followed = Followed(read(HINTS).read.hints);
        let [own, theirs] = [[198, 51, 100, 53], [192, 0, 2, 53]].map(Ipv4Addr::from);
        let network = followed.network(&Network { interface: "eth1".into(), ..Network::default() });
        assert_eq!(network.address, Some(Cidr { address: [192, 0, 2, 7].into(), prefix: 24 }));
        assert_eq!((network.gateway, network.dns), (Some([192, 0, 2, 1].into()), vec![theirs]));
        assert_eq!(network.interface, "eth1");
        let network = followed.network(&Network { dns: vec![own], ..Network::default() });
        assert_eq!(network.dns, [own]);
        let address = Some(Cidr { address: own, prefix: 24 });
        let measured = Network { address, ..Network::default() };
        assert_eq!(followed.network(&measured), measured);
    }

    #[test]
    fn user_files_are_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join("ccnode/user");
        write_files(&user, &[]).unwrap();
        assert!(!user.exists());
        let files = read(HINTS).read.hints.files;
        write_files(&user, &files).unwrap();
        assert_eq!(fs::read_to_string(user.join("motd")).unwrap(), "from the host");
        for (path, mode) in [(user.join("motd"), 0o600), (user.clone(), 0o700)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
        assert!(write_files(&user, &files).is_err(), "a folder that was there before is not ours");
    }
}
