//! `ccnode-trust client`: a certificate with a role, in a folder that its owner takes along.

use crate::files::create;
use crate::pki;
use crate::renew::{RenewError, issuer};
use crate::service::read;
use ccnode_evidence::Sha256Digest;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use time::OffsetDateTime;

/// Makes the folder `out`, which must be absent, in the form of the folder `admin`. Answers the SHA-256 of the certificate's
/// SubjectPublicKeyInfo.
pub fn issue(dir: &Path, name: &str, role: &str, out: &Path) -> Result<Sha256Digest, RenewError> {
    let made = pki::admin(name, role, &issuer(dir)?, OffsetDateTime::now_utc()).map_err(RenewError::Pki)?;
    let file = |name: &str| read(dir.join(name)).map_err(RenewError::Read);
    let (ca, url) = (file("admin/ca.pem")?, file("admin/url")?);
    let fail = |path: &Path, source: io::Error| RenewError::Write { path: path.to_owned(), source };
    DirBuilder::new().mode(0o700).create(out).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => RenewError::Exists(out.to_owned()),
        _ => fail(out, e),
    })?;
    let parts = [
        ("key.pem", made.key.expose()),
        ("cert.pem", made.cert.as_bytes()),
        ("ca.pem", ca.as_bytes()),
        ("url", url.as_bytes()),
    ];
    parts.into_iter().try_for_each(|(name, content)| {
        let path = out.join(name);
        create(&path, content).map_err(|e| fail(&path, e))
    })?;
    let der = pki::der_of_pem(&made.cert).map_err(RenewError::Pki)?;
    let cert = pki::parse(&der).map_err(RenewError::Pki)?;
    Ok(Sha256Digest::of(cert.public_key().raw))
}
