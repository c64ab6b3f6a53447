//! Event types of the TCG PC Client Platform Firmware Profile, section 10.4.1, and the tags that Linux and systemd use.

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = $value;)*

        /// The name of an event type, `None` where the specification has none.
        pub fn name(event_type: u32) -> Option<&'static str> {
            match event_type {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

types! {
    /// Reserved, used by old firmware for certificates.
    EV_PREBOOT_CERT = 0x0000_0000;
    /// Code measured by the POST; its data names it.
    EV_POST_CODE = 0x0000_0001;
    /// Reserved.
    EV_UNUSED = 0x0000_0002;
    /// Information only, never extended.
    EV_NO_ACTION = 0x0000_0003;
    /// The end of a phase: 0 or 0xffffffff, or 1 after an error.
    EV_SEPARATOR = 0x0000_0004;
    /// An action as a string.
    EV_ACTION = 0x0000_0005;
    /// A TCG_PCClientTaggedEvent: tag, size, data.
    EV_EVENT_TAG = 0x0000_0006;
    /// Contents of the root of trust for measurement.
    EV_S_CRTM_CONTENTS = 0x0000_0007;
    /// Version of the root of trust for measurement.
    EV_S_CRTM_VERSION = 0x0000_0008;
    /// CPU microcode.
    EV_CPU_MICROCODE = 0x0000_0009;
    /// Configuration of the platform.
    EV_PLATFORM_CONFIG_FLAGS = 0x0000_000a;
    /// A table of devices.
    EV_TABLE_OF_DEVICES = 0x0000_000b;
    /// A compact hash.
    EV_COMPACT_HASH = 0x0000_000c;
    /// What boot loaders measure.
    EV_IPL = 0x0000_000d;
    /// Partition data of a boot loader.
    EV_IPL_PARTITION_DATA = 0x0000_000e;
    /// Code that the host's platform does not control.
    EV_NONHOST_CODE = 0x0000_000f;
    /// Configuration of such code.
    EV_NONHOST_CONFIG = 0x0000_0010;
    /// Information about such code.
    EV_NONHOST_INFO = 0x0000_0011;
    /// Boot device types that were left out.
    EV_OMIT_BOOT_DEVICE_EVENTS = 0x0000_0012;
    /// Code measured by the POST, with address and name.
    EV_POST_CODE2 = 0x0000_0013;
    /// Base of the EFI types.
    EV_EFI_EVENT_BASE = 0x8000_0000;
    /// UEFI_VARIABLE_DATA of a configuration variable.
    EV_EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001;
    /// A boot variable; the digest covers its contents alone.
    EV_EFI_VARIABLE_BOOT = 0x8000_0002;
    /// An application that was loaded.
    EV_EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003;
    /// A boot driver that was loaded.
    EV_EFI_BOOT_SERVICES_DRIVER = 0x8000_0004;
    /// A run-time driver that was loaded.
    EV_EFI_RUNTIME_SERVICES_DRIVER = 0x8000_0005;
    /// UEFI_GPT_DATA.
    EV_EFI_GPT_EVENT = 0x8000_0006;
    /// An action as a string.
    EV_EFI_ACTION = 0x8000_0007;
    /// A firmware volume.
    EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x8000_0008;
    /// UEFI tables handed over.
    EV_EFI_HANDOFF_TABLES = 0x8000_0009;
    /// A firmware volume with a description.
    EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000a;
    /// UEFI tables with a description.
    EV_EFI_HANDOFF_TABLES2 = 0x8000_000b;
    /// A boot variable; the digest covers UEFI_VARIABLE_DATA.
    EV_EFI_VARIABLE_BOOT2 = 0x8000_000c;
    /// UEFI_GPT_DATA without disk GUIDs.
    EV_EFI_GPT_EVENT2 = 0x8000_000d;
    /// A measurement by a hardware root of trust.
    EV_EFI_HCRTM_EVENT = 0x8000_0010;
    /// The signature database entry that let an image load.
    EV_EFI_VARIABLE_AUTHORITY = 0x8000_00e0;
    /// Firmware of a device over SPDM.
    EV_EFI_SPDM_FIRMWARE_BLOB = 0x8000_00e1;
    /// Configuration of a device over SPDM.
    EV_EFI_SPDM_FIRMWARE_CONFIG = 0x8000_00e2;
    /// Policy for devices over SPDM.
    EV_EFI_SPDM_DEVICE_POLICY = 0x8000_00e3;
    /// Authority for devices over SPDM.
    EV_EFI_SPDM_DEVICE_AUTHORITY = 0x8000_00e4;
}

/// Tag of the Linux EFI stub: the initrd.
pub const TAG_INITRD: u32 = 0x8f3b_22ec;
/// Tag of the Linux EFI stub: LOADED_IMAGE::LoadOptions, the command line as UTF-16.
pub const TAG_LOAD_OPTIONS: u32 = 0x8f3b_22ed;

/// Tag of the attestation agent of Confidential Containers: an event of a running guest, in words of its own.
pub const TAG_AAEL: u32 = 0x4141_454c;

/// What events of a type measure, in words.
pub(crate) fn words(event_type: u32) -> Option<&'static str> {
    Some(match event_type {
        EV_PREBOOT_CERT => "certificate (before boot)",
        EV_POST_CODE | EV_POST_CODE2 => "firmware code",
        EV_ACTION | EV_EFI_ACTION => "action",
        EV_EVENT_TAG => "tagged event",
        EV_S_CRTM_CONTENTS => "root of trust for measurement",
        EV_CPU_MICROCODE => "CPU microcode",
        EV_PLATFORM_CONFIG_FLAGS => "platform configuration",
        EV_TABLE_OF_DEVICES => "table of devices",
        EV_COMPACT_HASH => "compact hash",
        EV_IPL => "boot loader data",
        EV_IPL_PARTITION_DATA => "partition data of the boot loader",
        EV_NONHOST_CODE => "code outside the host's control",
        EV_NONHOST_CONFIG => "configuration outside the host's control",
        EV_NONHOST_INFO => "information outside the host's control",
        EV_OMIT_BOOT_DEVICE_EVENTS => "boot device events left out",
        EV_EFI_VARIABLE_DRIVER_CONFIG => "firmware variable",
        EV_EFI_VARIABLE_BOOT | EV_EFI_VARIABLE_BOOT2 => "boot variable",
        EV_EFI_VARIABLE_AUTHORITY => "Secure Boot authority",
        EV_EFI_BOOT_SERVICES_APPLICATION => "EFI application (Authenticode)",
        EV_EFI_BOOT_SERVICES_DRIVER => "EFI boot driver (Authenticode)",
        EV_EFI_RUNTIME_SERVICES_DRIVER => "EFI run-time driver (Authenticode)",
        EV_EFI_GPT_EVENT | EV_EFI_GPT_EVENT2 => "partition table (GPT)",
        EV_EFI_PLATFORM_FIRMWARE_BLOB | EV_EFI_PLATFORM_FIRMWARE_BLOB2 => "firmware volume",
        EV_EFI_HANDOFF_TABLES | EV_EFI_HANDOFF_TABLES2 => "firmware tables",
        EV_EFI_HCRTM_EVENT => "hardware root of trust",
        EV_EFI_SPDM_FIRMWARE_BLOB => "firmware of a device (SPDM)",
        EV_EFI_SPDM_FIRMWARE_CONFIG => "configuration of a device (SPDM)",
        EV_EFI_SPDM_DEVICE_POLICY => "policy for devices (SPDM)",
        EV_EFI_SPDM_DEVICE_AUTHORITY => "authority that vouched for a device (SPDM)",
        _ => return None,
    })
}

/// What a tag of EV_EVENT_TAG says, in words.
pub(crate) fn tag(tag: u32) -> Option<&'static str> {
    Some(match tag {
        TAG_INITRD => "initrd",
        TAG_LOAD_OPTIONS => "kernel command line (load options)",
        0xf5bc_582a => "boot loader configuration (loader.conf)",
        0x6c46_f751 => "devicetree add-on",
        0x49df_fe0f => "initrd add-on",
        0xdac0_8e1a => "microcode add-on",
        0x13ae_d6db => "profile of the UKI",
        0xd5cb_7cbc => "SMBIOS system information (type 1)",
        0xe0d4_7bc8 => "SMBIOS baseboard information (type 2)",
        TAG_AAEL => "attestation agent's event",
        0xc0b3_bd23 => "SMBIOS OEM strings (type 11)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_the_specification_names() {
        assert_eq!(name(EV_IPL), Some("EV_IPL"));
        assert_eq!(name(0x8000_00e0), Some("EV_EFI_VARIABLE_AUTHORITY"));
        assert_eq!(name(0x1234), None);
    }
}
