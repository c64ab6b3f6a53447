//! Components in words, for every event type of the profile and for the loaders that add their own.

use crate::build::{Log, utf16, variable};
use ccnode_tpm_eventlog::{EventLog, NO_REGISTER, Proof, event_type::*};

/// The component of an event whose digest is the hash of `measured`.
fn words(register: u32, event_type: u32, measured: &[u8], data: &[u8]) -> (String, Proof) {
    let mut log = Log::new();
    log.add(register, event_type, measured, data);
    let description = log.parse().events[1].describe();
    (description.component, description.proof)
}

/// The same where the digest covers all the data.
fn plain(register: u32, event_type: u32, data: &[u8]) -> String {
    let (component, proof) = words(register, event_type, data, data);
    assert_eq!(proof, if event_type == EV_NO_ACTION { Proof::None } else { Proof::Data }, "{component}");
    component
}

#[test]
fn every_type_has_words() {
    let unnamed = |t: &u32| name(*t).is_some() && *t != EV_UNUSED && *t != EV_EFI_EVENT_BASE;
    let types = (0..0x20).chain(0x8000_0000..0x8000_0100).filter(unnamed);
    let mut seen = 0;
    for event_type in types {
        let component = plain(0, event_type, &[0xfe, 0xff, 7]);
        assert!(!component.contains("without a known form"), "{:?}: {component}", name(event_type));
        assert!(component.contains("(3 bytes)") || event_type == EV_NO_ACTION, "{component}");
        seen += 1;
    }
    assert_eq!(seen, 38);
    assert_eq!(plain(0, 0x1234, &[0xfe, 0xff, 7]), "3 bytes without a known form");
}

#[test]
fn firmware() {
    assert_eq!(plain(0, EV_S_CRTM_VERSION, &utf16("1.2\0")), "firmware version `1.2`");
    assert_eq!(
        plain(0, EV_S_CRTM_VERSION, &[0xf1; 16]),
        "firmware version f1f1f1f1-f1f1-f1f1-f1f1-f1f1f1f1f1f1"
    );
    assert_eq!(plain(0, EV_EFI_HCRTM_EVENT, b"HCRTM"), "hardware root of trust `HCRTM`");
    assert_eq!(plain(0, EV_POST_CODE2, b"\x03SMM\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0"), "firmware code `SMM`");
    assert_eq!(plain(1, EV_CPU_MICROCODE, b"rev 7\0"), "CPU microcode `rev 7`");
    assert_eq!(plain(1, EV_TABLE_OF_DEVICES, &[1, 0xfe, 2]), "table of devices (3 bytes)");
    assert_eq!(plain(2, EV_NONHOST_CODE, b"BMC"), "code outside the host's control `BMC`");
    assert_eq!(plain(3, EV_NONHOST_CONFIG, b"BMC"), "configuration outside the host's control `BMC`");
    assert_eq!(plain(0, EV_NONHOST_INFO, b"BMC"), "information outside the host's control `BMC`");
    assert_eq!(plain(4, EV_OMIT_BOOT_DEVICE_EVENTS, b""), "boot device events left out");
    assert_eq!(
        plain(1, EV_PLATFORM_CONFIG_FLAGS, b"etc/table-loader"),
        "ACPI table loader script (`etc/table-loader`)"
    );
    assert_eq!(plain(0, EV_POST_CODE, b"ACPI DATA"), "ACPI tables (`ACPI DATA`)");
    assert_eq!(plain(7, EV_EFI_ACTION, b"DMA Protection Disabled"), "action `DMA Protection Disabled`");
    assert_eq!(
        plain(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &variable("SecureBoot", &[1])),
        "Secure Boot variable `SecureBoot` (on)"
    );
    assert_eq!(plain(1, EV_EFI_VARIABLE_BOOT2, &variable("BootOrder", &[1, 0])), "boot order (BootOrder)");
    let smbios = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &smbios3(), &[0; 8]].concat();
    assert_eq!(plain(1, EV_EFI_HANDOFF_TABLES, &smbios), "firmware tables (SMBIOS 3)");
}

fn smbios3() -> [u8; 16] {
    [0x44, 0x15, 0xfd, 0xf2, 0x94, 0x97, 0x2c, 0x4a, 0x99, 0x2e, 0xe5, 0xbb, 0xcf, 0x20, 0xe3, 0x94]
}

#[test]
fn what_is_only_said() {
    let said = |data: &[u8]| plain(0, EV_NO_ACTION, data);
    assert_eq!(said(b"StartupLocality\0\x03"), "startup locality 3");
    assert_eq!(
        said(b"SP800-155 Event3rest"),
        "where the firmware's reference values are (`SP800-155 Event3`)"
    );
    assert_eq!(said(b"NvIndexDynamic \0rest"), "dialogue with a device (SPDM)");
    assert_eq!(said(&[0xff; 20]), "information");
    let nv = [&b"NvIndexInstance\0\x01\0\0\0\0\0\0\0"[..], &device(1)].concat();
    assert_eq!(said(&nv), "certificates of PCI device 8086:1234 at `Pci(0x3,0x0)` (SPDM)");
}

