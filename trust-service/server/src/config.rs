//! The service's configuration, `config.toml` in its folder.

use ccnode_protocol::{PoolName, limits};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in the service's folder.
pub const FILE: &str = "config.toml";

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML of this form.
    #[error("{path}: {source}", path = path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A buffer that is too small to work with.
    #[error("{path}: limits.head is {head}; {HEAD_MIN} bytes at least", path = path.display())]
    Head {
        /// Which file.
        path: PathBuf,
        /// What it says.
        head: usize,
    },
}

/// The HTTP library reads no heads into less.
const HEAD_MIN: usize = 8192;

/// What `config.toml` says; every member has a default but the addresses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Where nodes come in.
    pub listen: SocketAddr,
    /// Where administrators come in.
    pub admin_listen: SocketAddr,
    /// From challenge to the last request of a session.
    #[serde(default = "session_lifetime")]
    pub session_lifetime: Lifetime,
    /// How long a grant to format, fill and register works.
    #[serde(default = "grant_lifetime")]
    pub grant_lifetime: Lifetime,
    /// Of the kubelets' certificates.
    #[serde(default = "certificate_lifetime")]
    pub certificate_lifetime: Lifetime,
    /// How long a node of one boot is on record.
    #[serde(default = "ephemeral_lifetime")]
    pub ephemeral_lifetime: Lifetime,
    /// How long a proposal waits for a second administrator.
    #[serde(default = "proposal_lifetime")]
    pub proposal_lifetime: Lifetime,
    /// How long after its approval a node may make use of what it was allowed once.
    #[serde(default = "allow_once_lifetime")]
    pub allow_once_lifetime: Lifetime,
    /// The cluster of pools that name none.
    #[serde(default)]
    pub cluster: Option<ClusterConfig>,
    /// Certificates, revocation lists and TCB information beside what evidence brings along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<CollateralConfig>,
    /// Clients of the stock transcript; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<StockConfig>,
    /// Where what neither evidence nor bundle holds is fetched; without it, nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorConfig>,
    /// What a peer may take.
    #[serde(default)]
    pub limits: Limits,
    /// How much is kept of refusals.
    #[serde(default)]
    pub keep: Keep,
}

/// A signed bundle of collateral (`ccnode bundle make`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CollateralConfig {
    /// The bundle, relative to the service's folder.
    pub bundle: PathBuf,
    /// Public keys (PEM), relative to the service's folder; one of them must have signed it.
    pub keys: Vec<PathBuf>,
    /// How old it may be; without it its own end counts alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Lifetime>,
}

/// Clients and administrators of the stock service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StockConfig {
    /// The pool that clients of the stock transcript belong to, for they can't name one. It must have the rule
    /// `danger-no-activation`.
    pub pool: PoolName,
    /// Ed25519 public keys (PEM), relative to the service's folder: tokens signed by them are taken in place of a client certificate
    /// at the stock administrators' paths, and nowhere else.
    #[serde(default)]
    pub admin_keys: Vec<PathBuf>,
    /// Machines that nobody knows and that are put on record a minute.
    #[serde(default = "newcomers_per_minute")]
    pub newcomers_per_minute: u32,
    /// Nodes that may wait for approval in the pool; one more is refused.
    #[serde(default = "waiting")]
    pub waiting: usize,
}

/// Mirrors of AMD's and Intel's services, in the administrator's own network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MirrorConfig {
    /// Base URL of a mirror of AMD's Key Distribution Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<String>,
    /// Base URL of a PCCS, version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<String>,
    /// CAs above the mirrors' certificates (PEM), relative to the service's folder.
    pub cas: Vec<PathBuf>,
    /// How long an answer is used before the mirror is asked again.
    #[serde(default = "mirror_keep")]
    pub keep: Lifetime,
    /// Sessions that may have the mirrors asked for a chip's certificate, of all together: anybody can name chips. What else is asked for
    /// is little: CAs and lists of a line, and the collateral of platforms whose quotes are genuine.
    #[serde(default = "mirror_per_minute")]
    pub sessions_per_minute: u32,
}

