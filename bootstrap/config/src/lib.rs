//! What the image measured for us to obey: `/etc/ccnode/node.toml`, the pinned CAs, and our kernel command line keys.

mod cmdline;
mod data;
mod disk;
mod stock;

pub use cmdline::Cmdline;
pub use data::Data;
pub use disk::Disk;
pub use stock::{NotEnough, RUN, Requirement, Stock, StockFile, StockPlan, Wanted};

use ccnode_evidence::{Code, DATA_KEY, LAYOUT_KEY, Layout};
use ccnode_luks_header::Integrity;
use ccnode_protocol::PoolName;
use ccnode_protocol::recovery::Custodians;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the initramfs keeps what the image builder wrote.
pub const DIR: &str = "/etc/ccnode";
/// Larger configurations are not ours.
const MAX: u64 = 64 * 1024;

/// A configuration that can't be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{0} is missing")]
    Missing(PathBuf),
    /// A file can't be read.
    #[error("{path}: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any of ours.
    #[error("{0}: more than {MAX} bytes")]
    TooLarge(PathBuf),
    /// Not TOML of this form.
    #[error("{path}: {detail}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        detail: String,
    },
    /// A `ccnode.` key of the command line is unknown or has a bad value.
    #[error("kernel command line: {0}")]
    Cmdline(String),
}

impl ConfigError {
    /// Its stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing(path) if path.ends_with("node.toml") => Code::ConfigMissing,
            Self::Missing(_) | Self::Unreadable { .. } | Self::TooLarge(_) | Self::Malformed { .. } => {
                Code::ConfigMalformed
            }
            Self::Cmdline(_) => Code::CmdlineMalformed,
        }
    }
}

/// `/etc/ccnode/node.toml`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The transcript, and what belongs to it.
    pub mode: Mode,
    /// The trust service, or the key brokers.
    pub service: Service,
    /// The network; DHCP on the first interface with a link where the table is absent.
    pub network: Network,
    /// The disk.
    pub disk: Disk,
    /// What a refusal does.
    pub refusal: RefusalConfig,
    /// What is locked before the root's init starts.
    pub handover: Handover,
    /// Whether what the host hands in is measured and sent; otherwise it is not looked for.
    pub init_data: InitDataRule,
    /// What of it is followed.
    pub hints: BTreeSet<Hint>,
    /// Who recovers the volumes that this node makes; nobody where the table is absent.
    pub recovery: Option<Custodians>,
}

/// A kind of hint that init-data may hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// A static address in place of DHCP.
    Address,
    /// A proxy on the way to the service.
    Proxy,
    /// Files for the running system.
    Files,
}

impl Hint {
    /// Its name in `hints`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Proxy => "proxy",
            Self::Files => "files",
        }
    }
}

/// What becomes of init-data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitDataRule {
    /// It is ignored.
    #[default]
    Ignored,
    /// It is measured into PCR 8 and sent along.
    Allowed,
}

/// The transcript that the node insists on; it never falls back to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `ccnode/1`: activation, certificate request and logs are bound.
    Ccnode {
        /// The pool that the node belongs to.
        pool: PoolName,
    },
    /// The stock protocol, with whatever speaks it.
    Stock(Box<Stock>),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    mode: ModeName,
    #[serde(default)]
    pool: Option<PoolName>,
    #[serde(default)]
    stock: Option<Box<Stock>>,
    service: Service,
    #[serde(default)]
    network: Network,
    disk: Disk,
    #[serde(default)]
    refusal: RefusalConfig,
    #[serde(default)]
    handover: Handover,
    #[serde(default)]
    init_data: InitDataRule,
    #[serde(default)]
    hints: BTreeSet<Hint>,
    #[serde(default)]
    recovery: Option<Custodians>,
}

#[derive(Clone, Copy, Deserialize)]
enum ModeName {
    #[serde(rename = "ccnode/1")]
    Ccnode1,
    #[serde(rename = "stock")]
    Stock,
}

