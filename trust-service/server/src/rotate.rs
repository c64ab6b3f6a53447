//! `ccnode-trust rotate`: new keys beside the old ones, in files; the running service takes them when it is told to reload.

use crate::config::{Config, ConfigError};
use crate::files::{create, replace, replace_json};
use crate::keys::{Kek, KeyError};
use crate::pki::{self, PkiError};
use crate::renew::{self, RenewError};
use crate::rotation::{CLUSTER_CA, CLUSTER_CA_KEY, KEK, OLD_KEK, RETIRED, retired};
use crate::service::{OpenError, read};
use crate::token::{CHAIN, Retired, TokenKey, TokenKeyError};
use rcgen::KeyPair;
use std::io;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The CA that is to come, and the one that was.
pub const NEXT_CA: &str = "tls/ca-next.pem";
/// See [`NEXT_CA`].
pub const OLD_CA: &str = "tls/ca-old.pem";
const NEXT_KEY: &str = "tls/ca-next.key";
/// The cluster CA that is to come.
pub const NEXT_CLUSTER_CA: &str = "cluster-ca/next.pem";
const NEXT_CLUSTER_KEY: &str = "cluster-ca/next.key";
const CA: &str = "tls/ca.pem";
const CA_KEY: &str = "tls/ca.key";

