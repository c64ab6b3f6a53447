//! Certificates, revocation lists and TCB information that do not come with the evidence: what is at hand now.

use crate::config::CollateralConfig;
use ccnode_appraise::{CollateralError, Shelf};
use ccnode_bundle::{BundleError, Freshness, Item, KeyError, PublicKey};
use ccnode_evidence::UnixTime;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The file in the service's folder that says when the newest bundle was made that was in use.
pub const SEEN: &str = "bundle.seen";

/// Why a bundle can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    /// A file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no public key.
    #[error("{path}: {source}", path = path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The bundle is not believed.
    #[error("{path}: {source}", path = path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// A newer one was in use.
    #[error("{path}: made at {made}, and one made at {seen} was in use: put that or a newer one there; to go back on purpose, remove {SEEN}", path = path.display())]
    Older {
        /// Which file.
        path: PathBuf,
        /// When it was made.
        made: UnixTime,
        /// When the newest was made that was in use.
        seen: UnixTime,
    },
    /// An item of it is no collateral.
    #[error("{path}: item {id}: {source}", path = path.display())]
    Item {
        /// Which file.
        path: PathBuf,
        /// SHA-256 of the item.
        id: ccnode_evidence::Sha256Digest,
        /// Why.
        source: CollateralError,
    },
}

/// What a bundle held, and until when it may be used.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What was in it.
    pub shelf: Shelf,
    /// Its end, or that of the age which the configuration allows; `None` for what has no end.
    pub until: Option<UnixTime>,
    /// When it was made; 0 for what is no bundle's.
    pub made: u64,
}

impl From<Shelf> for Loaded {
    fn from(shelf: Shelf) -> Self {
        Self { shelf, until: None, made: 0 }
    }
}

/// Reads the bundle that the configuration names, as of `now`; paths are relative to `dir`.
pub fn load(dir: &Path, config: &CollateralConfig, now: UnixTime) -> Result<Loaded, BundleFault> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| BundleFault::Read { path: path.to_owned(), source })
    };
    let mut keys = Vec::with_capacity(config.keys.len());
    for key in &config.keys {
        let path = dir.join(key);
        let text = String::from_utf8(read(&path)?).unwrap_or_default();
        keys.push(PublicKey::from_pem(&text).map_err(|source| BundleFault::Key { path, source })?);
    }
    let path = dir.join(&config.bundle);
    let freshness = Freshness { max_age: config.max_age.map(|age| age.seconds()) };
    let bundle = ccnode_bundle::open(&read(&path)?, &keys, now, freshness)
        .map_err(|source| BundleFault::Bundle { path: path.clone(), source })?;
    let (made, seen) = (bundle.created(), seen(dir));
    if made < seen {
        return Err(BundleFault::Older { path, made, seen });
    }
    let mut shelf = Shelf::default();
    for item in bundle.items() {
        match item {
            Item::Certificate { der } | Item::Crl { der } => shelf.add_snp(&der.0),
            Item::TdxCollateral { json } => shelf.add_tdx(json),
        }
        .map_err(|source| BundleFault::Item { path: path.clone(), id: item.id(), source })?;
    }
    let aged = config.max_age.map(|age| bundle.created().0.saturating_add(age.seconds()));
    let until = aged.map_or(bundle.expires(), |aged| UnixTime(aged.min(bundle.expires().0)));
    if made > seen
        && let Err(error) = crate::files::replace(&dir.join(SEEN), format!("{}\n", made.0).as_bytes())
    {
        tracing::error!(%error, "{SEEN} can't be written: after a restart an older bundle would be taken");
    }
    Ok(Loaded { shelf, until: Some(until), made: made.0 })
}

/// When the newest bundle was made that was in use before; what can't be read is 0, and said.
fn seen(dir: &Path) -> UnixTime {
    let made = match std::fs::read_to_string(dir.join(SEEN)) {
        Ok(text) => text.trim_end().parse().ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(0),
        Err(_) => None,
    };
    UnixTime(made.unwrap_or_else(|| {
        tracing::error!("{SEEN} can't be read: an older bundle would be taken");
        0
    }))
}

/// The shelf in use; a new one takes its place whole, and appraisals under way keep theirs.
#[derive(Debug, Default)]
pub struct Collateral {
    shelf: Mutex<(Arc<Shelf>, Option<UnixTime>)>,
    /// When the newest bundle was made that this service has used since it started.
    newest: AtomicU64,
}

