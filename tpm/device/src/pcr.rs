//! Reading and extending PCRs.

use crate::DeviceError;
use crate::error::failed;
use ccnode_evidence::{HashAlg, PcrIndex, PcrSet, PcrValues, Sha256Digest};
use sha1::Sha1;
use sha2::{Digest as _, Sha384, Sha512};
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::PcrHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    CapabilityData, Digest, DigestValues, PcrSelectionList, PcrSelectionListBuilder, PcrSlot,
};
use tss_esapi::{Context, WrapperErrorKind};

/// TPML_DIGEST of TPM2_PCR_Read holds eight digests.
const READ_AT_ONCE: usize = 8;

/// The values of `set` in the SHA-256 bank, eight a command.
pub(crate) fn read(ctx: &mut Context, set: PcrSet) -> Result<PcrValues, DeviceError> {
    let mut values = PcrValues::default();
    loop {
        let due: Vec<PcrIndex> = set.iter().filter(|i| values.get(*i).is_none()).take(READ_AT_ONCE).collect();
        if due.is_empty() {
            return Ok(values);
        }
        let (_, selected, digests) = ctx.pcr_read(selection(due)?).map_err(failed("TPM2_PCR_Read"))?;
        let indices = selected
            .get_selections()
            .iter()
            .filter(|bank| bank.hashing_algorithm() == HashingAlgorithm::Sha256)
            .flat_map(|bank| bank.selected());
        let before = values.0.len();
        for (slot, digest) in indices.zip(digests.value()) {
            let index = PcrIndex::new(u32::from(slot).trailing_zeros());
            if let (Ok(index), Ok(value)) = (index, digest.value().try_into()) {
                values.0.insert(index, Sha256Digest(value));
            }
        }
        // A TPM answers with fewer PCRs than asked where the bank does not hold them.
        if values.0.len() == before {
            return Err(DeviceError::Sha256BankMissing);
        }
    }
}

/// TPML_PCR_SELECTION of the SHA-256 bank alone.
pub(crate) fn selection(
    indices: impl IntoIterator<Item = PcrIndex>,
) -> Result<PcrSelectionList, DeviceError> {
    let slots: Result<Vec<PcrSlot>, _> =
        indices.into_iter().map(|i| PcrSlot::try_from(1u32 << i.get())).collect();
    slots
        .and_then(|slots| {
            PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &slots).build()
        })
        .map_err(failed("TPM2_PCR_Read"))
}

/// The banks with PCRs allocated in them.
pub(crate) fn banks(ctx: &mut Context) -> Result<Vec<HashingAlgorithm>, DeviceError> {
    let command = "TPM2_GetCapability";
    let (data, _) = ctx.get_capability(CapabilityType::AssignedPcr, 0, 1).map_err(failed(command))?;
    let CapabilityData::AssignedPcr(banks) = data else {
        return Err(DeviceError::TpmAnswer { command, kind: WrapperErrorKind::WrongValueFromTpm });
    };
    let in_use = banks.get_selections().iter().filter(|bank| !bank.selected().is_empty());
    Ok(in_use.map(|bank| bank.hashing_algorithm()).collect())
}

/// TPM2_PCR_Extend in every allocated bank.
///
/// The SHA-256 bank gets `digest`. A bank that nobody judges must not be left behind (policies of others may look at
/// it), so each other one gets its own hash of the 32 bytes of `digest`; that holds for digests that are keyed, too.
/// SM3 and SHA-3 banks stay as they are.
pub(crate) fn extend(
    ctx: &mut Context,
    banks: &[HashingAlgorithm],
    pcr: PcrIndex,
    digest: &Sha256Digest,
) -> Result<(), DeviceError> {
    let command = "TPM2_PCR_Extend";
    if !banks.contains(&HashingAlgorithm::Sha256) {
        return Err(DeviceError::Sha256BankMissing);
    }
    let mut digests = DigestValues::new();
    for bank in banks {
        if let Some(bytes) = in_bank(*bank, digest) {
            digests.set(*bank, Digest::try_from(bytes).map_err(failed(command))?);
        }
    }
    let handle = PcrHandle::try_from(u32::from(pcr.get())).map_err(failed(command))?;
    ctx.execute_with_session(Some(AuthSession::Password), |ctx| ctx.pcr_extend(handle, digests))
        .map_err(failed(command))
}

fn in_bank(bank: HashingAlgorithm, digest: &Sha256Digest) -> Option<Vec<u8>> {
    match HashAlg::from_id(bank.into())? {
        HashAlg::Sha1 => Some(Sha1::digest(digest.0).to_vec()),
        HashAlg::Sha256 => Some(digest.0.to_vec()),
        HashAlg::Sha384 => Some(Sha384::digest(digest.0).to_vec()),
        HashAlg::Sha512 => Some(Sha512::digest(digest.0).to_vec()),
        HashAlg::Sm3 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bank_gets_a_digest_of_its_size() {
        let digest = Sha256Digest([7; 32]);
        let banks = [
            (HashingAlgorithm::Sha1, Some(20)),
            (HashingAlgorithm::Sha256, Some(32)),
            (HashingAlgorithm::Sha384, Some(48)),
            (HashingAlgorithm::Sha512, Some(64)),
            (HashingAlgorithm::Sm3_256, None),
            (HashingAlgorithm::Sha3_256, None),
        ];
        for (bank, len) in banks {
            assert_eq!(in_bank(bank, &digest).map(|d| d.len()), len, "{bank:?}");
        }
        assert_eq!(in_bank(HashingAlgorithm::Sha256, &digest), Some(vec![7; 32]));
    }
}