/// DEVICE_SECURITY_EVENT_DATA2 of a PCI device: a measurement block (0) or a certificate chain (1).
fn device(sub_type: u8) -> Vec<u8> {
    let mut out = b"SPDM Device Sec2\x02\0\0\0\0\0\0\0\x01\0\0\0".to_vec();
    out.extend([sub_type, 0, 0, 0, 2, 0, 0, 0]);
    out.extend([0; 8]);
    out.extend([10, 0, 0, 0, 0, 0, 0, 0, 1, 1, 6, 0, 0, 3, 0x7f, 0xff, 4, 0]);
    out.extend(*b"xx\0\0\x10\0\x86\x80\x34\x12");
    out
}

#[test]
fn devices() {
    let device = device(0);
    assert_eq!(
        plain(2, EV_EFI_SPDM_FIRMWARE_BLOB, &device),
        "firmware of PCI device 8086:1234 at `Pci(0x3,0x0)` (SPDM)"
    );
    assert_eq!(
        plain(3, EV_EFI_SPDM_FIRMWARE_CONFIG, &device),
        "configuration of PCI device 8086:1234 at `Pci(0x3,0x0)` (SPDM)"
    );
    assert_eq!(
        plain(7, EV_EFI_SPDM_DEVICE_POLICY, &variable("devdb", b"x")),
        "policy for devices (SPDM) `devdb`"
    );
    assert_eq!(
        plain(7, EV_EFI_SPDM_DEVICE_AUTHORITY, &variable("devdb", b"x")),
        "authority that vouched for a device (SPDM) `devdb`"
    );
}

#[test]
fn boot_loaders() {
    let grub = |measured: &[u8], data: &[u8]| words(8, EV_IPL, measured, data);
    let text = Proof::TextAfterLabel;
    assert_eq!(grub(b"quiet", b"kernel_cmdline: quiet\0"), ("kernel command line `quiet`".into(), text));
    assert_eq!(grub(b"quiet\0", b"grub_cmd quiet\0"), ("GRUB command `quiet`".into(), text));
    assert_eq!(
        grub(b"quiet", b"module_cmdline: quiet\0j"),
        ("command line of a boot module `quiet`".into(), text)
    );
    assert_eq!(grub(b"other", b"grub_cmd: quiet\0").1, Proof::None);
    assert_eq!(
        words(9, EV_IPL, b"x", b"(hd0,gpt1)/grub.cfg\0").0,
        "file `(hd0,gpt1)/grub.cfg` (read by GRUB)"
    );
    assert_eq!(words(9, EV_IPL, b"x", b"grub_linuxefi Initrd\0").0, "initrd (read by GRUB)");
    assert_eq!(words(14, EV_IPL, b"x", b"MokList\0").0, "shim variable `MokList`");
    assert_eq!(
        plain(7, EV_EFI_VARIABLE_AUTHORITY, &variable("Shim", b"x")),
        "Secure Boot authority from `Shim`"
    );
    assert_eq!(
        plain(8, EV_IPL, &utf16("quiet\0")),
        "kernel command line handed over by the boot loader `quiet`"
    );
    assert_eq!(plain(12, EV_IPL, &utf16("quiet\0")), "kernel command line handed to the stub `quiet`");
    assert_eq!(
        words(12, EV_IPL, b"x", &utf16("Credentials initrd\0")).0,
        "Credentials initrd (made by the stub)"
    );
}

#[test]
fn windows_is_named_and_not_misread() {
    let event =
        [&0x4001_0001u32.to_le_bytes()[..], &[9, 0, 0, 0], &0x0005_0003u32.to_le_bytes(), &[1, 0, 0, 0, 0]]
            .concat();
    assert_eq!(plain(12, EV_EVENT_TAG, &event), "Windows: trust boundary (test signing)");
    assert_eq!(plain(12, EV_SEPARATOR, b"WBCL"), "separator (Windows boot log)");
    assert_eq!(plain(11, EV_COMPACT_HASH, &[0xfe; 4]), "compact hash (4 bytes)");
}

#[test]
fn running_guests() {
    let data = [&TAG_AAEL.to_le_bytes()[..], &[5, 0, 0, 0], b"a b c"].concat();
    assert_eq!(plain(15, EV_EVENT_TAG, &data), "attestation agent's event `a b c`");
}

#[test]
fn events_of_no_register_are_shown() {
    let mut log = Log::new();
    log.raw(NO_REGISTER, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"SP800-155 Event3");
    let tree = ccnode_tpm_eventlog::render::tree(&log.parse());
    assert!(tree.contains("no register  value unknown\n  #1   ------------ EV_NO_ACTION: where"), "{tree}");
}

#[test]
fn a_label_is_not_covered_by_its_text() {
    let mut log = Log::new();
    log.add(8, EV_IPL, b"init=/bin/sh", b"grub_cmd: init=/bin/sh\0");
    let bytes = log.0;
    let log = EventLog::parse(&bytes).unwrap();
    assert!(!log.events[1].describe().is_proven());
    assert!(!log.events[1].data_is_proven(ccnode_evidence::HashAlg::Sha256));
}
