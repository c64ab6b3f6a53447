//! The 4096-byte binary header of one LUKS2 metadata copy (specification §2.1), decoded and encoded.

use sha2::{Digest, Sha256};

/// Length in bytes of the binary header; the JSON area follows it.
pub(crate) const LEN: usize = 4096;
const MIN_SIZE: u64 = 0x4000;
const MAX_SIZE: u64 = 0x40_0000;
/// Where a copy may begin or end: 16 KiB to 4 MiB by doubling (specification §2.2).
pub(crate) const SIZES: [u64; 9] =
    [MIN_SIZE, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, MAX_SIZE];

// The fields before the padding and the checksum.
const FIELDS: usize = 264;
const CSUM: std::ops::Range<usize> = 448..512;
const SHA256: &str = "sha256";

/// Which of the two metadata copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The copy at offset 0.
    Primary,
    /// The copy right behind the primary.
    Secondary,
}

impl Role {
    fn magic(self) -> [u8; 6] {
        match self {
            Role::Primary => *b"LUKS\xba\xbe",
            Role::Secondary => *b"SKUL\xba\xbe",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Role::Primary => Role::Secondary,
            Role::Secondary => Role::Primary,
        }
    }

    /// The byte offset of this copy, where copies are of `size` bytes.
    pub(crate) fn at(self, size: u64) -> u64 {
        match self {
            Role::Primary => 0,
            Role::Secondary => size,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Secondary => "secondary",
        })
    }
}

/// Why a metadata copy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The bytes end before the copy does.
    #[error("truncated: {need} bytes needed, {have} there")]
    Truncated {
        /// Bytes that the copy needs.
        need: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// Other bytes stand where the magic belongs.
    #[error("no LUKS2 magic")]
    Magic,
    /// A LUKS version other than 2.
    #[error("LUKS version {0}")]
    Version(u16),
    /// The copy says it lies elsewhere.
    #[error("the header says it lies at {0:#x}")]
    Offset(u64),
    /// The size of the copy is out of bounds, or (secondary) is not its offset.
    #[error("metadata size {0:#x}")]
    Size(u64),
    /// Another checksum than SHA-256.
    #[error("checksum algorithm {0}")]
    Algorithm(String),
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The JSON area is no JSON object followed by zeros, or no valid LUKS2 metadata.
    #[error("{0}")]
    Json(#[from] crate::Invalid),
}

/// The fields of a binary header; text fields end at their first zero byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryHeader {
    /// Which copy this is.
    pub role: Role,
    /// Size in bytes of this copy, JSON area included.
    pub size: u64,
    /// Counts updates; the higher of two valid copies is the current one.
    pub seqid: u64,
    /// Volume label, mostly empty.
    pub label: Vec<u8>,
    /// Name of the checksum's hash.
    pub checksum_alg: Vec<u8>,
    /// Makes the checksums of equal metadata differ; no secret.
    pub salt: [u8; 64],
    /// UUID as text.
    pub uuid: Vec<u8>,
    /// Subsystem label, mostly empty.
    pub subsystem: Vec<u8>,
    /// Byte offset at which this copy says it lies.
    pub offset: u64,
}

impl BinaryHeader {
    /// Decodes the header at the start of `bytes`, which lies at `offset` on the device, and checks
    /// all but the checksum.
    pub(crate) fn decode(bytes: &[u8], role: Role, offset: u64) -> Result<Self, CopyError> {
        let short = || CopyError::Truncated { need: LEN as u64, have: bytes.len() as u64 };
        let mut rest = bytes.get(..LEN).ok_or_else(short)?;
        let mut take = |n: usize| -> Result<&[u8], CopyError> {
            let (head, tail) = rest.split_at_checked(n).ok_or_else(short)?;
            rest = tail;
            Ok(head)
        };
        if take(6)? != role.magic() {
            return Err(CopyError::Magic);
        }
        let version = take(2)?.iter().fold(0, |v: u16, b| v << 8 | u16::from(*b));
        if version != 2 {
            return Err(CopyError::Version(version));
        }
        let size = be64(take(8)?);
        let seqid = be64(take(8)?);
        let label = text(take(48)?);
        let checksum_alg = text(take(32)?);
        let mut salt = [0; 64];
        salt.copy_from_slice(take(64)?);
        let uuid = text(take(40)?);
        let subsystem = text(take(48)?);
        let header =
            Self { role, size, seqid, label, checksum_alg, salt, uuid, subsystem, offset: be64(take(8)?) };
        if header.offset != offset {
            return Err(CopyError::Offset(header.offset));
        }
        if !(MIN_SIZE..=MAX_SIZE).contains(&size) || (role == Role::Secondary && size != offset) {
            return Err(CopyError::Size(size));
        }
        if header.checksum_alg != SHA256.as_bytes() {
            return Err(CopyError::Algorithm(crate::escape::escape(&String::from_utf8_lossy(
                &header.checksum_alg,
            ))));
        }
        Ok(header)
    }

    /// Whether `page`, from which this header was decoded, holds nothing but these fields and a SHA-256 checksum.
    pub(crate) fn is_all_of(&self, page: &[u8]) -> bool {
        let fields = self.fields();
        let outside = [0..CSUM.start, CSUM.start + 32..LEN];
        page.len() == LEN && outside.into_iter().all(|part| page.get(part.clone()) == fields.get(part))
    }

    /// The 4096 bytes of this header over `json_area`, checksum included.
    pub(crate) fn encode(&self, json_area: &[u8]) -> Vec<u8> {
        let mut out = self.fields();
        let sum = checksum(&out, json_area);
        if let Some(place) = out.get_mut(CSUM.start..CSUM.start + sum.len()) {
            place.copy_from_slice(&sum);
        }
        out
    }

    /// The header with its checksum still zero.
    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        let mut field = |bytes: &[u8], len: usize| {
            out.extend(bytes.iter().copied().chain(std::iter::repeat(0)).take(len));
        };
        field(&self.role.magic(), 6);
        field(&2u16.to_be_bytes(), 2);
        field(&self.size.to_be_bytes(), 8);
        field(&self.seqid.to_be_bytes(), 8);
        field(&self.label, 48);
        field(&self.checksum_alg, 32);
        field(&self.salt, 64);
        field(&self.uuid, 40);
        field(&self.subsystem, 48);
        field(&self.offset.to_be_bytes(), 8);
        field(&[], LEN - FIELDS);
        out
    }
}

/// Whether `copy`, a whole metadata copy, has the checksum that it states.
pub(crate) fn checksum_matches(copy: &[u8]) -> bool {
    let (Some(header), Some(json)) = (copy.get(..LEN), copy.get(LEN..)) else {
        return false;
    };
    header.get(CSUM).is_some_and(|stated| stated.starts_with(&checksum(header, json)))
}

fn checksum(header: &[u8], json_area: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(header.get(..CSUM.start).unwrap_or_default());
    hash.update([0; 64]);
    hash.update(header.get(CSUM.end..).unwrap_or_default());
    hash.update(json_area);
    hash.finalize().into()
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |v, b| v << 8 | u64::from(*b))
}

fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|b| *b != 0).collect()
}
