//! Tests of platform tuples, on a recorded boot.

use super::*;

const LOG: &[u8] = include_bytes!("../tests/data/ovmf-2022.11-uki.eventlog");
const PCRS: &[u8] = include_bytes!("../tests/data/ovmf-2022.11-uki.pcrs.json");

#[test]
fn recorded_boot_gives_the_values_that_its_tpm_held() {
    let tuple = platform_tuple_from_log(LOG, "qemu-q35-ovmf-2022.11").unwrap();
    tuple.check().unwrap();
    let held: PcrValues = serde_json::from_slice(PCRS).unwrap();
    for (pcr, value) in &tuple.pcrs.0 {
        assert_eq!(held.get(*pcr), Some(value), "{pcr:?}");
    }
    let seven = &tuple.events[&PcrIndex::new(7).unwrap()];
    assert_eq!(seven[0].component, "Secure Boot variable `SecureBoot` (off)");
}

#[test]
fn each_refusal_is_named() {
    assert!(matches!(platform_tuple_from_log(b"", "x"), Err(PlatformError::Log(_))));
    assert!(matches!(platform_tuple_from_log(&LOG[..200], "x"), Err(PlatformError::Log(_))));
    // The header alone: a well-formed log of a firmware that measured nothing.
    let header = 32 + u32::from_le_bytes(LOG[28..32].try_into().unwrap()) as usize;
    assert!(matches!(platform_tuple_from_log(&LOG[..header], "x"), Err(PlatformError::NoFirmware)));
    // TCG_PCR_EVENT alone: SHA-1.
    let mut old = vec![0; 8];
    old[4] = 8;
    old.extend([0xaa; 20]);
    old.extend([2, 0, 0, 0, 0, 0]);
    assert!(matches!(platform_tuple_from_log(&old, "x"), Err(PlatformError::NoSha256)));
}
