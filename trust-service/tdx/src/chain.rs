//! Certificate chains of Intel's PKI: read from PEM, and led to the pinned root.

use crate::Root;
use crate::ecdsa::Point;
use ccnode_evidence::{Sha256Digest, UnixTime};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use std::fmt;
use std::time::Duration;
use webpki::ring::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Extension};

/// Intel signs with nothing else.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[ECDSA_P256_SHA256];
/// Longest chain: PCK, PCK CA, root.
const MAX_CERTS: usize = 3;

/// Which chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainKind {
    /// PCK certificate, PCK CA, root: from the quote.
    Pck,
    /// Signer of the TCB info, root: from the collateral.
    TcbInfo,
    /// Signer of the QE identity, root: from the collateral.
    QeIdentity,
    /// PCK CA, root: from the collateral, above the list of revoked PCK certificates.
    PckCrl,
}

impl fmt::Display for ChainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pck => "PCK chain",
            Self::TcbInfo => "issuer chain of the TCB info",
            Self::QeIdentity => "issuer chain of the QE identity",
            Self::PckCrl => "issuer chain of the PCK CRL",
        })
    }
}

impl ChainKind {
    /// What each certificate must be, without the root.
    fn roles(self) -> &'static [CertRole] {
        match self {
            Self::Pck => &[CertRole::Pck, CertRole::PckCa],
            Self::TcbInfo | Self::QeIdentity => &[CertRole::TcbSigner],
            Self::PckCrl => &[CertRole::PckCa],
        }
    }
}

/// What a certificate is for; Intel says it by the common name (PCK Certificate Profile; section 4 of the TCB signing profile).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertRole {
    /// Provisioning certification key of one platform at one TCB.
    Pck,
    /// CA of PCK certificates: processor or platform.
    PckCa,
    /// Signer of TCB infos and enclave identities.
    TcbSigner,
}

impl CertRole {
    /// Parts that the common name must have.
    fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::Pck => &["SGX PCK Certificate"],
            Self::PckCa => &["SGX PCK ", " CA"],
            Self::TcbSigner => &["SGX TCB Signing"],
        }
    }
}

impl fmt::Display for CertRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pck => "a PCK certificate",
            Self::PckCa => "a PCK CA",
            Self::TcbSigner => "a TCB signing certificate",
        })
    }
}

/// Why a chain is not taken.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    /// Not PEM.
    #[error("not PEM")]
    Pem,
    /// Too few or too many certificates.
    #[error("{seen} certificates; {due} and the root are due")]
    Length {
        /// How many there are.
        seen: usize,
        /// How many are due without the root, which may be left out.
        due: usize,
    },
    /// A certificate can't be read.
    #[error("certificate {position} is not an X.509 certificate in DER with a P-256 key")]
    Certificate {
        /// Position, from 0.
        position: usize,
    },
    /// The chain ends in another root, whatever that is called.
    #[error("it ends in `{subject}` with key {seen}; the trusted root's key is {wanted}")]
    UntrustedRoot {
        /// Subject of the last certificate.
        subject: String,
        /// SHA-256 of its SubjectPublicKeyInfo.
        seen: Sha256Digest,
        /// That of the trusted root.
        wanted: Sha256Digest,
    },
    /// A certificate made for something else.
    #[error("`{subject}` stands where {wanted} is due")]
    Role {
        /// Its subject.
        subject: String,
        /// What is due.
        wanted: CertRole,
    },
    /// A certificate's issuer is not the next one of the chain, or its signature does not verify.
    #[error("the chain of `{subject}` does not lead to the trusted root: {error}")]
    NotIssued {
        /// Subject of the leaf.
        subject: String,
        /// As the chain verifier says it.
        error: webpki::Error,
    },
    /// A certificate is outside its validity.
    #[error("`{subject}` is valid from {not_before} to {not_after}, and now is {now}")]
    Validity {
        /// Whose certificate.
        subject: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// The chain verifier does not take a certificate: another algorithm, an unknown critical extension, no CA.
    #[error("{0}")]
    Unacceptable(webpki::Error),
}

/// A certificate as far as it is looked at here; nothing is said of its issuer yet.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// For people.
    pub(crate) subject: String,
    /// DER of the subject.
    pub(crate) name: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) key: Sha256Digest,
    pub(crate) point: Point,
    pub(crate) signs_crls: bool,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    common_name: String,
}

impl Facts {
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let cert = X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty())?.1;
        let common_name = cert.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let spki = cert.public_key();
        Some(Self {
            subject: printable(&cert.subject().to_string()),
            common_name: common_name.unwrap_or_default().to_owned(),
            name: cert.subject().as_raw().to_vec(),
            serial: cert.raw_serial().to_vec(),
            key: Sha256Digest::of(spki.raw),
            point: Point::from_sec1(&spki.subject_public_key.data)?,
            signs_crls: cert.key_usage().ok()?.is_some_and(|usage| usage.value.crl_sign()),
            not_before: unix(cert.validity().not_before),
            not_after: unix(cert.validity().not_after),
        })
    }

    pub(crate) fn valid(&self, now: UnixTime) -> Result<(), ChainError> {
        let Self { not_before, not_after, .. } = *self;
        if (not_before..=not_after).contains(&now) {
            return Ok(());
        }
        Err(ChainError::Validity { subject: self.subject.clone(), not_before, not_after, now })
    }
}

/// A chain that leads to the root by name, signature, role and validity; revocation is [`crate::crl::check`]'s.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    facts: Vec<Facts>,
    root: Sha256Digest,
}

impl Checked {
    /// The certificate at the end.
    pub(crate) fn leaf(&self) -> Option<&Facts> {
        self.facts.first()
    }

