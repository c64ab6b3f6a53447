//! Events in words for people: what kind, which component, and whether that is proven.

use crate::event::{Event, Proof};
use crate::event_type::{self, *};
use crate::grub::{self, Label};
use crate::hash::hash;
use crate::payload::{BootEntry, Payload, Separator, Variable};
use crate::spdm::Device;
use crate::text::{self, printable};

/// An event in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The type's name, "EV_IPL", or its number.
    pub kind: String,
    /// The component: "section .cmdline of the UKI". Safe to print.
    pub component: String,
    /// How far the event's digest (of its strongest bank but SHA-1) covers what is said; anything but [`Proof::Data`] and
    /// [`Proof::DataWithoutNul`] makes the component a claim.
    pub proof: Proof,
}

impl Description {
    /// Whether a digest covers all that the component says.
    pub fn is_proven(&self) -> bool {
        matches!(self.proof, Proof::Data | Proof::DataWithoutNul)
    }
}

impl Event<'_> {
    /// Describes the event. Types and data are hints: `proof` says how far they are more.
    pub fn describe(&self) -> Description {
        let proof = self.best_alg().map_or(Proof::None, |alg| self.proof(alg));
        let kind = self.kind();
        if let Some(section) = self.names_section() {
            // The digest itself says it: it is the hash of a section's name.
            let component = format!("name of section {} of the UKI", printable(&section));
            return Description { kind, component, proof: Proof::Data };
        }
        Description { kind, component: component(self), proof }
    }

    /// The type's name, "EV_IPL", or its number.
    pub fn kind(&self) -> String {
        event_type::name(self.event_type)
            .map_or_else(|| format!("event type {:#x}", self.event_type), str::to_owned)
    }

    /// The UKI section whose name this event measures, where its digest proves that (the stub measures the name with its NUL).
    pub fn names_section(&self) -> Option<String> {
        let name = self.section_hint()?;
        let mut measured = name.clone().into_bytes();
        measured.push(0);
        let alg = self.best_alg()?;
        (self.digest(alg)? == hash(alg, &[&measured]).get()).then_some(name)
    }

    /// The UKI section that the event's text names: either its name or its contents were measured. A claim.
    pub(crate) fn section_hint(&self) -> Option<String> {
        if self.event_type != EV_IPL {
            return None;
        }
        let Payload::Text(name) = self.payload() else { return None };
        let fine = name.len() > 1
            && name.len() <= 16
            && name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_graphic());
        fine.then_some(name)
    }

    /// The text that the event's digest covers, where there is one.
    pub(crate) fn measured_text(&self) -> Option<String> {
        match self.proof(self.best_alg()?) {
            Proof::TextAfterLabel => {
                let text = grub::labelled(self)?.text;
                Some(String::from_utf8_lossy(text).into_owned())
            }
            Proof::Data | Proof::DataWithoutNul => match self.payload() {
                Payload::Text(text) => Some(text),
                _ => None,
            },
            Proof::VariableContents | Proof::None => None,
        }
    }

    /// Whether the event says that it is the Linux EFI stub's measurement of the load options. A claim.
    pub(crate) fn is_load_options(&self) -> bool {
        matches!(self.payload(), Payload::Tagged { tag: TAG_LOAD_OPTIONS, .. })
    }
}

