//! The sealed, stateless session cookie: between challenge and attestation the service remembers nothing.

use crate::keys::{KeyError, Sealer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_appraise::{Offered, Rejection, TpmIdentity};
use ccnode_evidence::{Ek, EvidenceKind, Identity, Nonce, Secret, Sha256Digest, UnixTime};
use ccnode_protocol::{COOKIE, NodeName, PoolName};
use zeroize::Zeroizing;

const PLACE: &str = "session cookie/2";
/// Larger cookies are not opened, nor kept by a node: the largest certificate and key in base64, and the rest.
const LIMIT: usize = 8192;

/// How a session binds its evidence; settled by the challenge, and in the sealed cookie ever after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `ccnode/1`.
    Ccnode,
    /// The stock transcript.
    Stock,
}

impl Form {
    fn byte(self) -> u8 {
        match self {
            Self::Ccnode => 1,
            Self::Stock => 2,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Ccnode, Self::Stock].into_iter().find(|form| form.byte() == byte)
    }
}

/// What a challenge was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The transcript.
    pub form: Form,
    /// The challenge's nonce.
    pub nonce: Nonce,
    /// The kind of evidence that was announced.
    pub kind: EvidenceKind,
    /// The TPM that was offered, where one was.
    pub tpm: Option<OfferedTpm>,
    /// The pool that the node's configuration names; the stock clients' one where the transcript is theirs.
    pub pool: PoolName,
    /// When the challenge was made, seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
}

/// A TPM that was offered, and what it was asked to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferedTpm {
    /// Endorsement key and attestation key.
    pub identity: Identity,
    /// What the credential holds.
    pub secret: Secret<32>,
}

/// Why there is no session.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// No cookie of the name.
    #[error("the request has no cookie `{COOKIE}`")]
    Missing,
    /// Not one that this service sealed.
    #[error("the cookie `{COOKIE}` was not made by this service, or was changed")]
    Unknown,
    /// Sealed by this service, too long ago.
    #[error("the session ended at {}, and now is {}", UnixTime(*expires), UnixTime(*now))]
    Expired {
        /// Its end.
        expires: u64,
        /// The service's clock.
        now: u64,
    },
}

impl Session {
    /// The cookie's value.
    pub fn seal(&self, sealer: &Sealer) -> Result<String, KeyError> {
        sealer.seal(PLACE, &self.encode()).map(|bytes| B64.encode(bytes))
    }

    /// Opens the value of a `Cookie` header.
    pub fn open(sealer: &Sealer, header: Option<&str>, now: u64) -> Result<Self, CookieError> {
        let value = header.and_then(value).ok_or(CookieError::Missing)?;
        if value.len() > LIMIT {
            return Err(CookieError::Unknown);
        }
        let sealed = B64.decode(value).map_err(|_| CookieError::Unknown)?;
        let plain = sealer.open(PLACE, &sealed).map_err(|_| CookieError::Unknown)?;
        let session = Self::decode(&plain).ok_or(CookieError::Unknown)?;
        session.unexpired(now)?;
        Ok(session)
    }

    /// Whether the session still lives at `now`: asked when a request comes in, and again where it is decided.
    pub fn unexpired(&self, now: u64) -> Result<(), CookieError> {
        match self.expires < now {
            true => Err(CookieError::Expired { expires: self.expires, now }),
            false => Ok(()),
        }
    }

    /// Fixed parts first, then texts with their lengths: half the size of JSON.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(LIMIT));
        out.push(self.form.byte());
        out.extend(self.nonce.0);
        out.extend(self.issued.to_be_bytes());
        out.extend(self.expires.to_be_bytes());
        let mut part = |part: &[u8]| {
            // Longer ones than u16::MAX did not come through the limits of the request.
            out.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(part);
        };
        part(self.pool.as_str().as_bytes());
        part(self.kind.as_str().as_bytes());
        if let Some(OfferedTpm { identity, secret }) = &self.tpm {
            let (tag, ek) = match &identity.ek {
                Ek::Certificate(der) => (CERTIFICATE, der),
                Ek::Public(public) => (PUBLIC, public),
            };
            part(tag);
            part(ek);
            part(&identity.ak_public);
            part(secret.expose());
        }
        out
    }

    fn decode(plain: &[u8]) -> Option<Self> {
        let (form, rest) = plain.split_first()?;
        let (nonce, rest) = rest.split_first_chunk::<32>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (pool, rest) = part(rest)?;
        let (kind, rest) = part(rest)?;
        Some(Self {
            form: Form::of(*form)?,
            nonce: Nonce(*nonce),
            issued: u64::from_be_bytes(*issued),
            expires: u64::from_be_bytes(*expires),
            pool: std::str::from_utf8(pool).ok()?.parse().ok()?,
            kind: std::str::from_utf8(kind).ok()?.parse().ok()?,
            tpm: if rest.is_empty() { None } else { Some(OfferedTpm::decode(rest)?) },
        })
    }

    /// The TPM that was offered, read once more.
    pub fn identity(&self) -> Result<Option<TpmIdentity>, Rejection> {
        self.tpm.as_ref().map(|tpm| TpmIdentity::of(&tpm.identity)).transpose()
    }

    /// As appraisal knows it; `identity` is [`Session::identity`].
    pub fn challenge<'a>(&'a self, identity: Option<&'a TpmIdentity>) -> ccnode_appraise::Session<'a> {
        let tpm = identity.zip(self.tpm.as_ref());
        let tpm = tpm.map(|(identity, tpm)| Offered { identity, secret: &tpm.secret });
        ccnode_appraise::Session { nonce: &self.nonce, kind: self.kind, tpm }
    }

    /// What a node is called that has no name yet: by its TPM, or by this session where there is none.
    pub fn default_name(&self, identity: Option<&TpmIdentity>) -> NodeName {
        match identity {
            Some(identity) => identity.default_name(self.kind, &self.pool),
            None => session_name(&self.pool, &self.nonce),
        }
    }
}