/// `[service]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// Base URLs, https alone; tried in order, the one that answers is kept.
    #[serde(deserialize_with = "urls")]
    pub urls: Vec<String>,
    /// PEM files of the pinned CAs.
    pub ca: Vec<PathBuf>,
    /// How long an exchange is tried: `30s`, `5m`, `500ms`.
    #[serde(deserialize_with = "duration")]
    pub deadline: Duration,
}

/// `[network]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// An interface's name, or `auto`: the first Ethernet interface that has a link.
    #[serde(default = "auto")]
    pub interface: String,
    /// Address and prefix length; DHCP where absent.
    #[serde(default)]
    pub address: Option<Cidr>,
    /// Default gateway, with `address`.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers; those of the lease where empty.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
}

/// An IPv4 address with its prefix length: `192.0.2.7/24`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// The address.
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
}

/// `[refusal]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RefusalConfig {
    /// How a refused boot ends.
    #[serde(default)]
    pub action: Action,
}

/// How a refused boot ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The machine is switched off.
    #[default]
    Poweroff,
    /// The machine starts again.
    Reboot,
}

/// `[handover]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Handover {
    /// Whether module loading is shut off for good; a kubelet loads modules, so the default is no.
    #[serde(default)]
    pub modules_disabled: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self { interface: auto(), address: None, gateway: None, dns: Vec::new() }
    }
}

impl Config {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read(path)?;
        let malformed = |detail| ConfigError::Malformed { path: path.to_owned(), detail };
        let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8".to_owned()))?;
        Self::parse(&text).map_err(malformed)
    }

    /// Parses the text of a `node.toml`; the error names line and reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wire: Wire = toml::from_str(text).map_err(|e| {
            let line =
                e.span().map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            format!("line {line}: {}", e.message())
        })?;
        let Wire { service, network, disk, .. } = &wire;
        let labels: BTreeSet<_> = disk.labels().collect();
        let same = labels.len() != disk.labels().count();
        let empty = disk.labels().any(String::is_empty);
        if let Some(rule) = data::check(&disk.data) {
            return Err(rule.to_owned());
        }
        let rules = [
            (service.ca.is_empty(), "[service] ca is empty"),
            (
                wire.stock.is_some() && (disk.swap.is_some() || !disk.data.is_empty()),
                "[disk] swap and data are for mode = \"ccnode/1\"",
            ),
            (
                wire.stock.is_some() && wire.recovery.is_some(),
                "[recovery] is for mode = \"ccnode/1\": stock mode makes no volume",
            ),
            (
                wire.stock.is_some() && disk.integrity != Integrity::None,
                "[disk] integrity is for mode = \"ccnode/1\"",
            ),
            (disk.serial.is_some() == disk.sysfs.is_some(), "[disk] needs serial or sysfs, and not both"),
            (same, "[disk] names a label twice"),
            (empty, "[disk] has an empty label"),
            (disk.serial.as_deref() == Some("") || disk.sysfs.as_deref() == Some(""), "[disk] names no disk"),
            (network.gateway.is_some() && network.address.is_none(), "[network] gateway needs address"),
            (
                !wire.hints.is_empty() && wire.init_data == InitDataRule::Ignored,
                "hints need init-data = \"allowed\"",
            ),
            (
                wire.hints.contains(&Hint::Address) && network.address.is_some(),
                "[network] has an address already: take it or the hint `address` out",
            ),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(rule.to_owned());
        }
        let mode = match (wire.mode, wire.pool, wire.stock, &wire.disk.source) {
            (ModeName::Ccnode1, Some(pool), None, Some(_)) => Mode::Ccnode { pool },
            (ModeName::Ccnode1, None, ..) => return Err("missing field `pool`".to_owned()),
            (ModeName::Ccnode1, _, Some(_), _) => return Err("[stock] needs mode = \"stock\"".to_owned()),
            (ModeName::Ccnode1, .., None) => return Err("[disk] source is missing".to_owned()),
            (ModeName::Stock, _, None, _) => return Err("[stock] is missing".to_owned()),
            (ModeName::Stock, Some(_), ..) => return Err("pool is for mode = \"ccnode/1\"".to_owned()),
            (ModeName::Stock, .., Some(_)) => {
                return Err("[disk] source is for mode = \"ccnode/1\": stock mode fills no root".to_owned());
            }
            (ModeName::Stock, None, Some(stock), None) => {
                stock.check()?;
                Mode::Stock(stock)
            }
        };
        Ok(Self {
            mode,
            service: wire.service,
            network: wire.network,
            disk: wire.disk,
            refusal: wire.refusal,
            handover: wire.handover,
            init_data: wire.init_data,
            hints: wire.hints,
            recovery: wire.recovery,
        })
    }

    /// Refuses a command line that declares what this mode has not, or other volumes than are configured: a stock session opens a root
    /// that is there, and makes none. And where nothing persists, custodians would have nothing to recover.
    pub fn takes(&self, cmdline: &Cmdline) -> Result<(), ConfigError> {
        let mut names: Vec<_> = self.disk.data.iter().map(|data| &data.name).collect();
        names.sort();
        if !names.into_iter().eq(&cmdline.data) {
            return Err(ConfigError::Cmdline(format!("{DATA_KEY}= and [disk] data name other volumes")));
        }
        let layout = cmdline.layout;
        match (&self.mode, &self.recovery) {
            (Mode::Stock(_), _) if layout != Layout::LuksRoot => {
                Err(ConfigError::Cmdline(format!("{LAYOUT_KEY}={layout} is for mode = \"ccnode/1\"")))
            }
            (_, Some(_)) if layout == Layout::Ephemeral => Err(ConfigError::Cmdline(format!(
                "{LAYOUT_KEY}={layout} keeps nothing, and [recovery] names who recovers it"
            ))),
            _ => Ok(()),
        }
    }

    /// The pinned CAs, PEM.
    pub fn pins(&self) -> Result<Vec<Vec<u8>>, ConfigError> {
        self.service.ca.iter().map(|path| read(path)).collect()
    }
}

