//! What the kernel's IMA leaves in PCR 10 when no policy is loaded: its boot aggregate, once.

use ccnode_evidence::{PcrSet, PcrValues, Sha256Digest};

/// PCR 10 after IMA extended its `boot_aggregate` entry alone (template ima-ng, SHA-256 bank); `None` where a value of PCR 0 to 9
/// is missing.
///
/// The aggregate is the SHA-256 of PCR 0 to 9 (Linux ≥ 5.8, banks other than SHA-1). The template digest is taken over its fields,
/// each with its length as 32 bits little-endian: `sha256:\0` ‖ aggregate, and `boot_aggregate\0`.
pub fn boot_aggregate_pcr(pcrs: &PcrValues) -> Option<Sha256Digest> {
    let first: PcrSet = PcrSet::CCNODE.iter().filter(|pcr| pcr.get() < 10).collect();
    let aggregate = pcrs.composite(first)?;
    let digest_field = [&b"sha256:\0"[..], &aggregate.0].concat();
    let mut template = Vec::new();
    for field in [&digest_field[..], b"boot_aggregate\0"] {
        template.extend(u32::try_from(field.len()).ok()?.to_le_bytes());
        template.extend_from_slice(field);
    }
    Some(Sha256Digest::ZERO.extend(&Sha256Digest::of(&template)))
}