/// How long verifiers may keep the set of token keys, and requests may be under way, seconds.
const GRACE: u64 = 600;

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The rotation before is not over.
    #[error(
        "{0} is there: the rotation before is not over; the running service removes it after a session's lifetime"
    )]
    Pending(&'static str),
    /// There is a next CA.
    #[error(
        "{NEXT_CA} is there: once images and administrators trust it, `ccnode-trust rotate ca DIR --switch`"
    )]
    Staged,
    /// There is no next CA.
    #[error("there is no {NEXT_CA}: `ccnode-trust rotate ca DIR` makes it")]
    NotStaged,
    /// There is a next cluster CA.
    #[error(
        "{NEXT_CLUSTER_CA} is there: once the API server takes clients of it, `ccnode-trust rotate cluster-ca DIR --switch`"
    )]
    ClusterStaged,
    /// There is no next cluster CA.
    #[error("there is no {NEXT_CLUSTER_CA}: `ccnode-trust rotate cluster-ca DIR` makes it")]
    ClusterNotStaged,
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The token key can't be used.
    #[error("token/key.pem: {0}")]
    Token(#[from] TokenKeyError),
    /// A file can't be read.
    #[error(transparent)]
    Read(#[from] OpenError),
    /// A certificate can't be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificates can't be renewed.
    #[error(transparent)]
    Renew(#[from] RenewError),
    /// A file can't be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn write(dir: &Path, name: &str, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), RotateError> {
    let path = dir.join(name);
    how(&path).map_err(|source| RotateError::Write { path, source })
}

/// A new key-encryption key, and with it a new key of cookies. The old one is kept aside first: whatever happens next, both are there.
pub fn kek(dir: &Path) -> Result<(), RotateError> {
    let current = Kek::load(&dir.join(KEK))?;
    if dir.join(OLD_KEK).exists() {
        // The same key: an earlier attempt ended before the new one was written.
        match Kek::load(&dir.join(OLD_KEK))?.is(&current) {
            true => {}
            false => return Err(RotateError::Pending(OLD_KEK)),
        }
    } else {
        write(dir, OLD_KEK, |path| create(path, current.to_text().as_bytes()))?;
    }
    write(dir, KEK, |path| replace(path, Kek::generate().to_text().as_bytes()))
}

/// A new key of tokens and checkpoints. The old one's public half stays on record: its tokens count until the last session that has one
/// is over, its checkpoints always.
pub fn token(dir: &Path, now: u64) -> Result<(), RotateError> {
    let config = Config::load(dir)?;
    let current = TokenKey::from_pem(&read(dir.join("token/key.pem"))?)?;
    let until = now.saturating_add(config.session_lifetime.seconds()).saturating_add(GRACE);
    let mut list = retired(dir)?;
    list.retain(|old| old.jwk.get("kid") != current.jwk().get("kid"));
    list.push(Retired { jwk: current.jwk().clone(), until });
    write(dir, RETIRED, |path| replace_json(path, &list))?;
    let key = pki::new_key()?;
    // A chain must be the key's own: without one tokens are good too.
    write(dir, CHAIN, |path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })?;
    let pem = Zeroizing::new(key.serialize_pem());
    write(dir, "token/key.pem", |path| replace(path, pem.as_bytes()))?;
    chain(dir, &key)
}

/// The token key's certificate, under the CA in use.
fn chain(dir: &Path, key: &KeyPair) -> Result<(), RotateError> {
    let cert = pki::token(key, &renew::issuer(dir)?, OffsetDateTime::now_utc())?;
    let ca = read(dir.join(CA))?;
    write(dir, CHAIN, |path| replace(path, format!("{cert}{}", *ca).as_bytes()))
}

/// Makes the CA that is to come. Nothing is signed by it yet: images and administrators are to trust both first.
pub fn next_ca(dir: &Path) -> Result<(), RotateError> {
    if dir.join(NEXT_CA).exists() {
        return Err(RotateError::Staged);
    }
    let (ca, _) = pki::ca("ccnode-trust CA", OffsetDateTime::now_utc())?;
    write(dir, NEXT_KEY, |path| replace(path, ca.key.expose()))?;
    write(dir, NEXT_CA, |path| replace(path, ca.cert.as_bytes()))?;
    let both = format!("{}{}", *read(dir.join(CA))?, ca.cert);
    write(dir, "admin/ca.pem", |path| replace(path, both.as_bytes()))
}

/// Puts the next CA in the place of the one in use, with new certificates under it. Client certificates of the old one are taken while
/// [`OLD_CA`] is there. Run again after a crash, it goes on.
pub fn switch_ca(dir: &Path) -> Result<(), RotateError> {
    if !dir.join(NEXT_CA).exists() {
        return Err(RotateError::NotStaged);
    }
    let (old, next) = (read(dir.join(CA))?, read(dir.join(NEXT_CA))?);
    if *old != *next {
        write(dir, OLD_CA, |path| replace(path, old.as_bytes()))?;
    }
    let key = read(dir.join(NEXT_KEY))?;
    write(dir, CA_KEY, |path| replace(path, key.as_bytes()))?;
    write(dir, CA, |path| replace(path, next.as_bytes()))?;
    renew::renew(dir, &[])?;
    write(dir, "admin/ca.pem", |path| replace(path, next.as_bytes()))?;
    let token = KeyPair::from_pem(&read(dir.join("token/key.pem"))?).map_err(PkiError::Make)?;
    chain(dir, &token)?;
    write(dir, NEXT_KEY, |path| std::fs::remove_file(path))?;
    write(dir, NEXT_CA, |path| std::fs::remove_file(path))
}

/// Makes the cluster CA that is to come. Nothing is signed by it yet: the API server is to take both first.
pub fn next_cluster_ca(dir: &Path) -> Result<(), RotateError> {
    if dir.join(NEXT_CLUSTER_CA).exists() {
        return Err(RotateError::ClusterStaged);
    }
    let (ca, _) = pki::ca("ccnode cluster CA", OffsetDateTime::now_utc())?;
    write(dir, NEXT_CLUSTER_KEY, |path| replace(path, ca.key.expose()))?;
    write(dir, NEXT_CLUSTER_CA, |path| replace(path, ca.cert.as_bytes()))
}

/// Puts the next cluster CA in the place of the one in use. Certificates of the old one are the API server's to take as long as they live.
/// Run again after a crash, it goes on; until then the service does not start with a certificate of another key.
pub fn switch_cluster_ca(dir: &Path) -> Result<(), RotateError> {
    if !dir.join(NEXT_CLUSTER_CA).exists() {
        return Err(RotateError::ClusterNotStaged);
    }
    let (key, cert) = (read(dir.join(NEXT_CLUSTER_KEY))?, read(dir.join(NEXT_CLUSTER_CA))?);
    write(dir, CLUSTER_CA_KEY, |path| replace(path, key.as_bytes()))?;
    write(dir, CLUSTER_CA, |path| replace(path, cert.as_bytes()))?;
    write(dir, NEXT_CLUSTER_CA, |path| std::fs::remove_file(path))?;
    write(dir, NEXT_CLUSTER_KEY, |path| std::fs::remove_file(path))
}
