//! Certificates as evidence and administrators bring them: PEM, DER, several in a row, or the table of an extended report.

use crate::ca::CaCertificate;
use crate::crl::{Crl, CrlError};
use crate::reader::Reader;
use crate::vek::{self, VekCertificate};
use crate::x509::{self, CertError};
use rustls_pki_types::pem::{PemObject as _, SectionKind};

/// Most bytes of one source that are read.
pub const MAX_BYTES: usize = 1 << 20;
/// Most certificates and lists of one source.
pub const MAX_ITEMS: usize = 64;
/// Bytes of an entry of the certificate table.
const ENTRY: usize = 24;

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
    /// The table has no last entry of zeros, or an entry points outside the data that follow it.
    #[error("the certificate table's entry {0} does not lie inside it")]
    Table(usize),
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

/// GUIDs of the certificate table, in the order of their text (GHCB 56421, SNP Extended Guest Request).
const GUIDS: [[u8; 16]; 5] = [
    // VCEK, 63da758d-e664-4564-adc5-f4b93be8accd
    [0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd],
    // VLEK, a8074bc2-a25a-483e-aae6-39c045a0b8a1
    [0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1],
    // ASK or ASVK, 4ab7b379-bbac-4fe4-a02f-05aef327c782
    [0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82],
    // ARK, c0b406a4-a803-4952-9743-3fb6014cd0ae
    [0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae],
    // Revocation lists, 92f81bc3-5811-4d3d-97ff-d19f88dc67ea
    [0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67, 0xea],
];

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
            _ => all.add_table(bytes)?,
        }
        Ok(all)
    }

    /// Reads the certificate table of an extended report, the kernel's `auxblob`; zeros alone mean no certificates.
    pub fn from_table(bytes: &[u8]) -> Result<Self, CertificatesError> {
        let mut all = Self::default();
        if bytes.len() > MAX_BYTES {
            return Err(CertificatesError::Size(bytes.len()));
        }
        all.add_table(bytes)?;
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

    /// Entries of GUID, offset and length, the last of zeros, then the data.
    fn add_table(&mut self, bytes: &[u8]) -> Result<(), CertificatesError> {
        let mut entries = Vec::new();
        let mut reader = Reader::new(bytes);
        loop {
            let at = entries.len();
            let outside = || CertificatesError::Table(at);
            let guid: [u8; 16] = reader.array().ok_or_else(outside)?;
            let (offset, len) = (reader.u32().ok_or_else(outside)?, reader.u32().ok_or_else(outside)?);
            if guid == [0; 16] {
                if (offset, len) == (0, 0) {
                    break;
                }
                return Err(outside());
            }
            if at == MAX_ITEMS {
                return Err(CertificatesError::Items);
            }
            entries.push((guid, offset, len));
        }
        let header = entries.len().saturating_add(1).saturating_mul(ENTRY);
        let mut left = bytes.len();
        for (at, (guid, offset, len)) in entries.into_iter().enumerate() {
            let outside = || CertificatesError::Table(at);
            let from = usize::try_from(offset).ok().filter(|from| *from >= header).ok_or_else(outside)?;
            let to = usize::try_from(len).ok().and_then(|len| from.checked_add(len)).ok_or_else(outside)?;
            let data = bytes.get(from..to).ok_or_else(outside)?;
            // Entries that share their data could make much of little.
            left = left.checked_sub(data.len()).ok_or_else(outside)?;
            if GUIDS.contains(&guid) && !data.is_empty() {
                self.add(data)?;
            }
        }
        Ok(())
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