    /// Each certificate with the key of its issuer.
    pub(crate) fn with_issuers(&self) -> impl Iterator<Item = (&Facts, Sha256Digest)> {
        let issuers = self.facts.iter().skip(1).map(|f| f.key).chain([self.root]);
        self.facts.iter().zip(issuers)
    }

    pub(crate) fn valid(&self, now: UnixTime) -> Result<(), ChainError> {
        self.facts.iter().try_for_each(|f| f.valid(now))
    }
}

/// The certificates of a PEM text, in its order.
pub(crate) fn read_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    // One more than there may be, so that the excess shows.
    let certs = CertificateDer::pem_slice_iter(pem).take(MAX_CERTS + 1);
    certs.collect::<Result<_, _>>().map_err(|_| ChainError::Pem)
}

/// Checks a whole chain: length, root by its key, roles, validity and signatures.
///
/// `known_ca` was led to this very root by [`check_ca`]: where the chain has the same certificate, its signature is not
/// verified again.
pub(crate) fn check(
    kind: ChainKind,
    certs: &[CertificateDer<'static>],
    root: &Root,
    known_ca: Option<&CertificateDer<'static>>,
    now: UnixTime,
) -> Result<Checked, ChainError> {
    let facts = shape(kind, certs, root)?;
    root.facts.valid(now)?;
    let chain = Checked { facts, root: root.key() };
    chain.valid(now)?;
    let (Some((leaf, others)), Some(facts)) = (certs.split_first(), chain.leaf()) else {
        return Err(ChainError::Length { seen: 0, due: kind.roles().len() });
    };
    let (anchor, cas) = match known_ca.filter(|ca| kind == ChainKind::Pck && others.first() == Some(ca)) {
        Some(ca) => (webpki::anchor_from_trusted_cert(ca).map_err(ChainError::Unacceptable)?, &[][..]),
        None => (root.anchor.clone(), others.get(..kind.roles().len() - 1).unwrap_or_default()),
    };
    let cert = EndEntityCert::try_from(leaf).map_err(ChainError::Unacceptable)?;
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.0));
    let anchors = [anchor];
    // Intel's certificates have no extended key usage; this takes such, and refuses others but this one.
    let usage = KeyUsage::server_auth();
    match cert.verify_for_usage(ALGORITHMS, &anchors, cas, time, usage, None, None) {
        Ok(_) => Ok(chain),
        Err(error @ (webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey)) => {
            Err(ChainError::NotIssued { subject: facts.subject.clone(), error })
        }
        Err(error) => Err(ChainError::Unacceptable(error)),
    }
}

/// Checks a chain of one CA below the root: the issuer of PCK certificates and of their list of revoked ones.
///
/// The chain verifier takes no CA as the end of a chain, so this one link is checked here.
pub(crate) fn check_ca(
    certs: &[CertificateDer<'static>],
    root: &Root,
    now: UnixTime,
) -> Result<Checked, ChainError> {
    let chain = Checked { facts: shape(ChainKind::PckCrl, certs, root)?, root: root.key() };
    root.facts.valid(now)?;
    chain.valid(now)?;
    let ca = certs.first().ok_or(ChainError::Length { seen: 0, due: 1 })?;
    // Strict where the reader below is not: the algorithm outside, which nothing signs, is the one inside byte for byte.
    EndEntityCert::try_from(ca).map_err(ChainError::Unacceptable)?;
    let Ok((_, cert)) = X509Certificate::from_der(ca) else {
        return Err(ChainError::Certificate { position: 0 });
    };
    if !cert.is_ca() {
        return Err(ChainError::Unacceptable(webpki::Error::EndEntityUsedAsCa));
    }
    let unknown = |e: &&X509Extension<'_>| e.critical && e.parsed_extension().unsupported();
    if cert.extensions().iter().any(|e| unknown(&e)) {
        return Err(ChainError::Unacceptable(webpki::Error::UnsupportedCriticalExtension));
    }
    let subject = || printable(&cert.subject().to_string());
    if cert.issuer().as_raw() != root.facts.name {
        return Err(ChainError::NotIssued { subject: subject(), error: webpki::Error::UnknownIssuer });
    }
    if !root.facts.point.signed_der(cert.tbs_certificate.as_ref(), &cert.signature_value.data) {
        let error = webpki::Error::InvalidSignatureForPublicKey;
        return Err(ChainError::NotIssued { subject: subject(), error });
    }
    Ok(chain)
}

/// Length, root and roles; the facts of all certificates but the root.
fn shape(kind: ChainKind, certs: &[CertificateDer<'static>], root: &Root) -> Result<Vec<Facts>, ChainError> {
    let roles = kind.roles();
    if certs.len() != roles.len() && certs.len() != roles.len() + 1 {
        return Err(ChainError::Length { seen: certs.len(), due: roles.len() });
    }
    let read = |(position, der): (usize, &CertificateDer<'_>)| {
        Facts::read(der).ok_or(ChainError::Certificate { position })
    };
    let mut facts: Vec<Facts> = certs.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    if facts.len() > roles.len()
        && let Some(last) = facts.pop()
        && last.key != root.key()
    {
        return Err(ChainError::UntrustedRoot { subject: last.subject, seen: last.key, wanted: root.key() });
    }
    for (fact, role) in facts.iter().zip(roles) {
        if !role.phrases().iter().all(|phrase| fact.common_name.contains(phrase)) {
            return Err(ChainError::Role { subject: fact.subject.clone(), wanted: *role });
        }
    }
    Ok(facts)
}

pub(crate) fn unix(time: x509_parser::time::ASN1Time) -> UnixTime {
    UnixTime(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// Foreign text, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    ccnode_evidence::printable(text, 200)
}
