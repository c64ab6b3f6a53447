//! TPMS_ATTEST of type quote (TPM 2.0 Library, part 2, section 10.12).

use super::QuoteError;
use super::legacy::is_tpm12_quote;
use crate::reader::Reader;
use ccnode_evidence::{HashAlg, PcrSet};
use std::fmt;

/// TPM_GENERATED_VALUE.
const GENERATED: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const ST_QUOTE: u16 = 0x8018;
/// More banks than any TPM has.
const MAX_SELECTIONS: u32 = 16;
/// More bytes of bitmap than any TPM has.
const MAX_BITMAP: u8 = 8;
/// The longest TPM2B_DATA: a hash with its algorithm (TPMT_HA).
const MAX_EXTRA: usize = 64 + 2;
/// The longest TPMS_ATTEST of a quote, by the limits above.
const MAX: usize = 512;
/// Bytes of a TPM2B_NAME that is a handle.
const HANDLE: usize = 4;

/// TPMS_CLOCK_INFO: what tells boots and copies of a TPM apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered, since it was cleared.
    pub clock: u64,
    /// Number of TPM resets since it was cleared.
    pub reset_count: u32,
    /// Number of TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether `clock` is surely no value that was seen before.
    pub safe: bool,
}

/// TPMS_PCR_SELECTION, as it stands there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// TPM_ALG_ID of the bank.
    pub bank: u16,
    /// One bit a PCR, the first byte for PCR 0 to 7; 1 to 8 bytes.
    pub bitmap: Vec<u8>,
}

impl Selection {
    /// The bank's hash, where it is known here.
    pub fn alg(&self) -> Option<HashAlg> {
        HashAlg::from_id(self.bank)
    }

    /// The selected PCRs; `None` where one above 23 is among them.
    pub fn pcrs(&self) -> Option<PcrSet> {
        let (head, tail) = self.bitmap.split_at(self.bitmap.len().min(3));
        PcrSet::from_bitmap(head).filter(|_| tail.iter().all(|byte| *byte == 0))
    }

    /// Whether it selects nothing.
    pub fn is_empty(&self) -> bool {
        self.bitmap.iter().all(|byte| *byte == 0)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bank {:#06x} bitmap ", self.bank)?;
        self.bitmap.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// TPMS_ATTEST of type quote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Quote<'a> {
    /// The qualified Name of the key that signed.
    pub(crate) signer: &'a [u8],
    /// `extraData`.
    pub(crate) extra: &'a [u8],
    pub(crate) clock: ClockInfo,
    pub(crate) firmware_version: u64,
    /// Banks and bitmaps as they stand there.
    pub(crate) selections: Vec<Selection>,
    /// As long as the hash of the signing scheme gives, which is not in here.
    pub(crate) pcr_digest: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a TPMS_ATTEST to its end.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        const WHAT: &str = "TPMS_ATTEST";
        if bytes.len() > MAX {
            return Err(QuoteError::Size(WHAT, bytes.len()));
        }
        if is_tpm12_quote(bytes) {
            return Err(QuoteError::Tpm12);
        }
        let at = |e| QuoteError::read(WHAT, e);
        let mut r = Reader::new(bytes);
        match r.u32().map_err(at)? {
            GENERATED => {}
            other => return Err(QuoteError::Magic(other)),
        }
        match r.u16().map_err(at)? {
            ST_QUOTE => {}
            other => return Err(QuoteError::Type(other)),
        }
        let signer = name(r.sized().map_err(at)?)?;
        let extra = r.sized().map_err(at)?;
        if extra.len() > MAX_EXTRA {
            return Err(QuoteError::ExtraData(extra.len()));
        }
        let clock = ClockInfo {
            clock: r.u64().map_err(at)?,
            reset_count: r.u32().map_err(at)?,
            restart_count: r.u32().map_err(at)?,
            safe: match r.u8().map_err(at)? {
                0 => false,
                1 => true,
                other => return Err(QuoteError::Safe(other)),
            },
        };
        let firmware_version = r.u64().map_err(at)?;
        let count = r.u32().map_err(at)?;
        if count > MAX_SELECTIONS {
            return Err(QuoteError::Selections(count));
        }
        let mut selections: Vec<Selection> = Vec::new();
        for _ in 0..count {
            let bank = r.u16().map_err(at)?;
            let len = r.u8().map_err(at)?;
            if !(1..=MAX_BITMAP).contains(&len) {
                return Err(QuoteError::Bitmap(len));
            }
            let bitmap = r.take(len.into()).map_err(at)?.to_vec();
            if selections.iter().any(|other| other.bank == bank) {
                return Err(QuoteError::BankTwice(bank));
            }
            selections.push(Selection { bank, bitmap });
        }
        let pcr_digest = r.sized().map_err(at)?;
        r.end().map_err(at)?;
        if ![HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512]
            .iter()
            .any(|alg| alg.size() == pcr_digest.len())
        {
            return Err(QuoteError::DigestLength(pcr_digest.len()));
        }
        Ok(Self { signer, extra, clock, firmware_version, selections, pcr_digest })
    }
}

/// A TPM2B_NAME: nothing, a handle, or a hash behind its algorithm.
fn name(bytes: &[u8]) -> Result<&[u8], QuoteError> {
    let whole = match bytes.split_first_chunk::<2>() {
        None => bytes.is_empty(),
        Some(_) if bytes.len() == HANDLE => true,
        Some((alg, hash)) => {
            HashAlg::from_id(u16::from_be_bytes(*alg)).is_some_and(|alg| alg.size() == hash.len())
        }
    };
    if whole { Ok(bytes) } else { Err(QuoteError::Signer(bytes.len())) }
}
