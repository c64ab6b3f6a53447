//! Values of PCRs as people hold them: by bank, and as tpm2-tools serialize them.

use ccnode_evidence::{Code, HashAlg, PcrIndex, PcrSet};
use std::collections::BTreeMap;

/// Entries of TPML_PCR_SELECTION and of TPML_DIGEST in tpm2-tools' form.
const SELECTIONS: usize = 16;
const DIGESTS: usize = 8;
/// Room of a TPM2B_DIGEST.
const DIGEST_ROOM: usize = 64;

/// Values of one bank's PCRs, each of the hash's length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcrBank {
    alg: HashAlg,
    values: BTreeMap<PcrIndex, Vec<u8>>,
}

/// Why values are none of a bank.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PcrBankError {
    /// A value of another length than the bank's hash gives.
    #[error("a value of {found} bytes for {pcr:?} of the {} bank", alg.name())]
    Length {
        /// The PCR.
        pcr: PcrIndex,
        /// The bank.
        alg: HashAlg,
        /// Its length.
        found: usize,
    },
    /// Other than one value for each PCR that is selected.
    #[error("{found} bytes of values where {due} are due")]
    Count {
        /// Bytes at hand.
        found: usize,
        /// Bytes that the selection wants.
        due: usize,
    },
    /// Not the form that tpm2-tools serialize.
    #[error("not PCR values as tpm2-tools serialize them")]
    Form,
    /// A bank that is not known.
    #[error("bank {0:#06x} is not known")]
    Bank(u16),
}

impl PcrBankError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::PcrValuesMalformed
    }
}

impl PcrBank {
    /// Values by index; each must have the hash's length.
    pub fn new(alg: HashAlg, values: BTreeMap<PcrIndex, Vec<u8>>) -> Result<Self, PcrBankError> {
        let wrong = values.iter().find(|(_, value)| value.len() != alg.size());
        match wrong {
            Some((pcr, value)) => Err(PcrBankError::Length { pcr: *pcr, alg, found: value.len() }),
            None => Ok(Self { alg, values }),
        }
    }

    /// The values of `set` one after the other, in ascending order, and nothing else (`tpm2_pcrread -o`).
    pub fn concatenated(alg: HashAlg, set: PcrSet, bytes: &[u8]) -> Result<Self, PcrBankError> {
        let due = set.iter().count().saturating_mul(alg.size());
        if bytes.len() != due {
            return Err(PcrBankError::Count { found: bytes.len(), due });
        }
        let values = set.iter().zip(bytes.chunks_exact(alg.size())).map(|(pcr, value)| (pcr, value.to_vec()));
        Ok(Self { alg, values: values.collect() })
    }

    /// The banks of `tpm2_quote -o` in its form `serialized`: TPML_PCR_SELECTION, a count, and so many TPML_DIGEST, as C structures
    /// in little-endian.
    pub fn serialized(bytes: &[u8]) -> Result<Vec<Self>, PcrBankError> {
        let mut r = Le(bytes);
        let count = usize::try_from(r.u32()?).unwrap_or(usize::MAX);
        let mut selections = Vec::new();
        for _ in 0..SELECTIONS {
            // hash, sizeofSelect, pcrSelect[4], and one byte that aligns the next.
            let (bank, size) = (r.u16()?, r.take(1)?);
            let bitmap = r.take(4)?;
            r.take(1)?;
            selections.push((bank, size.first().copied().unwrap_or(0), bitmap));
        }
        if count > SELECTIONS {
            return Err(PcrBankError::Form);
        }
        let lists = r.u32()?;
        let mut digests = Vec::new();
        for _ in 0..lists {
            let count = usize::try_from(r.u32()?).unwrap_or(usize::MAX);
            if count > DIGESTS {
                return Err(PcrBankError::Form);
            }
            for index in 0..DIGESTS {
                let size = usize::from(r.u16()?);
                let value = r.take(DIGEST_ROOM)?.get(..size).ok_or(PcrBankError::Form)?;
                if index < count {
                    digests.push(value);
                }
            }
        }
        if !r.0.is_empty() {
            return Err(PcrBankError::Form);
        }
        let mut digests = digests.into_iter();
        let mut banks = Vec::new();
        for (bank, size, bitmap) in selections.into_iter().take(count) {
            let alg = HashAlg::from_id(bank).ok_or(PcrBankError::Bank(bank))?;
            let bitmap = bitmap.get(..usize::from(size)).ok_or(PcrBankError::Form)?;
            let (head, tail) = bitmap.split_at(bitmap.len().min(3));
            let set = PcrSet::from_bitmap(head).filter(|_| tail.iter().all(|byte| *byte == 0));
            let mut values = BTreeMap::new();
            for pcr in set.ok_or(PcrBankError::Form)?.iter() {
                values.insert(pcr, digests.next().ok_or(PcrBankError::Form)?.to_vec());
            }
            banks.push(Self::new(alg, values)?);
        }
        if digests.next().is_some() { Err(PcrBankError::Form) } else { Ok(banks) }
    }

    /// The bank's hash.
    pub fn alg(&self) -> HashAlg {
        self.alg
    }

    /// The values.
    pub fn values(&self) -> &BTreeMap<PcrIndex, Vec<u8>> {
        &self.values
    }

    /// The values of `set` in ascending order; `None` where one is missing.
    pub(super) fn select(&self, set: PcrSet) -> Option<Vec<&[u8]>> {
        set.iter().map(|pcr| self.values.get(&pcr).map(Vec::as_slice)).collect()
    }
}

/// A bounded reader of little-endian C structures.
struct Le<'a>(&'a [u8]);

impl<'a> Le<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PcrBankError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(PcrBankError::Form)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PcrBankError> {
        self.take(N)?.try_into().map_err(|_| PcrBankError::Form)
    }

    fn u16(&mut self) -> Result<u16, PcrBankError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, PcrBankError> {
        self.array().map(u32::from_le_bytes)
    }
}
