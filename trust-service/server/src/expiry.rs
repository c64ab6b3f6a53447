//! Warnings about the service's own certificates before they end.

use crate::pki;
use std::path::Path;

/// Certificates that the service or its administrators live on, in the service's folder.
pub const WATCHED: [&str; 4] = ["tls/ca.pem", "tls/cert.pem", "cluster-ca/cert.pem", "admin/cert.pem"];
const SOON_DAYS: i64 = 30;
const DAY: i64 = 24 * 3600;

/// What is to be said of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// Nothing.
    Far,
    /// It ends in so many days.
    Soon(i64),
    /// It ended so many days ago.
    Past(i64),
}

/// Judges the end of a PEM certificate at `now`, seconds since 1970.
pub fn judge(pem: &str, now: u64) -> Result<Expiry, pki::PkiError> {
    let der = pki::der_of_pem(pem)?;
    let end = pki::parse(&der)?.validity().not_after.timestamp();
    let left = end.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    Ok(match left {
        ..0 => Expiry::Past(left.saturating_neg() / DAY),
        _ if left < SOON_DAYS * DAY => Expiry::Soon(left / DAY),
        _ => Expiry::Far,
    })
}

/// When the watched certificates that can be read end, seconds since 1970.
pub fn ends(dir: &Path) -> Vec<(&'static str, i64)> {
    let end = |name: &'static str| {
        let der = pki::der_of_pem(&std::fs::read_to_string(dir.join(name)).ok()?).ok()?;
        Some((name, pki::parse(&der).ok()?.validity().not_after.timestamp()))
    };
    WATCHED.into_iter().filter_map(end).collect()
}

/// Logs a warning for each watched certificate that ends soon, and an error for each that ended.
pub fn warn(dir: &Path, now: u64) {
    for name in WATCHED {
        let Ok(pem) = std::fs::read_to_string(dir.join(name)) else { continue };
        match judge(&pem, now) {
            Ok(Expiry::Far) => {}
            Ok(Expiry::Soon(days)) => {
                tracing::warn!("{name} ends in {days} days: `ccnode-trust renew DIR`, unless it is a CA")
            }
            Ok(Expiry::Past(days)) => {
                tracing::error!("{name} ended {days} days ago: `ccnode-trust renew DIR`, unless it is a CA")
            }
            Err(error) => tracing::error!(%error, "{name} can't be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_soon_from_past() {
        let now = time::OffsetDateTime::now_utc();
        let (_, ca) = pki::ca("ca", now).unwrap();
        let pem = pki::admin("a", "r", &ca, now).unwrap().cert;
        let at = |days: i64| u64::try_from(now.unix_timestamp() + days * DAY).unwrap();
        assert_eq!(judge(&pem, at(0)).unwrap(), Expiry::Far);
        assert_eq!(judge(&pem, at(340)).unwrap(), Expiry::Soon(25));
        assert_eq!(judge(&pem, at(370)).unwrap(), Expiry::Past(5));
        assert!(judge("x", 0).is_err());
    }
}
