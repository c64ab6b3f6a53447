//! Whatever the bytes, parsers answer: no panic, no allocation beyond the input's size.

use crate::world::verify;
use ccnode_snp::{CaCertificate, Certificates, Crl, ReportParsed, SnpPolicy, VekCertificate};
use ccnode_testkit::snp::{POLICY_RESERVED, ReportSpec, Tcb, TestChip};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::LazyLock;

/// Good input to start from: reports, certificates, lists, tables.
static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let chips = [TestChip::milan(), TestChip::turin().with_vlek("CN=x")];
    chips
        .iter()
        .flat_map(|chip| {
            let reports = (2..=5).map(|version| chip.report_of(version, [7; 64], 0));
            let certs =
                [chip.vek_der(), chip.ask_der(), chip.ark_der(), chip.crl(&[1, 2]), chip.certs_table()];
            reports.chain(certs).collect::<Vec<_>>()
        })
        .collect()
});

fn read_all(bytes: &[u8]) {
    let _ = ReportParsed::parse(bytes);
    let _ = VekCertificate::parse(bytes);
    let _ = CaCertificate::parse(bytes);
    let _ = Crl::parse(bytes);
    let _ = Certificates::parse(bytes);
    let _ = Certificates::from_table(bytes);
    let _ = Certificates::default().add(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..3000)) {
        read_all(&bytes);
    }

    #[test]
    fn changed_bytes(
        which in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = which.get(&GOOD).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_all(&bytes);
    }

    #[test]
    fn any_signed_report_is_judged(
        version in 2u32..=5,
        numbers in any::<(u32, u64, u32, u64, u8)>(),
        bytes in any::<[u8; 32]>(),
        cpuid in any::<[u8; 3]>(),
        own in any::<[bool; 4]>(),
    ) {
        let chip = TestChip::milan();
        let honest = chip.spec([7; 64], 0);
        let pick = |own: bool, cpuid| if own { honest.cpuid } else { cpuid };
        let spec = ReportSpec {
            version,
            guest_svn: numbers.0,
            policy: numbers.1 | POLICY_RESERVED,
            vmpl: numbers.2 % 5,
            platform_info: numbers.3,
            key_info: if own[0] { 0 } else { u32::from(numbers.4) },
            host_data: bytes,
            cpuid: pick(own[1], cpuid),
            chip_id: if own[2] { honest.chip_id } else { [bytes[0]; 64] },
            launch_tcb: if own[3] { honest.launch_tcb } else { Tcb { snp: bytes[1], ..honest.launch_tcb } },
            ..honest
        };
        if let Ok(proven) = verify(&chip, &chip.sign(&spec)) {
            let faults = SnpPolicy::default().faults(&proven);
            prop_assert_eq!(faults.is_empty(), spec.vmpl == 0 && spec.policy >> 26 == 0 && spec.policy & 0xc_0000 == 0);
        }
    }
}