/// When the image was built, seconds since 1970; 0 where the file is missing or bad, which only leaves the clock unaided.
pub fn build_time(path: &Path) -> u64 {
    read(path).ok().and_then(|b| String::from_utf8(b).ok()?.trim().parse().ok()).unwrap_or_default()
}

/// A file of the initramfs, 64 KiB at most.
pub fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    use std::io::Read as _;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    match bytes.len() as u64 > MAX {
        true => Err(ConfigError::TooLarge(path.to_owned())),
        false => Ok(bytes),
    }
}

fn auto() -> String {
    "auto".to_owned()
}

fn urls<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let urls = Vec::<String>::deserialize(d)?;
    let good = |url: &String| {
        url.strip_prefix("https://").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        })
    };
    match urls.iter().find(|url| !good(url)) {
        Some(url) => Err(D::Error::custom(format!("`{url}` is not https://HOST[:PORT]"))),
        None if urls.is_empty() => Err(D::Error::custom("urls is empty")),
        None => Ok(urls),
    }
}

fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| D::Error::custom("a duration is a number and ms, s or m"))?;
    let span = match text.strip_prefix(digits) {
        Some("ms") => Duration::from_millis(number),
        Some("s") => Duration::from_secs(number),
        Some("m") => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(D::Error::custom("a duration ends with ms, s or m")),
    };
    match (Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&span) {
        true => Ok(span),
        false => Err(D::Error::custom("a deadline lies between 1 s and 24 h")),
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let cidr = Self { address: address.parse().ok()?, prefix: prefix.parse().ok()? };
            (cidr.prefix <= 32).then_some(cidr)
        });
        parsed.ok_or_else(|| D::Error::custom(format!("`{text}` is not ADDRESS/PREFIX")))
    }
}

#[cfg(test)]
mod tests;
