//! The envelope: DSSE over a dated list of items; opening it checks signature, date and age.

use crate::{Item, KeyError, PublicKey, SecretKey};
use ccnode_evidence::{Base64Std, Sha256Digest, UnixTime};
use serde::{Deserialize, Serialize};

/// The envelope's `payloadType`.
pub const PAYLOAD_TYPE: &str = "application/vnd.ccnode.bundle+json";
/// The largest bundle that is read, bytes: some ten thousand certificates.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Signatures that are looked at.
const MAX_SIGNATURES: usize = 16;
/// Seconds that a bundle may be from the future: clocks differ.
const SKEW: u64 = 300;

/// How old a bundle may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Freshness {
    /// Seconds since it was made; `None` leaves its own `expires` alone to decide.
    pub max_age: Option<u64>,
}

/// Why a bundle is not believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// More than [`MAX_BYTES`].
    #[error("{0} bytes are more than a bundle has ({MAX_BYTES})")]
    Size(usize),
    /// Not a DSSE envelope.
    #[error("not a signed bundle: {0}")]
    Envelope(#[source] serde_json::Error),
    /// An envelope of something else.
    #[error("the envelope holds `{0}`, not {PAYLOAD_TYPE}")]
    PayloadType(String),
    /// More signatures than anybody needs.
    #[error("{0} signatures are too many")]
    Signatures(usize),
    /// None of the pinned keys signed it.
    #[error("none of the {pinned} pinned keys signed it; it names {}", words(named))]
    Untrusted {
        /// How many keys are pinned.
        pinned: usize,
        /// The ids that the envelope names, as far as they are ids.
        named: Vec<Sha256Digest>,
    },
    /// The signed payload is no list of items of a version that is read.
    #[error("the signed payload can't be read: {0}")]
    Payload(#[source] serde_json::Error),
    /// A version that is not read.
    #[error("bundle of version {0}; version 1 is read")]
    Version(u32),
    /// Made after now.
    #[error("made at {made}, and now is {now}: correct the clock of whoever is wrong")]
    Future {
        /// When it says that it was made.
        made: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// Past its own end.
    #[error("ended at {expires}, and now is {now}: make a new one with `ccnode bundle make`")]
    Expired {
        /// Its end.
        expires: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// Older than the policy allows.
    #[error("{age} s old, {max} at most: make a new one with `ccnode bundle make`")]
    Stale {
        /// Seconds since it was made.
        age: u64,
        /// Seconds allowed.
        max: u64,
    },
    /// A key can't be used.
    #[error(transparent)]
    Key(KeyError),
}

fn words(ids: &[Sha256Digest]) -> String {
    match ids {
        [] => "none".to_owned(),
        _ => ids.iter().map(Sha256Digest::hex).collect::<Vec<_>>().join(", "),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload_type: String,
    payload: Base64Std,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: Base64Std,
}

impl Envelope {
    fn named(&self) -> Vec<Sha256Digest> {
        self.signatures.iter().filter_map(|s| s.keyid.parse().ok()).collect()
    }
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// What is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Draft {
    /// Version of this form: 1.
    pub version: u32,
    /// When it was made, seconds since 1970.
    pub created: u64,
    /// After this second it is worthless.
    pub expires: u64,
    /// The collateral.
    pub items: Vec<Item>,
}

impl Draft {
    /// A list that is made at `created` and good until `expires`.
    pub fn new(created: UnixTime, expires: UnixTime, items: Vec<Item>) -> Self {
        Self { version: 1, created: created.0, expires: expires.0, items }
    }

    /// The envelope, signed by each of `keys`.
    pub fn seal(&self, keys: &[SecretKey]) -> Result<Vec<u8>, BundleError> {
        let payload = serde_json::to_vec(self).map_err(BundleError::Payload)?;
        let message = pre_authentication(&payload);
        let sign = |key: &SecretKey| {
            Ok(Signature { keyid: key.public().id()?.hex(), sig: key.sign(&message).into() })
        };
        let signatures = keys.iter().map(sign).collect::<Result<_, _>>().map_err(BundleError::Key)?;
        let envelope =
            Envelope { payload_type: PAYLOAD_TYPE.to_owned(), payload: payload.into(), signatures };
        let mut text = serde_json::to_vec(&envelope).map_err(BundleError::Envelope)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// A bundle whose signature, date and age were judged. [`open`] alone makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    draft: Draft,
    signer: Sha256Digest,
}

impl Bundle {
    /// All of it.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The collateral.
    pub fn items(&self) -> &[Item] {
        &self.draft.items
    }

    /// When it was made.
    pub fn created(&self) -> UnixTime {
        UnixTime(self.draft.created)
    }

    /// After this it is worthless.
    pub fn expires(&self) -> UnixTime {
        UnixTime(self.draft.expires)
    }

    /// Id of the pinned key that signed it.
    pub fn signer(&self) -> Sha256Digest {
        self.signer
    }

    /// Whether it is still good at `now`: a service that runs for months asks again.
    pub fn fresh(&self, now: UnixTime, freshness: Freshness) -> Result<(), BundleError> {
        fresh(&self.draft, now, freshness)
    }
}

/// Reads a bundle that one of `keys` must have signed, as of `now`.
pub fn open(
    bytes: &[u8],
    keys: &[PublicKey],
    now: UnixTime,
    freshness: Freshness,
) -> Result<Bundle, BundleError> {
    let envelope = envelope(bytes)?;
    let message = pre_authentication(&envelope.payload.0);
    // `keyid` is a hint: every pinned key is tried.
    let signed = |key: &&PublicKey| envelope.signatures.iter().any(|s| key.verifies(&message, &s.sig.0));
    let Some(key) = keys.iter().find(signed) else {
        return Err(BundleError::Untrusted { pinned: keys.len(), named: envelope.named() });
    };
    let draft = draft(&envelope.payload.0)?;
    fresh(&draft, now, freshness)?;
    Ok(Bundle { draft, signer: key.id().map_err(BundleError::Key)? })
}

/// What an envelope holds and the key ids it names, for people who look: nothing of it is proven.
pub fn inspect(bytes: &[u8]) -> Result<(Draft, Vec<Sha256Digest>), BundleError> {
    let envelope = envelope(bytes)?;
    Ok((draft(&envelope.payload.0)?, envelope.named()))
}

fn envelope(bytes: &[u8]) -> Result<Envelope, BundleError> {
    if bytes.len() > MAX_BYTES {
        return Err(BundleError::Size(bytes.len()));
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(BundleError::Envelope)?;
    if envelope.payload_type != PAYLOAD_TYPE {
        let text =
            envelope.payload_type.chars().filter(|c| !ccnode_evidence::is_obeyed(*c)).take(80).collect();
        return Err(BundleError::PayloadType(text));
    }
    if envelope.signatures.len() > MAX_SIGNATURES {
        return Err(BundleError::Signatures(envelope.signatures.len()));
    }
    Ok(envelope)
}

fn draft(payload: &[u8]) -> Result<Draft, BundleError> {
    let head: Head = serde_json::from_slice(payload).map_err(BundleError::Payload)?;
    if head.version != 1 {
        return Err(BundleError::Version(head.version));
    }
    serde_json::from_slice(payload).map_err(BundleError::Payload)
}

fn fresh(draft: &Draft, now: UnixTime, freshness: Freshness) -> Result<(), BundleError> {
    if draft.created > now.0.saturating_add(SKEW) {
        return Err(BundleError::Future { made: UnixTime(draft.created), now });
    }
    if draft.expires < now.0 {
        return Err(BundleError::Expired { expires: UnixTime(draft.expires), now });
    }
    let age = now.0.saturating_sub(draft.created);
    match freshness.max_age {
        Some(max) if age > max => Err(BundleError::Stale { age, max }),
        _ => Ok(()),
    }
}

/// DSSE's pre-authentication encoding: what is signed covers the type as well.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::OsRng;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const ANY_AGE: Freshness = Freshness { max_age: None };

    fn draft() -> Draft {
        Draft::new(UnixTime(NOW.0 - 100), UnixTime(NOW.0 + 100), Vec::new())
    }

    fn sealed(draft: &Draft) -> (Vec<u8>, PublicKey) {
        let key = SecretKey::generate(&mut OsRng);
        (draft.seal(std::slice::from_ref(&key)).unwrap(), key.public())
    }

    #[test]
    fn opens_for_any_pinned_key() {
        let other = SecretKey::generate(&mut OsRng).public();
        let (bytes, key) = sealed(&draft());
        let bundle = open(&bytes, &[other, key], NOW, ANY_AGE).unwrap();
        assert_eq!((bundle.signer(), bundle.draft), (key.id().unwrap(), draft()));
        let got = open(&bytes, &[other], NOW, ANY_AGE);
        assert!(
            matches!(&got, Err(BundleError::Untrusted { pinned: 1, named }) if *named == [key.id().unwrap()])
        );
        assert!(matches!(open(&bytes, &[], NOW, ANY_AGE), Err(BundleError::Untrusted { pinned: 0, .. })));
    }

    #[test]
    fn nothing_signed_can_be_changed() {
        let (bytes, key) = sealed(&draft());
        let mut envelope: Envelope = serde_json::from_slice(&bytes).unwrap();
        let good = envelope.payload.0.clone();
        for i in 0..good.len() {
            envelope.payload.0 = good.clone();
            envelope.payload.0[i] ^= 1;
            let bytes = serde_json::to_vec(&envelope).unwrap();
            assert!(matches!(open(&bytes, &[key], NOW, ANY_AGE), Err(BundleError::Untrusted { .. })));
        }
        envelope.payload.0 = good;
        envelope.payload_type = "application/json".into();
        let bytes = serde_json::to_vec(&envelope).unwrap();
        assert!(matches!(open(&bytes, &[key], NOW, ANY_AGE), Err(BundleError::PayloadType(_))));
        envelope.payload_type = PAYLOAD_TYPE.into();
        let one = Signature { keyid: String::new(), sig: envelope.signatures[0].sig.clone() };
        envelope.signatures.resize_with(17, || Signature { keyid: String::new(), sig: one.sig.clone() });
        let bytes = serde_json::to_vec(&envelope).unwrap();
        assert!(matches!(open(&bytes, &[key], NOW, ANY_AGE), Err(BundleError::Signatures(17))));
    }

    #[test]
    fn age_counts() {
        let (bytes, key) = sealed(&draft());
        let at = |now, max_age| open(&bytes, &[key], UnixTime(now), Freshness { max_age });
        assert!(at(NOW.0, Some(100)).is_ok());
        assert!(matches!(at(NOW.0, Some(99)), Err(BundleError::Stale { age: 100, max: 99 })));
        assert!(at(NOW.0 + 100, None).is_ok());
        assert!(matches!(at(NOW.0 + 101, None), Err(BundleError::Expired { .. })));
        assert!(at(NOW.0 - 400, None).is_ok(), "clocks differ by minutes");
        assert!(matches!(at(NOW.0 - 401, None), Err(BundleError::Future { .. })));
        let bundle = at(NOW.0, None).unwrap();
        let later = bundle.fresh(UnixTime(NOW.0 + 101), ANY_AGE);
        assert!(matches!(later, Err(BundleError::Expired { .. })));
    }

    #[test]
    fn other_forms_are_named() {
        let (bytes, key) = sealed(&Draft { version: 2, ..draft() });
        assert!(matches!(open(&bytes, &[key], NOW, ANY_AGE), Err(BundleError::Version(2))));
        assert!(matches!(open(b"{}", &[key], NOW, ANY_AGE), Err(BundleError::Envelope(_))));
        let large = vec![b' '; MAX_BYTES + 1];
        assert!(matches!(open(&large, &[key], NOW, ANY_AGE), Err(BundleError::Size(_))));
        let odd = SecretKey::generate(&mut OsRng);
        let payload = br#"{"version":1,"other":2}"#;
        let envelope = Envelope {
            payload_type: PAYLOAD_TYPE.into(),
            payload: payload.to_vec().into(),
            signatures: vec![Signature {
                keyid: String::new(),
                sig: odd.sign(&pre_authentication(payload)).into(),
            }],
        };
        let bytes = serde_json::to_vec(&envelope).unwrap();
        assert!(matches!(open(&bytes, &[odd.public()], NOW, ANY_AGE), Err(BundleError::Payload(_))));
    }

    #[test]
    fn keys_survive_pem_and_stay_hidden() {
        let key = SecretKey::generate(&mut OsRng);
        let pem = key.to_pem().unwrap();
        let again = SecretKey::from_pem(&pem).unwrap();
        assert_eq!(PublicKey::from_pem(&key.public().to_pem().unwrap()).unwrap(), again.public());
        assert_eq!(format!("{key:?}"), "SecretKey(redacted)");
        assert!(matches!(SecretKey::from_pem("x"), Err(KeyError::Secret(_))));
        assert!(matches!(PublicKey::from_pem("x"), Err(KeyError::Public(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256)) {
            let _ = open(&bytes, &[], NOW, ANY_AGE);
        }
    }
}