/// Where the kubelets of most pools find their API server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterConfig {
    /// URL of the API server.
    pub server: String,
    /// PEM file of the CA above the API server's certificate, relative to the service's folder.
    pub ca_file: PathBuf,
}

/// Limits of one listener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections; one more is closed at once.
    pub connections: usize,
    /// Open connections from one address; an IPv6 address counts as its /64.
    pub connections_per_address: usize,
    /// Bytes of an attestation's body; other bodies are small.
    pub body: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Lifetime,
    /// From the first byte of a request's head, or from the last response, to the head's end.
    pub head_time: Lifetime,
    /// From the end of a request's head to the response.
    pub request_time: Lifetime,
    /// Of a connection as a whole.
    pub connection_time: Lifetime,
    /// Attestations that are read at a time, each up to `body` bytes; others wait.
    pub attestations: usize,
    /// Of these, attestations from one address.
    pub attestations_per_address: usize,
    /// From an attestation's turn to the end of its body.
    pub body_time: Lifetime,
    /// Appraisals at a time; others wait.
    pub appraisals: usize,
    /// Sessions that one address may begin a minute; an IPv6 address counts as its /64.
    pub sessions_per_minute_per_address: u32,
    /// Answers with keys or resources that one node may have a minute; each is a row of the audit log.
    pub releases_per_minute_per_node: u32,
    /// Refusals of unproven peers that are recorded per minute; more are only counted.
    pub unproven_per_minute: u32,
    /// Refusals of one proven TPM that are recorded per minute.
    pub proven_per_minute: u32,
    /// Refusals that nodes report and that are recorded per minute, of all nodes.
    pub reports_per_minute: u32,
}

/// How many refusals are kept: per pool, and of these per node, so that none crowds out the others'.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Keep {
    /// Of proven TPMs.
    pub refusals: u32,
    /// Of peers that proved nothing.
    pub unproven: u32,
    /// Event logs of proven TPMs.
    pub evidence: u32,
    /// Of one proven TPM.
    pub refusals_per_node: u32,
    /// Event logs of one proven TPM.
    pub evidence_per_node: u32,
    /// Bytes of a node's last evidence; of larger evidence the verdict alone is kept.
    pub last_evidence: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = |s| Lifetime(Duration::from_secs(s));
        Self {
            connections: 512,
            connections_per_address: 64,
            body: limits::REQUEST_BODY,
            head: 32 * 1024,
            headers: 32,
            handshake: seconds(10),
            head_time: seconds(10),
            request_time: seconds(30),
            connection_time: seconds(300),
            attestations: 64,
            attestations_per_address: 8,
            body_time: seconds(5),
            appraisals: 4,
            sessions_per_minute_per_address: 600,
            releases_per_minute_per_node: 240,
            unproven_per_minute: 60,
            proven_per_minute: 10,
            reports_per_minute: 60,
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            refusals: 1000,
            unproven: 200,
            evidence: 128,
            refusals_per_node: 50,
            evidence_per_node: 4,
            last_evidence: 512 * 1024,
        }
    }
}

fn session_lifetime() -> Lifetime {
    Lifetime(Duration::from_secs(300))
}

fn grant_lifetime() -> Lifetime {
    Lifetime(Duration::from_secs(3600))
}

fn certificate_lifetime() -> Lifetime {
    Lifetime(Duration::from_secs(24 * 3600))
}

fn ephemeral_lifetime() -> Lifetime {
    Lifetime(Duration::from_secs(24 * 3600))
}

fn proposal_lifetime() -> Lifetime {
    Lifetime(Duration::from_secs(4 * 3600))
}

fn allow_once_lifetime() -> Lifetime {
    Lifetime(Duration::from_secs(900))
}

fn newcomers_per_minute() -> u32 {
    10
}

fn waiting() -> usize {
    1000
}

fn mirror_keep() -> Lifetime {
    Lifetime(Duration::from_secs(24 * 3600))
}

fn mirror_per_minute() -> u32 {
    300
}