impl Collateral {
    /// What is at hand at `now`: nothing of a bundle that has ended, read again or not.
    pub fn current(&self, now: UnixTime) -> Arc<Shelf> {
        let (shelf, until) = &*self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) if now > *until => Arc::default(),
            _ => Arc::clone(shelf),
        }
    }

    /// Seconds since the bundle in use was made; `None` where none is in use.
    pub fn age(&self, now: UnixTime) -> Option<u64> {
        let made = self.newest.load(Ordering::Relaxed);
        (made > 0 && !self.current(now).is_empty()).then(|| now.0.saturating_sub(made))
    }

    /// Reads the bundle again, as of `now`. One that is not believed any more is dropped with what it held: a platform without
    /// collateral is refused, and one whose collateral was withheld is not let in by what was known before. One that is older than
    /// what was in use takes the place of nothing: whoever hands files on could bring back what was known before a revocation.
    pub fn refresh(&self, dir: &Path, config: &CollateralConfig, now: UnixTime) {
        match load(dir, config, now) {
            Ok(loaded) if loaded.made < self.newest.load(Ordering::Relaxed) => {
                let made = UnixTime(loaded.made);
                tracing::error!(%made, "the bundle is older than one that was in use, and is left alone");
            }
            Err(error @ BundleFault::Older { .. }) => tracing::error!(%error, "the bundle is left alone"),
            Ok(loaded) => self.replace(loaded),
            Err(error) => {
                tracing::error!(%error, "collateral can't be used; there is none until it can");
                self.replace(Shelf::default());
            }
        }
    }

    /// Takes this in place of what was there, and of what was verified of that.
    pub fn replace(&self, with: impl Into<Loaded>) {
        let Loaded { shelf, until, made } = with.into();
        self.newest.fetch_max(made, Ordering::Relaxed);
        *self.shelf.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::new(shelf), until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lifetime;
    use ccnode_bundle::{Draft, SecretKey};
    use ccnode_testkit::snp::TestChip;

    const NOW: UnixTime = UnixTime(1_780_272_000);

    fn folder(items: Vec<Item>) -> (tempfile::TempDir, CollateralConfig) {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::generate(&mut rand_core::OsRng);
        let draft = Draft::new(NOW, UnixTime(NOW.0 + 1000), items);
        std::fs::write(dir.path().join("bundle"), draft.seal(std::slice::from_ref(&key)).unwrap()).unwrap();
        std::fs::write(dir.path().join("key.pub"), key.public().to_pem().unwrap()).unwrap();
        let config =
            CollateralConfig { bundle: "bundle".into(), keys: vec!["key.pub".into()], max_age: None };
        (dir, config)
    }

    #[test]
    fn a_good_bundle_is_at_hand_until_it_ends() {
        let chip = TestChip::milan();
        let certificate = |der: Vec<u8>| Item::Certificate { der: der.into() };
        let (dir, config) = folder(vec![certificate(chip.vek_der()), certificate(chip.ask_der())]);
        let collateral = Collateral::default();
        collateral.refresh(dir.path(), &config, NOW);
        assert!(!collateral.current(UnixTime(NOW.0 + 1000)).is_empty());
        assert!(
            collateral.current(UnixTime(NOW.0 + 1001)).is_empty(),
            "nobody has read it again, and it has ended"
        );
        collateral.refresh(dir.path(), &config, UnixTime(NOW.0 + 1001));
        assert!(collateral.current(NOW).is_empty(), "what has ended is used no more");
        let aged = CollateralConfig { max_age: Some(Lifetime(std::time::Duration::from_secs(60))), ..config };
        collateral.refresh(dir.path(), &aged, NOW);
        assert!(!collateral.current(UnixTime(NOW.0 + 60)).is_empty());
        assert!(collateral.current(UnixTime(NOW.0 + 61)).is_empty(), "older than the configuration allows");
    }

    #[test]
    fn t23_an_older_bundle_takes_the_place_of_nothing() {
        let (dir, config) = folder(Vec::new());
        let key = SecretKey::generate(&mut rand_core::OsRng);
        std::fs::write(dir.path().join("key.pub"), key.public().to_pem().unwrap()).unwrap();
        let write = |made: u64, items: Vec<Item>| {
            let draft = Draft::new(UnixTime(made), UnixTime(NOW.0 + 1000), items);
            let sealed = draft.seal(std::slice::from_ref(&key)).unwrap();
            std::fs::write(dir.path().join("bundle"), sealed).unwrap();
        };
        let certificate = || vec![Item::Certificate { der: TestChip::milan().vek_der().into() }];
        let collateral = Collateral::default();
        write(NOW.0 - 10, certificate());
        collateral.refresh(dir.path(), &config, NOW);
        write(NOW.0 - 5, Vec::new());
        collateral.refresh(dir.path(), &config, NOW);
        assert!(collateral.current(NOW).is_empty());
        write(NOW.0 - 10, certificate());
        collateral.refresh(dir.path(), &config, NOW);
        assert!(collateral.current(NOW).is_empty(), "rolled back");
        // Nor by way of a file that is no bundle.
        std::fs::write(dir.path().join("bundle"), "none").unwrap();
        collateral.refresh(dir.path(), &config, NOW);
        write(NOW.0 - 10, certificate());
        collateral.refresh(dir.path(), &config, NOW);
        assert!(collateral.current(NOW).is_empty());
        // Nor after a restart.
        let anew = load(dir.path(), &config, NOW);
        assert!(matches!(anew, Err(BundleFault::Older { seen, .. }) if seen.0 == NOW.0 - 5), "{anew:?}");
        write(NOW.0, certificate());
        collateral.refresh(dir.path(), &config, NOW);
        assert!(!collateral.current(NOW).is_empty());
    }

    #[test]
    fn every_fault_is_named() {
        let (dir, good) = folder(vec![Item::Certificate { der: vec![0x30, 0].into() }]);
        let load = |config: &CollateralConfig| load(dir.path(), config, NOW).unwrap_err();
        assert!(matches!(load(&good), BundleFault::Item { .. }));
        let other = CollateralConfig { keys: vec!["none".into()], ..good.clone() };
        assert!(matches!(load(&other), BundleFault::Read { .. }));
        let other = CollateralConfig { keys: vec!["bundle".into()], ..good.clone() };
        assert!(matches!(load(&other), BundleFault::Key { .. }));
        let other = CollateralConfig { keys: Vec::new(), ..good };
        assert!(matches!(load(&other), BundleFault::Bundle { source: BundleError::Untrusted { .. }, .. }));
    }
}
