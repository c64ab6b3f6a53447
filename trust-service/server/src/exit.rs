//! Exit codes of `ccnode-trust`, as all tools have them.

use crate::audit::AuditFault;
use crate::init::InitError;
use crate::pki::PkiError;
use crate::renew::RenewError;
use crate::rotate::RotateError;
use crate::serve::ServeError;
use crate::service::OpenError;
use crate::store::StoreError;
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A folder that `init` did not make.
#[derive(Debug, thiserror::Error)]
#[error("{} holds no {}: make a service with `ccnode-trust init` first", .0.display(), crate::config::FILE)]
pub struct Unmade(pub PathBuf);

impl Unmade {
    /// Whether the folder has what `init` makes first.
    pub fn check(dir: &Path) -> Result<&Path, Self> {
        match dir.join(crate::config::FILE).exists() {
            true => Ok(dir),
            false => Err(Self(dir.to_owned())),
        }
    }
}

const INTERNAL: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const LATER: u8 = 4;
const OPERATOR: u8 = 5;

/// The code of the innermost error of a chain that has one; 1 where none has.
pub fn code<'e>(chain: impl Iterator<Item = &'e (dyn Error + 'static)>) -> u8 {
    chain.filter_map(one).last().unwrap_or(INTERNAL)
}

fn one(error: &(dyn Error + 'static)) -> Option<u8> {
    if error.is::<Unmade>() {
        return Some(USAGE);
    }
    if let Some(error) = error.downcast_ref::<AuditFault>() {
        return Some(if matches!(error, AuditFault::Store(_)) { INTERNAL } else { REFUSED });
    }
    if let Some(error) = error.downcast_ref::<InitError>() {
        return match error {
            InitError::Exists(_) | InitError::ClusterServer(_) => Some(USAGE),
            InitError::File { source, .. } if source.kind() == ErrorKind::NotFound => Some(USAGE),
            InitError::Pki(error) => Some(pki(error)),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<RenewError>() {
        return match error {
            RenewError::Pki(error) => Some(pki(error)),
            RenewError::Read(_) => Some(OPERATOR),
            RenewError::Exists(_) => Some(USAGE),
            RenewError::Write { .. } => None,
        };
    }
    if let Some(error) = error.downcast_ref::<ServeError>() {
        return match error {
            ServeError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => Some(LATER),
            ServeError::Open(error) => open(error),
            _ => Some(OPERATOR),
        };
    }
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return open(error);
    }
    match error.downcast_ref::<RotateError>()? {
        RotateError::Pending(_) => Some(LATER),
        RotateError::Write { .. } => None,
        _ => Some(OPERATOR),
    }
}

/// Names are what the command line said; other certificates are the folder's.
fn pki(error: &PkiError) -> u8 {
    if matches!(error, PkiError::Name(_)) { USAGE } else { OPERATOR }
}

/// What is wrong with a folder is its operator's; what fails in the database is not.
fn open(error: &OpenError) -> Option<u8> {
    match error {
        OpenError::Store(StoreError::Migrate(_)) => Some(OPERATOR),
        OpenError::Store(_) => None,
        _ => Some(OPERATOR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn of(error: impl Into<anyhow::Error>) -> u8 {
        code(error.into().context("the command failed").chain())
    }

    #[test]
    fn each_kind_of_failure_has_its_code() {
        assert_eq!(of(Unmade("x".into())), USAGE);
        assert_eq!(of(InitError::Exists("x".into())), USAGE);
        let missing = io::Error::from(ErrorKind::NotFound);
        assert_eq!(of(InitError::File { path: "api-ca.pem".into(), source: missing }), USAGE);
        let full = io::Error::from(ErrorKind::StorageFull);
        assert_eq!(of(InitError::File { path: "x".into(), source: full }), INTERNAL);
        assert_eq!(of(RenewError::Exists("x".into())), USAGE);
        assert_eq!(of(RenewError::Pki(PkiError::Name("a b".into()))), USAGE);
        assert_eq!(of(AuditFault::Changed(3)), REFUSED);
        assert_eq!(of(AuditFault::Store(StoreError::Closed)), INTERNAL);
        let address = "127.0.0.1:1".parse().unwrap();
        let listen = |kind: ErrorKind| ServeError::Listen { address, source: io::Error::from(kind) };
        assert_eq!(of(listen(ErrorKind::AddrInUse)), LATER);
        assert_eq!(of(listen(ErrorKind::PermissionDenied)), OPERATOR);
        assert_eq!(of(RotateError::Pending("kek.old")), LATER);
        assert_eq!(of(RotateError::NotStaged), OPERATOR);
        let read =
            || OpenError::Read { path: "kek.key".into(), source: io::Error::from(ErrorKind::NotFound) };
        assert_eq!((of(read()), of(ServeError::Open(read()))), (OPERATOR, OPERATOR));
        assert_eq!(of(OpenError::Store(StoreError::Closed)), INTERNAL);
        assert_eq!(of(io::Error::from(ErrorKind::Other)), INTERNAL);
    }
}
