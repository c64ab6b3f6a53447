//! What the kernel's IMA leaves in PCR 10 when it measures no file: its boot aggregate, once.

use ccnode_evidence::{PcrIndex, PcrSet, PcrValues, Sha256Digest};

/// The values of PCR 10 after IMA extended its `boot_aggregate` entry alone (SHA-256 bank), under the template ima-ng and under
/// ima-sig, which Debian's kernels have; `None` where a value of PCR 0 to 9 is missing.
///
/// The aggregate is the SHA-256 of PCR 0 to 9 (Linux ≥ 5.8, banks other than SHA-1) as the kernel found them: PCR 8 was zero then, since
/// what is judged to be there, init-data, comes from the initramfs. The template digest is taken over its
/// fields, each with its length as 32 bits little-endian: `sha256:\0` ‖ aggregate, `boot_aggregate\0`, and for ima-sig an empty
/// signature.
pub fn boot_aggregate_pcrs(pcrs: &PcrValues) -> Option<[Sha256Digest; 2]> {
    let first: PcrSet = PcrSet::CCNODE.iter().filter(|pcr| pcr.get() < 10).collect();
    let mut found = pcrs.clone();
    found.0.entry(PcrIndex::new(8).ok()?).and_modify(|value| *value = Sha256Digest::ZERO);
    let aggregate = found.composite(first)?;
    let digest_field = [&b"sha256:\0"[..], &aggregate.0].concat();
    let mut template = Vec::new();
    let mut add = |field: &[u8]| {
        template.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
        template.extend_from_slice(field);
        Sha256Digest::ZERO.extend(&Sha256Digest::of(&template))
    };
    add(&digest_field);
    let ng = add(b"boot_aggregate\0");
    let sig = add(b"");
    Some([ng, sig])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::PcrIndex;

    /// Debian's kernel 6.1 under QEMU with SeaBIOS: /sys/class/tpm/tpm0/pcr-sha256/0 to 10 as the guest saw them.
    const GUEST: [&str; 11] = [
        "e21b703ee69c77476bccb43ec0336a9a1b2914b378944f7b00a10214ca8fea93",
        "85af72fcfeedb1db195fbf081e0cc9cb43b1efca9d98396710a2c7a3ce34fa80",
        "22c81553ac1b2c475f081ba0149354f68ff6123ac1bae1742006f894d2269241",
        "e21b703ee69c77476bccb43ec0336a9a1b2914b378944f7b00a10214ca8fea93",
        "1eb9aa21337cc1fa31ce5f56900d7bf59b9dda366823095aed06544caa2557ca",
        "e21b703ee69c77476bccb43ec0336a9a1b2914b378944f7b00a10214ca8fea93",
        "e21b703ee69c77476bccb43ec0336a9a1b2914b378944f7b00a10214ca8fea93",
        "e21b703ee69c77476bccb43ec0336a9a1b2914b378944f7b00a10214ca8fea93",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "b5484f4f571061220b432d7d6e44f95c9252d6ddf8db81de663b571c751d2ef2",
    ];

    #[test]
    fn agrees_with_a_kernel() {
        let pcrs = PcrValues(PcrIndex::all().zip(GUEST.map(|hex| hex.parse().unwrap())).collect());
        let ten = *pcrs.get(PcrIndex::new(10).unwrap()).unwrap();
        let [ng, sig] = boot_aggregate_pcrs(&pcrs).unwrap();
        assert_eq!(sig, ten);
        assert_ne!(ng, ten);
    }

    #[test]
    fn init_data_come_after_it_and_nothing_else_does() {
        let pcrs = PcrValues(PcrIndex::all().zip(GUEST.map(|hex| hex.parse().unwrap())).collect());
        let good = boot_aggregate_pcrs(&pcrs);
        for pcr in PcrIndex::all().filter(|pcr| pcr.get() < 10) {
            let mut later = pcrs.clone();
            later.0.entry(pcr).and_modify(|value| *value = value.extend(&Sha256Digest::ZERO));
            assert_eq!(boot_aggregate_pcrs(&later) == good, pcr.get() == 8, "{pcr:?}");
        }
    }

    #[test]
    fn every_covered_pcr_is_needed() {
        assert_eq!(boot_aggregate_pcrs(&PcrValues::default()), None);
    }
}
