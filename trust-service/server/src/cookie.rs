//! The sealed, stateless session cookie: between challenge and attestation the service remembers nothing.

use crate::keys::{KeyError, Sealer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_evidence::{Base64Url, Nonce, Secret};
use ccnode_protocol::{COOKIE, PoolName};
use zeroize::Zeroizing;

const PLACE: &str = "session cookie/1";
/// Larger cookies are not opened, nor kept by a node: the largest certificate and key in base64, and the rest.
const LIMIT: usize = 8192;

/// What a challenge was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The challenge's nonce.
    pub nonce: Nonce,
    /// The EK certificate that was offered, DER.
    pub ek_cert: Base64Url,
    /// The attestation key that was offered, TPMT_PUBLIC.
    pub ak: Base64Url,
    /// What the credential holds.
    pub secret: Secret<32>,
    /// The pool that the node's configuration names.
    pub pool: PoolName,
    /// When the challenge was made, seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
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
    #[error("the session ended at {expires} (seconds since 1970), and now is {now}")]
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

    /// Fixed parts first, then three texts with their lengths: half the size of JSON.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(LIMIT));
        out.extend(self.nonce.0);
        out.extend(self.secret.expose());
        out.extend(self.issued.to_be_bytes());
        out.extend(self.expires.to_be_bytes());
        for part in [self.pool.as_str().as_bytes(), &self.ek_cert.0, &self.ak.0] {
            // Longer ones than u16::MAX did not come through the limits of the request.
            out.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(part);
        }
        out
    }

    fn decode(plain: &[u8]) -> Option<Self> {
        let (nonce, rest) = plain.split_first_chunk::<32>()?;
        let (secret, rest) = rest.split_first_chunk::<32>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (pool, rest) = part(rest)?;
        let (ek_cert, rest) = part(rest)?;
        let (ak, rest) = part(rest)?;
        let pool = std::str::from_utf8(pool).ok()?.parse().ok()?;
        rest.is_empty().then(|| Self {
            nonce: Nonce(*nonce),
            secret: Secret::new(*secret),
            issued: u64::from_be_bytes(*issued),
            expires: u64::from_be_bytes(*expires),
            pool,
            ek_cert: ek_cert.to_vec().into(),
            ak: ak.to_vec().into(),
        })
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
            nonce: Nonce([1; 32]),
            ek_cert: vec![0; 4096].into(),
            ak: vec![0; 1024].into(),
            secret: Secret::new([2; 32]),
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
