//! Init-data as a node reads it: texts by name, and among them [`HINTS`], which holds hints and never trust.
//!
//! It is the host's word: no URL of a service, no CA, no name of a node has a place in it, and what is not known is refused.

use crate::limits;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The text below `[data]` that is TOML with hints for the node itself. Others are for whoever appraises.
pub const HINTS: &str = "ccnode.toml";
/// Names that begin with this are ours: one that is not [`HINTS`] is a mistake.
const OURS: &str = "ccnode";
/// Most name servers.
const MAX_DNS: usize = 3;
/// Most user files.
pub const MAX_FILES: usize = 16;
/// The longest name of a user file, in bytes.
pub const MAX_NAME: usize = 64;
/// The largest user file, in bytes.
pub const MAX_FILE: usize = 16 * 1024;
/// The longest host name of a proxy, in bytes.
const MAX_HOST: usize = 253;
/// What is shown of a parser's words, in characters.
const MAX_DETAIL: usize = 160;

/// Why init-data can't be used. No byte of the host's is in the words but printable ASCII.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitDataError {
    /// Larger than is read.
    #[error("more than {} bytes of init-data", limits::INIT_DATA)]
    Long,
    /// Not TOML of version 0.1.0 with algorithm sha256.
    #[error("init-data is not TOML with version = \"0.1.0\", algorithm = \"sha256\" and texts below [data]")]
    Form,
    /// A name like ours that is not ours.
    #[error("init-data has a text below [data] that begins with `{OURS}` and is not `{HINTS}`")]
    Name,
    /// The hints are not TOML of their form, or have a member that is not known.
    #[error("{HINTS} in init-data: {0}")]
    Hints(String),
    /// The address can't be one of a host, or its gateway and name servers don't go with it.
    #[error("{HINTS} in init-data, [network]: {0}")]
    Network(&'static str),
    /// Too many files, or one that has no plain name or is too large.
    #[error("{HINTS} in init-data, [files]: {0}")]
    Files(&'static str),
}

/// Init-data, read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InitData {
    /// The hints for the node.
    pub hints: Hints,
    /// How many texts are for others.
    pub others: usize,
}

/// What a host may suggest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hints {
    /// A static address in place of DHCP.
    pub address: Option<StaticAddress>,
    /// A proxy on the way to the service.
    pub proxy: Option<Proxy>,
    /// Files for the running system.
    pub files: Vec<UserFile>,
}

/// An IPv4 address with what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// 1 to 32.
    pub prefix: u8,
    /// Default gateway, in the address's own network.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, three at most.
    pub dns: Vec<Ipv4Addr>,
}

/// An HTTP proxy that is asked to CONNECT; what passes it is TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    host: String,
    port: u16,
}

/// A text that is no such proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a proxy is http://HOST:PORT, without a user, and is asked to CONNECT")]
pub struct ProxyError;

/// A file for the running system; the node itself never reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserFile {
    /// A plain name: no folder, nothing hidden.
    pub name: String,
    /// What is in it.
    pub content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: String,
    algorithm: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HintsForm {
    #[serde(default)]
    network: NetworkForm,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkForm {
    address: Option<String>,
    gateway: Option<Ipv4Addr>,
    #[serde(default)]
    dns: Vec<Ipv4Addr>,
    proxy: Option<String>,
}

/// Whether a host may have this address.
pub fn is_host_address(a: Ipv4Addr) -> bool {
    !(a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.is_broadcast())
}

impl FromStr for InitData {
    type Err = InitDataError;

    fn from_str(text: &str) -> Result<Self, InitDataError> {
        if text.len() > limits::INIT_DATA {
            return Err(InitDataError::Long);
        }
        let mut form: Form = toml::from_str(text).map_err(|_| InitDataError::Form)?;
        if (form.version.as_str(), form.algorithm.as_str()) != ("0.1.0", "sha256") {
            return Err(InitDataError::Form);
        }
        let hints = match form.data.remove(HINTS) {
            Some(text) => text.parse()?,
            None => Hints::default(),
        };
        match form.data.keys().any(|name| name.starts_with(OURS)) {
            true => Err(InitDataError::Name),
            false => Ok(Self { hints, others: form.data.len() }),
        }
    }
}

impl FromStr for Hints {
    type Err = InitDataError;

    fn from_str(text: &str) -> Result<Self, InitDataError> {
        let form: HintsForm = toml::from_str(text).map_err(|e| InitDataError::Hints(plain(e.message())))?;
        let proxy = form.network.proxy.as_deref().map(str::parse).transpose();
        let proxy = proxy.map_err(|_| InitDataError::Network("proxy is not http://HOST:PORT"))?;
        if form.files.len() > MAX_FILES {
            return Err(InitDataError::Files("more than 16 files"));
        }
        let files = form.files.into_iter().map(UserFile::new).collect::<Result<_, _>>()?;
        Ok(Self { address: form.network.address()?, proxy, files })
    }
}

impl NetworkForm {
    fn address(self) -> Result<Option<StaticAddress>, InitDataError> {
        let Self { address, gateway, dns, .. } = self;
        let Some(text) = address else {
            return match gateway.is_none() && dns.is_empty() {
                true => Ok(None),
                false => Err(InitDataError::Network("gateway and dns need address")),
            };
        };
        let parsed: Option<(Ipv4Addr, u8)> = text
            .split_once('/')
            .and_then(|(address, prefix)| Some((address.parse().ok()?, decimal(prefix)?)))
            .filter(|(_, prefix)| (1..=32).contains(prefix));
        let (address, prefix) = parsed.ok_or(InitDataError::Network("address is not ADDRESS/PREFIX"))?;
        if !is_host_address(address) {
            return Err(InitDataError::Network("address is none of a host"));
        }
        let network = |a: Ipv4Addr| u32::from(a).checked_shr(32 - u32::from(prefix));
        let reached = |g: Ipv4Addr| g != address && is_host_address(g) && network(g) == network(address);
        if gateway.is_some_and(|gateway| !reached(gateway)) {
            return Err(InitDataError::Network("gateway is not in the address's network"));
        }
        if dns.len() > MAX_DNS || !dns.iter().copied().all(is_host_address) {
            return Err(InitDataError::Network("dns is not up to three addresses of hosts"));
        }
        Ok(Some(StaticAddress { address, prefix, gateway, dns }))
    }
}

impl UserFile {
    fn new((name, content): (String, String)) -> Result<Self, InitDataError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let plain = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(known)
            && !name.starts_with('.')
            && !name.ends_with(".part");
        if !plain {
            return Err(InitDataError::Files(
                "a name is 1 to 64 letters, digits, `.`, `_` and `-`, does not begin with `.` nor end with `.part`",
            ));
        }
        match content.len() > MAX_FILE {
            true => Err(InitDataError::Files("a file has more than 16 KiB")),
            false => Ok(Self { name, content }),
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let (host, port) = text.strip_prefix("http://").and_then(|t| t.split_once(':')).ok_or(ProxyError)?;
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        let good = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(known);
        match decimal(port) {
            Some(port) if good && port != 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(ProxyError),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// A number of digits alone: what Rust parses may begin with `+`.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A parser's words quote what they stumbled over.
fn plain(words: &str) -> String {
    let shown = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    words.chars().take(MAX_DETAIL).map(shown).collect()
}

#[cfg(test)]
mod tests;
