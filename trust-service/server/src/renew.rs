//! `ccnode-trust renew`: new certificates and keys for the service and its administrator, under the CA that is there.

use crate::files::replace;
use crate::pki::{self, CLUSTER_ADMIN, Identity, PkiError};
use crate::service::{OpenError, read};
use rcgen::{Issuer, KeyPair};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

/// Why nothing was renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// A file can't be read.
    #[error(transparent)]
    Read(OpenError),
    /// A certificate can't be read or made.
    #[error(transparent)]
    Pki(PkiError),
    /// The folder to make is there.
    #[error("{} is there already: name a folder that is not; nothing was changed", .0.display())]
    Exists(PathBuf),
    /// A file can't be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Replaces `tls/cert.pem` and `admin/cert.pem` with their keys. The names of the old certificate are kept, `more` are added.
pub fn renew(dir: &Path, more: &[String]) -> Result<(), RenewError> {
    let file = |name: &str| read(dir.join(name)).map_err(RenewError::Read);
    let issuer = issuer(dir)?;
    let mut names = names(&file("tls/cert.pem")?).map_err(RenewError::Pki)?;
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let now = OffsetDateTime::now_utc();
    let server = pki::server(&names, &issuer, now).map_err(RenewError::Pki)?;
    let admin = pki::admin("admin", CLUSTER_ADMIN, &issuer, now).map_err(RenewError::Pki)?;
    write(&dir.join("tls"), &server)?;
    write(&dir.join("admin"), &admin)
}

/// The service's CA.
pub(crate) fn issuer(dir: &Path) -> Result<Issuer<'static, KeyPair>, RenewError> {
    let file = |name: &str| read(dir.join(name)).map_err(RenewError::Read);
    let make = |error| RenewError::Pki(PkiError::Make(error));
    let key = KeyPair::from_pem(&file("tls/ca.key")?).map_err(make)?;
    Issuer::from_ca_cert_pem(&file("tls/ca.pem")?, key).map_err(make)
}

fn write(dir: &Path, made: &Identity) -> Result<(), RenewError> {
    for (name, content) in [("key.pem", made.key.expose()), ("cert.pem", made.cert.as_bytes())] {
        let path = dir.join(name);
        replace(&path, content).map_err(|source| RenewError::Write { path, source })?;
    }
    Ok(())
}

/// Alternative names of a certificate, as `pki::server` takes them.
fn names(pem: &str) -> Result<Vec<String>, PkiError> {
    let der = pki::der_of_pem(pem)?;
    let cert = pki::parse(&der)?;
    let extension = cert.subject_alternative_name().map_err(|_| PkiError::Malformed)?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => Some(IpAddr::from(four).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|sixteen| IpAddr::from(sixteen).to_string()),
        },
        _ => None,
    };
    Ok(extension.iter().flat_map(|e| &e.value.general_names).filter_map(name).collect())
}