fn component(event: &Event<'_>) -> String {
    if let Some(labelled) = grub::labelled(event) {
        let what = match labelled.label {
            Label::Kernel => "kernel command line",
            Label::Module => "command line of a boot module",
            Label::Command => "GRUB command",
        };
        return format!("{what} `{}`", printable(&String::from_utf8_lossy(labelled.text)));
    }
    match event.payload() {
        Payload::Separator(Separator::End) => "separator (end of a phase)".to_owned(),
        Payload::Separator(Separator::Error) => "separator (firmware error)".to_owned(),
        Payload::Separator(Separator::Windows) => "separator (Windows boot log)".to_owned(),
        Payload::Text(text) => from_text(event, &text),
        Payload::Blob { name, base, length } => {
            let what = if event.event_type == EV_POST_CODE2 { "firmware code" } else { "firmware volume" };
            match name.filter(|name| !name.is_empty()) {
                Some(name) => format!("{what} `{}`", printable(&name)),
                None => format!("{what} at {base:#x} ({length:#x} bytes)"),
            }
        }
        Payload::Variable(variable) => from_variable(event.event_type, &variable),
        Payload::Image(image) => {
            let what = match event.event_type {
                EV_EFI_BOOT_SERVICES_DRIVER => "EFI boot driver",
                EV_EFI_RUNTIME_SERVICES_DRIVER => "EFI run-time driver",
                _ => "EFI application",
            };
            if image.path.is_empty() {
                format!("{what} loaded from memory (Authenticode)")
            } else {
                format!("{what} `{}` (Authenticode)", printable(&image.path))
            }
        }
        Payload::Gpt(gpt) => format!("partition table (GPT) of disk {}", gpt.disk),
        Payload::Tables { name, tables } => {
            let names: Vec<String> = tables.iter().take(4).map(|t| table_name(&t.guid.to_string())).collect();
            match name {
                Some(name) if !name.is_empty() => format!("firmware table `{}`", printable(&name)),
                _ => format!("firmware tables ({})", names.join(", ")),
            }
        }
        Payload::Tagged { tag, text } => match (event_type::tag(tag), text) {
            (Some(name), Some(text)) if tag == TAG_AAEL => format!("{name} `{}`", printable(&text)),
            (Some(name), _) => name.to_owned(),
            (None, Some(text)) => format!("tagged event {tag:#010x} `{}`", printable(&text)),
            (None, None) => format!("tagged event {tag:#010x}"),
        },
        Payload::Device(device) => from_device(event.event_type, &device),
        Payload::Windows(words) => words,
        Payload::Opaque => opaque(event),
    }
}

/// What the type alone says, where the data have no form that is known here.
fn opaque(event: &Event<'_>) -> String {
    match event.event_type {
        EV_NO_ACTION => no_action(event.data),
        EV_S_CRTM_VERSION => match <[u8; 16]>::try_from(event.data) {
            Ok(guid) => format!("firmware version {}", crate::Guid(guid)),
            Err(_) => format!("firmware version ({} bytes)", event.data.len()),
        },
        EV_SEPARATOR => format!("separator ({} bytes)", event.data.len()),
        other => match event_type::words(other) {
            Some(words) => format!("{words} ({} bytes)", event.data.len()),
            None => format!("{} bytes without a known form", event.data.len()),
        },
    }
}

fn no_action(data: &[u8]) -> String {
    let label = data.get(..16).and_then(text::any).unwrap_or_default();
    match (label.as_str(), data.get(16)) {
        ("StartupLocality", Some(locality)) => format!("startup locality {locality}"),
        ("Spec ID Event03" | "Spec ID Event02" | "Spec ID Event00", _) => "log header".to_owned(),
        ("SP800-155 Event" | "SP800-155 Event2" | "SP800-155 Event3", _) => {
            format!("where the firmware's reference values are (`{label}`)")
        }
        ("NvIndexInstance", _) => match data.get(24..).and_then(Device::parse) {
            Some(device) => from_device(EV_NO_ACTION, &device),
            None => "identity of a device (SPDM)".to_owned(),
        },
        ("NvIndexDynamic" | "NvIndexDynamic ", _) => "dialogue with a device (SPDM)".to_owned(),
        ("", _) => "information".to_owned(),
        (label, _) => format!("information `{}`", printable(label)),
    }
}

fn from_text(event: &Event<'_>, text: &str) -> String {
    let shown = printable(text);
    match (event.event_type, event.register) {
        (EV_NO_ACTION, _) => no_action(event.data),
        (EV_S_CRTM_VERSION, _) if text.is_empty() => "firmware version (empty)".to_owned(),
        (EV_S_CRTM_VERSION, _) => format!("firmware version `{shown}`"),
        (EV_POST_CODE | EV_PLATFORM_CONFIG_FLAGS, _) => match text {
            "ACPI DATA" | "etc/acpi/tables" => format!("ACPI tables (`{shown}`)"),
            "etc/table-loader" => "ACPI table loader script (`etc/table-loader`)".to_owned(),
            "etc/acpi/rsdp" => "ACPI root pointer (`etc/acpi/rsdp`)".to_owned(),
            _ if event.event_type == EV_POST_CODE => format!("firmware code `{shown}`"),
            _ => format!("platform configuration `{shown}`"),
        },
        (EV_ACTION | EV_EFI_ACTION, _) => format!("action `{shown}`"),
        (EV_IPL, register) => from_loader(event, register, text),
        // A separator's data are a number; as a text they are nothing.
        (EV_SEPARATOR, _) => opaque(event),
        (other, _) => match (event_type::words(other), text.is_empty()) {
            (Some(words), true) => words.to_owned(),
            (Some(words), false) => format!("{words} `{shown}`"),
            (None, true) => "no description".to_owned(),
            (None, false) => format!("`{shown}`"),
        },
    }
}

