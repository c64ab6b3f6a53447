//! Certificates as evidence and administrators bring them: PEM, DER, several in a row, or the table of an extended report.

use crate::ca::CaCertificate;
use crate::crl::{Crl, CrlError};
use crate::vek::{self, VekCertificate};
use crate::x509::{self, CertError};
use ccnode_evidence::{SnpCertificate, SnpCertificateType, SnpTableError, read_snp_table};
use rustls_pki_types::pem::{PemObject as _, SectionKind};

/// Most bytes of one source that are read.
pub const MAX_BYTES: usize = 1 << 20;
/// Most certificates and lists of one source.
pub const MAX_ITEMS: usize = 64;

/// Why bytes hold no certificates.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificatesError {
    /// Longer than what is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// More certificates than are read.
    #[error("more than {MAX_ITEMS} certificates")]
    Items,
    /// Text that is not PEM.
    #[error("not PEM")]
    Pem,
    /// A PEM section that is neither certificate nor revocation list.
    #[error("a PEM section that is neither certificate nor revocation list")]
    Section,
    /// Bytes that are no DER element.
    #[error("not DER at byte {0}")]
    Der(usize),
    /// The certificate table can't be read.
    #[error("certificate table: {0}")]
    Table(#[from] SnpTableError),
    /// A certificate that can't be read.
    #[error("certificate {index}: {reason}")]
    Certificate {
        /// Position, from 0.
        index: usize,
        /// Why.
        #[source]
        reason: CertError,
    },
    /// A revocation list that can't be read.
    #[error("revocation list {index}: {reason}")]
    Crl {
        /// Position, from 0.
        index: usize,
        /// Why.
        #[source]
        reason: CrlError,
    },
}

/// What a source of certificates held, sorted; nothing about them is proven.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Certificates {
    /// Endorsement certificates.
    pub veks: Vec<VekCertificate>,
    /// CAs: ASK, ASVK, ARK. A root among them is trusted no more for it.
    pub cas: Vec<CaCertificate>,
    /// Revocation lists.
    pub crls: Vec<Crl>,
}

impl Certificates {
    /// Finds out which form it is: PEM, one or more DER elements in a row, or the certificate table.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificatesError> {
        let mut all = Self::default();
        if bytes.len() > MAX_BYTES {
            return Err(CertificatesError::Size(bytes.len()));
        }
        match bytes {
            [0x30, 0x80..=0xff, ..] => all.add_der(bytes)?,
            _ if is_pem(bytes) => all.add_pem(bytes)?,
            _ => return Self::from_table(bytes),
        }
        Ok(all)
    }

    /// Reads the certificate table of an extended report, the kernel's `auxblob`; zeros alone mean no certificates.
    pub fn from_table(bytes: &[u8]) -> Result<Self, CertificatesError> {
        if bytes.len() > MAX_BYTES {
            return Err(CertificatesError::Size(bytes.len()));
        }
        Self::from_chain(&read_snp_table(bytes)?)
    }

    /// Reads the `cert_chain` of evidence in JSON; entries of no meaning here are left out.
    pub fn from_chain(chain: &[SnpCertificate]) -> Result<Self, CertificatesError> {
        let mut all = Self::default();
        for SnpCertificate { cert_type, data } in chain {
            if !matches!(cert_type, SnpCertificateType::Empty | SnpCertificateType::OTHER(_)) {
                all.add(data)?;
            }
        }
        Ok(all)
    }

    /// Adds what another source held.
    pub fn extend(&mut self, other: Self) {
        self.veks.extend(other.veks);
        self.cas.extend(other.cas);
        self.crls.extend(other.crls);
    }

    /// Adds one certificate or revocation list, or several in a row, in DER or PEM.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), CertificatesError> {
        if bytes.len() > MAX_BYTES {
            return Err(CertificatesError::Size(bytes.len()));
        }
        if is_pem(bytes) { self.add_pem(bytes) } else { self.add_der(bytes) }
    }

    fn count(&self) -> usize {
        self.veks.len().saturating_add(self.cas.len()).saturating_add(self.crls.len())
    }

    fn add_pem(&mut self, text: &[u8]) -> Result<(), CertificatesError> {
        let before = self.count();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let (kind, der) = section.map_err(|_| CertificatesError::Pem)?;
            match kind {
                SectionKind::Certificate | SectionKind::Crl => self.add_one(&der)?,
                _ => return Err(CertificatesError::Section),
            }
        }
        if self.count() == before { Err(CertificatesError::Pem) } else { Ok(()) }
    }

    fn add_der(&mut self, bytes: &[u8]) -> Result<(), CertificatesError> {
        let mut rest = bytes;
        loop {
            let at = bytes.len().saturating_sub(rest.len());
            let (one, tail) = element(rest).ok_or(CertificatesError::Der(at))?;
            self.add_one(one)?;
            rest = tail;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn add_one(&mut self, der: &[u8]) -> Result<(), CertificatesError> {
        let index = self.count();
        if index >= MAX_ITEMS {
            return Err(CertificatesError::Items);
        }
        let in_certificate = |reason| CertificatesError::Certificate { index, reason };
        match x509::read(der) {
            Ok(cert) => {
                let name = x509::common_name(cert.subject()).map_err(in_certificate)?;
                if vek::kind_of(&name).is_ok() {
                    self.veks.push(VekCertificate::from_x509(&cert).map_err(in_certificate)?);
                } else {
                    self.cas.push(CaCertificate::from_x509(&cert).map_err(in_certificate)?);
                }
            }
            Err(reason @ CertError::Der) => match Crl::parse(der) {
                Ok(crl) => self.crls.push(crl),
                Err(CrlError::Der) => return Err(in_certificate(reason)),
                Err(reason) => return Err(CertificatesError::Crl { index, reason }),
            },
            Err(CertError::Size(_)) => {
                let in_crl = |reason| CertificatesError::Crl { index, reason };
                self.crls.push(Crl::parse(der).map_err(in_crl)?);
            }
            Err(reason) => return Err(in_certificate(reason)),
        }
        Ok(())
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// The first SEQUENCE, with a definite length of at most four bytes, and what follows it.
fn element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, len): (usize, usize) = match bytes {
        [0x30, len @ ..=0x7f, ..] => (2, usize::from(*len)),
        [0x30, 0x81, len, ..] => (3, usize::from(*len)),
        [0x30, 0x82, a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        [0x30, 0x83, a, b, c, ..] => (5, usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok()?),
        _ => return None,
    };
    bytes.split_at_checked(header.checked_add(len)?)
}
