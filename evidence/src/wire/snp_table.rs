//! The certificates beside an SEV-SNP report: in JSON, and in the table that the host hands to its guests.

use serde::{Deserialize, Serialize};

/// Most entries of a table.
const MAX_ENTRIES: usize = 64;
/// Bytes of an entry: GUID, offset, length.
const ENTRY: usize = 24;

/// What a certificate is said to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SnpCertificateType {
    /// An entry without meaning.
    Empty,
    /// AMD's root key of a line of processors.
    ARK,
    /// The key below it that certifies chips (ASK) or providers (ASVK).
    ASK,
    /// A chip's endorsement key.
    VCEK,
    /// A provider's endorsement key.
    VLEK,
    /// Revocation lists.
    CRL,
    /// Something else, by its GUID.
    OTHER(String),
}

/// A certificate, DER in most cases, as numbers in JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnpCertificate {
    /// What it is said to be; its content says what it is.
    pub cert_type: SnpCertificateType,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for SnpCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({} bytes)", self.cert_type, self.data.len())
    }
}

/// Why bytes are no certificate table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnpTableError {
    /// An entry, by its position, is cut off, points outside the data that follow the entries, or shares them with others.
    #[error("entry {0} does not lie inside the table")]
    Outside(usize),
    /// More entries than are read.
    #[error("more than {MAX_ENTRIES} entries")]
    Entries,
}

/// The GUIDs that are known, in the order of their text (GHCB 56421, SNP Extended Guest Request).
const KNOWN: [([u8; 16], SnpCertificateType); 5] = [
    // 63da758d-e664-4564-adc5-f4b93be8accd
    (
        [0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd],
        SnpCertificateType::VCEK,
    ),
    // a8074bc2-a25a-483e-aae6-39c045a0b8a1
    (
        [0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1],
        SnpCertificateType::VLEK,
    ),
    // 4ab7b379-bbac-4fe4-a02f-05aef327c782
    (
        [0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82],
        SnpCertificateType::ASK,
    ),
    // c0b406a4-a803-4952-9743-3fb6014cd0ae
    (
        [0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae],
        SnpCertificateType::ARK,
    ),
    // 92f81bc3-5811-4d3d-97ff-d19f88dc67ea
    (
        [0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67, 0xea],
        SnpCertificateType::CRL,
    ),
];

/// The certificates of a table: entries of GUID, offset and length, the last of zeros, then the data.
///
/// Entries of unknown GUIDs and of no length are left out; a table of zeros holds nothing. What is copied is no longer than the table.
pub fn read(table: &[u8]) -> Result<Vec<SnpCertificate>, SnpTableError> {
    let mut entries = Vec::new();
    let mut rest = table;
    loop {
        let outside = SnpTableError::Outside(entries.len());
        let (entry, tail) = rest.split_first_chunk::<ENTRY>().ok_or(outside)?;
        rest = tail;
        if *entry == [0; ENTRY] {
            break;
        }
        if entry.starts_with(&[0; 16]) {
            return Err(outside);
        }
        if entries.len() == MAX_ENTRIES {
            return Err(SnpTableError::Entries);
        }
        entries.push(entry);
    }
    let header = table.len().saturating_sub(rest.len());
    let mut left = rest.len();
    let mut found = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let outside = SnpTableError::Outside(at);
        let (guid, range) = entry.split_first_chunk::<16>().ok_or(outside)?;
        let data = slice(table, header, range).ok_or(outside)?;
        // Entries that share their data could make much of little.
        left = left.checked_sub(data.len()).ok_or(outside)?;
        if let Some((_, cert_type)) = KNOWN.iter().find(|(known, _)| known == guid)
            && !data.is_empty()
        {
            found.push(SnpCertificate { cert_type: cert_type.clone(), data: data.to_vec() });
        }
    }
    Ok(found)
}

/// Offset and length, little-endian; the data lie behind the entries.
fn slice<'a>(table: &'a [u8], header: usize, range: &[u8]) -> Option<&'a [u8]> {
    let (offset, len) = range.split_first_chunk::<4>()?;
    let from = usize::try_from(u32::from_le_bytes(*offset)).ok().filter(|from| *from >= header)?;
    let len = usize::try_from(u32::from_le_bytes(*len.first_chunk()?)).ok()?;
    table.get(from..from.checked_add(len)?)
}