/// What boot loaders measure as EV_IPL. A CCEL log has PCRs 8 to 15 in RTMR2, register 3.
fn from_loader(event: &Event<'_>, register: u32, text: &str) -> String {
    let shown = printable(text);
    if event.section_hint().is_some() && matches!(register, 3 | 11) {
        return format!("section {shown} of the UKI");
    }
    let wide = event.data.get(1) == Some(&0) && event.data.len() > 2;
    let shim = matches!(text, "Shim" | "SbatLevel" | "MokSBState") || text.starts_with("MokList");
    match register {
        _ if text.is_empty() => "boot loader data".to_owned(),
        3 | 7 | 14 if shim => format!("shim variable `{shown}`"),
        _ if matches!(text, "grub_linuxefi Kernel") => "kernel (read by GRUB)".to_owned(),
        _ if matches!(text, "grub_linuxefi Initrd") => "initrd (read by GRUB)".to_owned(),
        3 | 9 if text.starts_with('/') || text.starts_with('(') => format!("file `{shown}` (read by GRUB)"),
        12 | 13 if text.ends_with(" initrd") => format!("{shown} (made by the stub)"),
        3 if text.ends_with(" initrd") && wide => format!("{shown} (made by the stub)"),
        12 => format!("kernel command line handed to the stub `{shown}`"),
        8 | 3 if wide => format!("kernel command line handed over by the boot loader `{shown}`"),
        14 => format!("shim variable `{shown}`"),
        15 if text == crate::own::CAP => "cap (`ccnode:cap`)".to_owned(),
        15 => format!("volume `{shown}`"),
        _ => format!("`{shown}`"),
    }
}

fn from_device(event_type: u32, device: &Device) -> String {
    let what = match event_type {
        _ if device.certificates => "certificates of",
        EV_EFI_SPDM_FIRMWARE_BLOB => "firmware of",
        EV_EFI_SPDM_FIRMWARE_CONFIG => "configuration of",
        _ => "identity of",
    };
    let which = match device.pci {
        Some((vendor, id)) => format!("PCI device {vendor:04x}:{id:04x}"),
        None => "a device".to_owned(),
    };
    match device.path.as_str() {
        "" => format!("{what} {which} (SPDM)"),
        path => format!("{what} {which} at `{}` (SPDM)", printable(path)),
    }
}

fn from_variable(event_type: u32, variable: &Variable) -> String {
    let name = printable(&variable.name);
    match variable.name.as_str() {
        _ if event_type == EV_EFI_SPDM_DEVICE_POLICY => format!("policy for devices (SPDM) `{name}`"),
        _ if event_type == EV_EFI_SPDM_DEVICE_AUTHORITY => {
            format!("authority that vouched for a device (SPDM) `{name}`")
        }
        "SbatLevel" => "SBAT level".to_owned(),
        _ if event_type == EV_EFI_VARIABLE_AUTHORITY => format!("Secure Boot authority from `{name}`"),
        "SecureBoot" => match variable.data.as_slice() {
            [1] => "Secure Boot variable `SecureBoot` (on)".to_owned(),
            [0] => "Secure Boot variable `SecureBoot` (off)".to_owned(),
            [] => "Secure Boot variable `SecureBoot` (empty: not set up)".to_owned(),
            _ => "Secure Boot variable `SecureBoot` (malformed)".to_owned(),
        },
        "PK" | "KEK" | "db" | "dbx" | "dbt" | "dbr" | "AuditMode" | "DeployedMode" => {
            format!("Secure Boot variable `{name}`")
        }
        "BootOrder" => "boot order (BootOrder)".to_owned(),
        other if is_boot_entry(other) => match BootEntry::parse(&variable.data) {
            Some(entry) => format!("boot entry {name} (`{}`)", printable(&entry.description)),
            None => format!("boot entry {name}"),
        },
        _ => format!("firmware variable `{name}`"),
    }
}

fn is_boot_entry(name: &str) -> bool {
    name.strip_prefix("Boot").is_some_and(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn table_name(guid: &str) -> String {
    match guid {
        "f2fd1544-9794-4a2c-992e-e5bbcf20e394" => "SMBIOS 3".to_owned(),
        "eb9d2d31-2d88-11d3-9a16-0090273fc14d" => "SMBIOS".to_owned(),
        "8868e871-e4f1-11d3-bc22-0080c73c8881" => "ACPI".to_owned(),
        "eb9d2d30-2d88-11d3-9a16-0090273fc14d" => "ACPI 1.0".to_owned(),
        other => other.to_owned(),
    }
}