impl Config {
    /// The defaults at these addresses.
    pub fn new(listen: SocketAddr, admin_listen: SocketAddr) -> Self {
        Self {
            listen,
            admin_listen,
            session_lifetime: session_lifetime(),
            grant_lifetime: grant_lifetime(),
            certificate_lifetime: certificate_lifetime(),
            ephemeral_lifetime: ephemeral_lifetime(),
            proposal_lifetime: proposal_lifetime(),
            allow_once_lifetime: allow_once_lifetime(),
            cluster: None,
            collateral: None,
            stock: None,
            mirror: None,
            limits: Limits::default(),
            keep: Keep::default(),
        }
    }

    /// Reads `config.toml` of the folder `dir`.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        match toml::from_str::<Self>(&text) {
            Ok(config) if config.limits.head < HEAD_MIN => {
                Err(ConfigError::Head { path, head: config.limits.head })
            }
            Ok(config) => Ok(config),
            Err(source) => Err(ConfigError::Toml { path, source: Box::new(source) }),
        }
    }
}

/// A positive span of time: `"300ms"`, `"30s"`, `"5m"`, `"24h"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Lifetime(pub Duration);

impl Lifetime {
    /// Whole seconds.
    pub fn seconds(self) -> u64 {
        self.0.as_secs()
    }
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

impl std::fmt::Display for Lifetime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, factor) =
            UNITS.into_iter().rev().find(|(_, factor)| millis.is_multiple_of(*factor)).unwrap_or(("ms", 1));
        write!(f, "{}{unit}", millis / factor)
    }
}

impl std::str::FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        let bad = || LifetimeError(text.chars().take(40).collect());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(bad)?;
        let factor = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
        let number: u64 = number.parse().map_err(|_| bad())?;
        match number.checked_mul(factor) {
            Some(millis) if millis > 0 => Ok(Self(Duration::from_millis(millis))),
            _ => Err(bad()),
        }
    }
}

/// Text that is no span of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no span of time: a positive number and ms, s, m or h")]
pub struct LifetimeError(String);

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("127.0.0.1:8443".parse().unwrap(), "127.0.0.1:8444".parse().unwrap())
    }

    #[test]
    fn survives_toml_and_is_strict() {
        let text = toml::to_string(&config()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config());
        let text = "listen = \"127.0.0.1:1\"\nadmin-listen = \"127.0.0.1:2\"\n";
        assert_eq!(toml::from_str::<Config>(text).unwrap().session_lifetime.to_string(), "5m");
        assert!(toml::from_str::<Config>(&format!("{text}typo = 1\n")).is_err());
    }

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../../docs/configuration.md");
        let addresses = "listen = \"127.0.0.1:1\"\nadmin-listen = \"127.0.0.1:2\"\n";
        let mut keys = 0;
        for table in ["", "[cluster]", "[collateral]", "[stock]", "[mirror]", "[limits]", "[keep]"] {
            // serde names what it would have taken.
            let error = toml::from_str::<Config>(&format!("{addresses}{table}\nx = 1\n")).unwrap_err();
            let (_, due) = error.message().split_once("expected ").unwrap();
            for key in due.split('`').skip(1).step_by(2) {
                let named = [format!("`{key}`"), format!("[{key}]"), format!(" {key}`")];
                assert!(named.iter().any(|form| page.contains(form)), "{table} {key}");
                keys += 1;
            }
        }
        assert!(keys > 35, "{keys}");
        let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = toml::from_str::<Config>(&format!("{addresses}{example}")).unwrap();
        assert!(config.collateral.is_some() && config.mirror.is_some_and(|mirror| mirror.snp.is_some()));
    }

    #[test]
    fn a_head_has_room() {
        let dir = tempfile::tempdir().unwrap();
        let load = |head| {
            let mut config = config();
            config.limits.head = head;
            std::fs::write(dir.path().join(FILE), toml::to_string(&config).unwrap()).unwrap();
            Config::load(dir.path())
        };
        assert!(load(HEAD_MIN).is_ok());
        assert!(matches!(load(HEAD_MIN - 1), Err(ConfigError::Head { head: 8191, .. })));
    }

    #[test]
    fn spans_of_time() {
        for text in ["1ms", "30s", "5m", "24h"] {
            assert_eq!(text.parse::<Lifetime>().unwrap().to_string(), text);
        }
        for text in ["", "s", "0s", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }
}
