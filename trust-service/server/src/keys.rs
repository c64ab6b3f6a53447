//! The key-encryption key and the keys derived from it: what the store holds is sealed, and so is the session cookie.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use ccnode_evidence::Secret;
use hkdf::Hkdf;
use rand_core::{OsRng, RngCore as _};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const SALT: usize = 32;

/// Why a key can't be loaded, or a sealed value not opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not 64 hex digits.
    #[error("{path}: not a key of 64 hex digits", path = .0.display())]
    Malformed(PathBuf),
    /// Other people than the owner may read the file.
    #[error("{path}: mode {mode:o} lets others read it; `chmod 600` it", path = path.display())]
    Readable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A sealed value that this key did not seal for this place.
    #[error("the sealed value `{0}` does not open: another key, another row, or changed bytes")]
    Open(String),
    /// The cipher refused its input (more than 64 GiB).
    #[error("the value for `{0}` can't be sealed")]
    Seal(String),
}

/// The key under which all others lie; 32 bytes in a file of mode 0600.
#[derive(Debug)]
pub struct Kek(Secret<32>);

impl Kek {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(random())
    }

    /// The text of the key file: 64 hex digits and a newline.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(self.0.expose()))))
    }

    /// Reads a key file, and refuses one that others may read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt as _;
        let read = |source| KeyError::Read { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(read)?);
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_end(), key.as_mut())
            .map_err(|_| KeyError::Malformed(path.to_owned()))?;
        Ok(Self(Secret::new(*key)))
    }

    /// The sealer for one purpose; purposes can't open each other's values.
    pub fn sealer(&self, purpose: &'static str) -> Sealer {
        Sealer::new(vec![self.derived(purpose)])
    }

    /// The same where `old` was in use before: what it sealed is opened too.
    pub fn sealer_after(&self, old: Option<&Self>, purpose: &'static str) -> Sealer {
        Sealer::new([Some(self), old].into_iter().flatten().map(|kek| kek.derived(purpose)).collect())
    }

    fn derived(&self, purpose: &'static str) -> Secret<32> {
        derive(self.0.expose(), b"ccnode kek/1", purpose.as_bytes())
    }

    /// Whether both are the same key.
    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// Seals values with AES-256-GCM under a key of their own each (HKDF over a random salt), so that no number of values wears
/// the key out. After a rotation it opens what was sealed before, and seals with the new key alone.
#[derive(Debug)]
pub struct Sealer {
    // The newest first.
    keys: RwLock<Arc<Vec<Secret<32>>>>,
}

impl Sealer {
    fn new(keys: Vec<Secret<32>>) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)) }
    }

    fn keys(&self) -> Arc<Vec<Secret<32>>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the keys of another sealer in place of its own.
    pub fn replace(&self, with: &Self) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = with.keys();
    }

    /// Seals anew what an older key sealed; `None` for what the newest did.
    pub fn reseal(&self, place: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
        let keys = self.keys();
        if keys.first().is_some_and(|key| open(key, place, sealed).is_ok()) {
            return Ok(None);
        }
        let plain = self.open(place, sealed)?;
        self.seal(place, &plain).map(Some)
    }

    /// Version, salt, ciphertext and tag; `place` (a row's identity) is the additional data.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut salt = [0; SALT];
        OsRng.fill_bytes(&mut salt);
        let keys = self.keys();
        let key = keys.first().ok_or_else(|| KeyError::Seal(place.to_owned()))?;
        let sealed = cipher(key, &salt)
            .encrypt(&Nonce::default(), Payload { msg: plain, aad: place.as_bytes() })
            .map_err(|_| KeyError::Seal(place.to_owned()))?;
        Ok([&[VERSION], salt.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let keys = self.keys();
        let opened = keys.iter().find_map(|key| open(key, place, sealed).ok());
        opened.ok_or_else(|| KeyError::Open(place.to_owned()))
    }
}

fn open(key: &Secret<32>, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let fail = || KeyError::Open(place.to_owned());
    let (&version, rest) = sealed.split_first().ok_or_else(fail)?;
    if version != VERSION {
        return Err(fail());
    }
    let (salt, body) = rest.split_at_checked(SALT).ok_or_else(fail)?;
    cipher(key, salt)
        .decrypt(&Nonce::default(), Payload { msg: body, aad: place.as_bytes() })
        .map(Zeroizing::new)
        .map_err(|_| fail())
}

// Each salt gives a key that is used once, therefore the nonce may be constant.
fn cipher(key: &Secret<32>, salt: &[u8]) -> Aes256Gcm {
    Aes256Gcm::new(derive(key.expose(), salt, b"ccnode seal/1").expose().into())
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes; 32 are always there")]
fn derive(key: &[u8], salt: &[u8], info: &[u8]) -> Secret<32> {
    let mut out = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), key).expand(info, out.as_mut()).expect("32 bytes");
    Secret::new(*out)
}

/// 32 random bytes of the operating system.
pub fn random() -> Secret<32> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(bytes.as_mut());
    Secret::new(*bytes)
}

/// What is stored of a grant's secret: its SHA-256. The secret has 256 random bits, so nothing slower is needed.
pub fn secret_hash(secret: &Secret<32>) -> ccnode_evidence::Sha256Digest {
    ccnode_evidence::Sha256Digest(Sha256::digest(secret.expose()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_in_its_place_and_nowhere_else() {
        let kek = Kek::generate();
        let sealer = kek.sealer("store");
        let sealed = sealer.seal("volumes/a", b"key").unwrap();
        assert_eq!(sealer.open("volumes/a", &sealed).unwrap().as_slice(), b"key");
        assert!(matches!(sealer.open("volumes/b", &sealed), Err(KeyError::Open(_))));
        assert!(kek.sealer("cookie").open("volumes/a", &sealed).is_err());
        assert!(Kek::generate().sealer("store").open("volumes/a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(sealer.open("volumes/a", &bad).is_err(), "byte {at}");
            assert!(sealer.open("volumes/a", &sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn after_a_rotation_the_old_key_opens_and_seals_no_more() {
        let (old, new) = (Kek::generate(), Kek::generate());
        let sealer = old.sealer("store");
        let sealed = sealer.seal("a", b"key").unwrap();
        sealer.replace(&new.sealer_after(Some(&old), "store"));
        assert_eq!(sealer.open("a", &sealed).unwrap().as_slice(), b"key");
        let anew = sealer.reseal("a", &sealed).unwrap().unwrap();
        assert_eq!(sealer.reseal("a", &anew).unwrap(), None, "it is the newest's");
        assert!(matches!(sealer.reseal("b", &sealed), Err(KeyError::Open(_))), "of another place");
        sealer.replace(&new.sealer_after(None, "store"));
        assert_eq!(sealer.open("a", &anew).unwrap().as_slice(), b"key");
        assert!(sealer.open("a", &sealed).is_err(), "the old key is gone");
    }

    #[test]
    fn key_file_is_strict() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek.key");
        let mode = |m| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(m)).unwrap();
        std::fs::write(&path, "00").unwrap();
        mode(0o600);
        assert!(matches!(Kek::load(&path), Err(KeyError::Malformed(_))));
        let kek = Kek::generate();
        std::fs::write(&path, kek.to_text().as_bytes()).unwrap();
        assert_eq!(Kek::load(&path).unwrap().0, kek.0);
        mode(0o640);
        assert!(matches!(Kek::load(&path), Err(KeyError::Readable { mode: 0o640, .. })));
    }
}
