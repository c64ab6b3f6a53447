//! What every request sees: configuration, store, keys and the bounds on what unproven peers may cause.

use crate::admin::token::{AdminKey, AdminKeyError};
use crate::admitted::Admitted;
use crate::collateral::Collateral;
use crate::config::{Config, ConfigError, MirrorConfig, StockConfig};
use crate::current::Current;
use crate::issuer::ClusterCa;
use crate::keys::{KeyError, Sealer};
use crate::metrics::Metrics;
use crate::pki::PkiError;
use crate::references::Memory;
use crate::rotation::Keys;
use crate::shares::Shares;
use crate::store::{SqliteStore, Store, StoreError, Tx as _, VolumeRow};
use crate::token::{CHAIN, TokenChainError, TokenKey, TokenKeyError};
use ccnode_evidence::{Secret, UnixTime};
use ccnode_mirror::{AtHand, Mirror, MirrorError, Want};
use ccnode_protocol::NodeName;
use ccnode_protocol::grants::Cluster;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Name of the database in the service's folder.
pub const DATABASE: &str = "db.sqlite";

/// Why a service can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(ConfigError),
    /// The key-encryption key can't be used.
    #[error(transparent)]
    Key(KeyError),
    /// The database can't be used.
    #[error(transparent)]
    Store(StoreError),
    /// A file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cluster CA can't be used.
    #[error("cluster-ca: {0}")]
    ClusterCa(#[source] PkiError),
    /// The token key can't be used.
    #[error("token/key.pem: {0}")]
    Token(#[source] TokenKeyError),
    /// The list of retired token keys can't be used.
    #[error("token/retired.json: {0}")]
    Retired(#[source] serde_json::Error),
    /// The token key's certificates can't be used.
    #[error("{CHAIN}: {0}")]
    TokenChain(#[source] TokenChainError),
    /// A stock administrator's key can't be used.
    #[error("{path}: {source}", path = path.display())]
    AdminKey {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: AdminKeyError,
    },
    /// The mirrors can't be used.
    #[error("mirror: {0}")]
    Mirror(#[source] MirrorError),
}

/// A trust service over a store.
#[derive(Debug)]
pub struct Service<S> {
    /// What it remembers.
    pub store: S,
    /// How it is configured.
    pub config: Config,
    /// Seals what lies in the store.
    pub at_rest: Sealer,
    /// Seals session cookies.
    pub cookies: Sealer,
    /// Signs tokens and checkpoints.
    pub token: Current<TokenKey>,
    /// When the key-encryption key of before a rotation was taken beside the new one, while it is there.
    pub rotated: Mutex<Option<Instant>>,
    /// Keys by whose tokens stock administrators come in.
    pub admin_keys: Vec<AdminKey>,
    /// Signs kubelet certificates.
    pub cluster_ca: Current<ClusterCa>,
    /// The cluster of pools that name none.
    pub cluster: Option<Cluster>,
    /// Appraisals at a time.
    pub appraisals: Arc<Semaphore>,
    /// Attestations at a time: their bodies are large.
    pub attestations: Shares,
    /// Certificates, revocation lists and TCB information beside the evidence.
    pub collateral: Collateral,
    /// What pools compare evidence with, as it was read last.
    pub references: Memory,
    /// Who need not be looked up before they wait for the writer.
    pub admitted: Admitted,
    /// The newest second at which old sessions and grants were removed for good: once each is enough.
    pub purged: AtomicU64,
    /// Where more of them is fetched.
    pub mirror: Option<Mirrors>,
    /// The time.
    pub clock: Clock,
    /// Machines that nobody knows and that stock evidence or a registration puts on record.
    pub newcomers: Bucket,
    /// Records of unproven peers.
    pub unproven: Bucket,
    /// Records about proven peers, each with its own share.
    pub proven: Buckets<Option<NodeName>>,
    /// Records of refusals that nodes report, of all together.
    pub reports: Bucket,
    /// Sessions begun, by address.
    pub begun: Buckets<IpAddr>,
    /// Keys and resources that were given out, by node.
    pub released: Buckets<NodeName>,
    /// What is counted.
    pub metrics: Metrics,
    /// The service's folder.
    pub dir: PathBuf,
}

/// The purpose of the store's sealer, under [`crate::keys::Kek::sealer`]; tools that open the store with its key use it too.
pub const AT_REST: &str = "store";
/// The purpose of the cookies' sealer.
pub const COOKIES: &str = "cookies";

/// Reads a text file of the service's folder.
pub fn read(path: PathBuf) -> Result<Zeroizing<String>, OpenError> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(source) => Err(OpenError::Read { path, source }),
    }
}

impl Service<SqliteStore> {
    /// Opens the folder that `ccnode-trust init` made.
    pub async fn open(dir: &Path) -> Result<Self, OpenError> {
        let config = Config::load(dir).map_err(OpenError::Config)?;
        let Keys { at_rest, cookies, token, cluster_ca } = Keys::load(dir, config.certificate_lifetime.0)?;
        let store = SqliteStore::open(&dir.join(DATABASE), false).await.map_err(OpenError::Store)?;
        let cluster = match &config.cluster {
            Some(c) => Some(Cluster {
                server: c.server.clone(),
                ca: read(dir.join(&c.ca_file))?.as_str().to_owned(),
            }),
            None => None,
        };
        let attestations = Shares::new(config.limits.attestations, config.limits.attestations_per_address);
        let metrics = Metrics::new(crate::routes::templates(), &store, &attestations);
        Ok(Self {
            store,
            at_rest,
            cookies,
            token: Current::new(token),
            rotated: Mutex::new(None),
            admin_keys: admin_keys(dir, config.stock.as_ref())?,
            cluster_ca: Current::new(cluster_ca),
            cluster,
            appraisals: Arc::new(Semaphore::new(config.limits.appraisals)),
            attestations,
            collateral: Collateral::default(),
            references: Memory::default(),
            admitted: Admitted::default(),
            purged: AtomicU64::new(0),
            mirror: config.mirror.as_ref().map(|mirror| Mirrors::open(dir, mirror)).transpose()?,
            clock: Clock::default(),
            newcomers: Bucket::new(config.stock.as_ref().map_or(0, |stock| stock.newcomers_per_minute)),
            unproven: Bucket::new(config.limits.unproven_per_minute),
            proven: Buckets::new(config.limits.proven_per_minute),
            reports: Bucket::new(config.limits.reports_per_minute),
            begun: Buckets::new(config.limits.sessions_per_minute_per_address),
            released: Buckets::new(config.limits.releases_per_minute_per_node),
            metrics,
            dir: dir.to_owned(),
            config,
        })
    }
}

fn admin_keys(dir: &Path, config: Option<&StockConfig>) -> Result<Vec<AdminKey>, OpenError> {
    let paths = config.into_iter().flat_map(|stock| &stock.admin_keys).map(|path| dir.join(path));
    let key = |path: PathBuf| {
        AdminKey::from_pem(&read(path.clone())?).map_err(|source| OpenError::AdminKey { path, source })
    };
    paths.map(key).collect()
}

/// The mirrors, and how often they may be asked.
#[derive(Debug)]
pub struct Mirrors {
    /// What asks them.
    pub mirror: Mirror,
    /// Sessions that may have them asked for what anybody can make up.
    pub sessions: Bucket,
}

impl Mirrors {
    /// Those of `wants` that a session may have them asked for at `now`. Made-up ones use up nothing of the others.
    pub fn admitted(&self, mut wants: BTreeSet<Want>, now: Instant) -> BTreeSet<Want> {
        if wants.iter().any(Want::is_unbounded) && !self.sessions.take(now) {
            wants.retain(|want| !want.is_unbounded());
        }
        wants
    }

    fn open(dir: &Path, config: &MirrorConfig) -> Result<Self, OpenError> {
        let cas = config.cas.iter().map(|ca| Ok(read(dir.join(ca))?.as_bytes().to_vec()));
        let settings = ccnode_mirror::Settings {
            snp: config.snp.clone(),
            tdx: config.tdx.clone(),
            cas: cas.collect::<Result<_, OpenError>>()?,
            keep: config.keep.0,
        };
        let mirror = Mirror::new(settings).map_err(OpenError::Mirror)?;
        Ok(Self { mirror, sessions: Bucket::new(config.sessions_per_minute) })
    }
}

impl<S: Store> Service<S> {
    /// The keys that are in the folder now.
    pub fn load_keys(&self) -> Result<Keys, OpenError> {
        Keys::load(&self.dir, self.config.certificate_lifetime.0)
    }

    /// What appraisal finds besides the evidence now.
    pub fn at_hand(&self) -> AtHand {
        let now = UnixTime(self.now());
        let shelf = self.collateral.current(now);
        match &self.mirror {
            Some(mirrors) => AtHand::with_mirror(shelf, mirrors.mirror.memory(), now),
            None => AtHand::shelf(shelf),
        }
    }

    /// The unlock key of a volume; `None` once it is forgotten.
    pub fn unlock_key(&self, volume: &VolumeRow) -> Result<Option<Secret<32>>, KeyError> {
        let Some(sealed) = &volume.unlock_key else { return Ok(None) };
        let place = VolumeRow::place(&volume.identity, &volume.record.id);
        let key = self.at_rest.open(&place, sealed)?;
        Secret::try_from(key.as_slice()).map(Some).map_err(|_| KeyError::Open(place))
    }

    /// Removes what has ended at `now`: nodes at once, what is only kept for a day once a second. Whoever commits it notes it in
    /// `purged`.
    pub(crate) async fn purge(&self, tx: &mut S::Tx, now: u64) -> Result<(), StoreError> {
        tx.purge_nodes(now).await?;
        match self.purged.load(Ordering::Relaxed) < now {
            true => tx.purge(now, self.config.grant_lifetime.seconds()).await,
            false => Ok(()),
        }
    }

    /// Seconds since 1970 by the service's clock.
    pub fn now(&self) -> u64 {
        self.clock.at(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }
}

/// A clock that never goes back while the service runs: what has ended stays ended.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// The latest of `now` and all that was said before.
    pub fn at(&self, now: u64) -> u64 {
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// A token bucket: so many records a minute, and a count of those that were left out.
#[derive(Debug)]
pub struct Bucket {
    per_minute: u32,
    state: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
    left_out: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, state: Mutex::new(Level::full(per_minute, Instant::now())) }
    }

    /// Takes a token at `now`; `false` and counted if there is none.
    pub fn take(&self, now: Instant) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take(self.per_minute, now)
    }

    /// How many were left out since this was asked last.
    pub fn left_out(&self) -> u64 {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

impl Level {
    fn full(per_minute: u32, now: Instant) -> Self {
        Self { tokens: f64::from(per_minute), at: now, left_out: 0 }
    }

    fn take(&mut self, per_minute: u32, now: Instant) -> bool {
        let capacity = f64::from(per_minute);
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * capacity / 60.0;
        self.tokens = (self.tokens + gained).min(capacity);
        self.at = now;
        let some = self.tokens >= 1.0;
        match some {
            true => self.tokens -= 1.0,
            false => self.left_out += 1,
        }
        some
    }
}

/// A token bucket for each node or address: none can use up what is another's.
#[derive(Debug)]
pub struct Buckets<K> {
    per_minute: u32,
    levels: Mutex<HashMap<K, Level>>,
}

impl<K: Clone + Eq + Hash + Ord> Buckets<K> {
    /// Full buckets.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, levels: Mutex::default() }
    }

    /// Takes a token of `of` at `now`; `false` and counted if there is none.
    pub fn take(&self, of: &K, now: Instant) -> bool {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let level = levels.entry(of.clone()).or_insert_with(|| Level::full(self.per_minute, now));
        level.take(self.per_minute, now)
    }

    /// How many were left out of which since this was asked last. Buckets that are full again are forgotten.
    pub fn left_out(&self, now: Instant) -> BTreeMap<K, u64> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = BTreeMap::new();
        levels.retain(|node, level| {
            let left_out = std::mem::take(&mut level.left_out);
            if left_out > 0 {
                out.insert(node.clone(), left_out);
            }
            now.saturating_duration_since(level.at) < MINUTE
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_clock_never_goes_back() {
        let clock = Clock::default();
        assert_eq!([5, 4, 0, 6].map(|now| clock.at(now)), [5, 5, 5, 6]);
    }

    #[test]
    fn bucket_empties_fills_and_counts() {
        let bucket = Bucket::new(2);
        let start = Instant::now();
        assert_eq!([(); 4].map(|()| bucket.take(start)), [true, true, false, false]);
        assert!(bucket.take(start + Duration::from_secs(31)));
        assert!(!bucket.take(start + Duration::from_secs(31)));
        assert_eq!((bucket.left_out(), bucket.left_out()), (3, 0));
    }

    #[test]
    fn buckets_are_apart_and_forgotten() {
        let buckets = Buckets::new(1);
        let start = Instant::now();
        assert_eq!([&"a", &"a", &"b"].map(|of| buckets.take(of, start)), [true, false, true]);
        assert_eq!(buckets.left_out(start), [("a", 1)].into());
        assert_eq!(buckets.levels.lock().unwrap().len(), 2);
        assert!(buckets.left_out(start + MINUTE).is_empty());
        assert!(buckets.levels.lock().unwrap().is_empty());
    }
}