/// A session of `ccnode/1`: what only such sessions may ask for takes this in a [`Session`]'s place.
#[derive(Debug)]
pub struct CcnodeSession(pub Session);

impl TryFrom<Session> for CcnodeSession {
    type Error = Session;

    fn try_from(session: Session) -> Result<Self, Session> {
        match session.form {
            Form::Ccnode => Ok(Self(session)),
            Form::Stock => Err(session),
        }
    }
}

/// The name of a node without a TPM: that session's alone.
pub fn session_name(pool: &PoolName, nonce: &Nonce) -> NodeName {
    ccnode_appraise::default_name(pool, &Sha256Digest::of(&nonce.0))
}

const CERTIFICATE: &[u8] = b"ek-cert";
const PUBLIC: &[u8] = b"ek";

impl OfferedTpm {
    fn decode(plain: &[u8]) -> Option<Self> {
        let (tag, rest) = part(plain)?;
        let (ek, rest) = part(rest)?;
        let (ak, rest) = part(rest)?;
        let (secret, rest) = part(rest)?;
        let ek = match tag {
            CERTIFICATE => Ek::Certificate(ek.to_vec()),
            PUBLIC => Ek::Public(ek.to_vec()),
            _ => return None,
        };
        let identity = Identity { ek, ak_public: ak.to_vec() };
        rest.is_empty().then(|| Some(Self { identity, secret: Secret::try_from(secret).ok()? }))?
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

/// Our cookie among those of a header (RFC 6265, section 4.2).
fn value(header: &str) -> Option<&str> {
    let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Kek;

    fn session() -> Session {
        Session {
            form: Form::Ccnode,
            nonce: Nonce([1; 32]),
            kind: EvidenceKind::AzSnpVtpm,
            tpm: Some(OfferedTpm {
                identity: Identity { ek: Ek::Certificate(vec![0; 4096]), ak_public: vec![0; 1024] },
                secret: Secret::new([2; 32]),
            }),
            pool: "workers".parse().unwrap(),
            issued: 90,
            expires: 100,
        }
    }

    #[test]
    fn largest_session_survives_and_ends() {
        let sealer = Kek::generate().sealer("cookie");
        let header = format!("a=b; {COOKIE}={}; c=d", session().seal(&sealer).unwrap());
        let open = |now| Session::open(&sealer, Some(&header), now);
        assert!(header.len() < LIMIT);
        assert_eq!(open(100).unwrap(), session());
        assert_eq!(open(101).unwrap_err(), CookieError::Expired { expires: 100, now: 101 });
    }

    #[test]
    fn every_offer_survives() {
        let identity = Identity { ek: Ek::Public(vec![3; 300]), ak_public: vec![4; 300] };
        let bare = Session { kind: EvidenceKind::Snp, tpm: None, ..session() };
        let keyed = OfferedTpm { identity, secret: Secret::new([5; 32]) };
        let stock = Session { form: Form::Stock, ..bare.clone() };
        for session in [Session { tpm: Some(keyed), ..session() }, bare, stock] {
            assert_eq!(Session::decode(&session.encode()), Some(session.clone()));
            let longer = [session.encode().as_slice(), &[0]].concat();
            assert_eq!(Session::decode(&longer), None);
        }
    }

    #[test]
    fn only_our_own_are_opened() {
        let sealer = Kek::generate().sealer("cookie");
        let open = |header: Option<&str>| Session::open(&sealer, header, 0).unwrap_err();
        assert_eq!(open(None), CookieError::Missing);
        assert_eq!(open(Some("other=1")), CookieError::Missing);
        assert_eq!(open(Some(&format!("{COOKIE}=x"))), CookieError::Unknown);
        assert_eq!(open(Some(&format!("{COOKIE}={}", "A".repeat(LIMIT + 1)))), CookieError::Unknown);
        let foreign = session().seal(&Kek::generate().sealer("cookie")).unwrap();
        assert_eq!(open(Some(&format!("{COOKIE}={foreign}"))), CookieError::Unknown);
    }

    #[test]
    fn t09_no_byte_can_be_changed() {
        let sealer = Kek::generate().sealer("cookie");
        let sealed = B64.decode(session().seal(&sealer).unwrap()).unwrap();
        for at in (0..sealed.len()).step_by(97) {
            let mut bad = sealed.clone();
            bad[at] ^= 0x10;
            let header = format!("{COOKIE}={}", B64.encode(bad));
            assert_eq!(Session::open(&sealer, Some(&header), 0).unwrap_err(), CookieError::Unknown);
        }
    }
}
