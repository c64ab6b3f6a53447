//! Events in words for people: what kind, which component, and whether that is proven.

use crate::event::{Event, Proof};
use crate::event_type::{self, *};
use crate::payload::{BootEntry, Payload, Separator, Variable};
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

impl Event {
    /// Describes the event. Types and data are hints: `proof` says how far they are more.
    pub fn describe(&self) -> Description {
        let proof = self.best_alg().map_or(Proof::None, |alg| self.proof(alg));
        let kind = event_type::name(self.event_type)
            .map_or_else(|| format!("event type {:#x}", self.event_type), str::to_owned);
        if let Some(section) = self.names_section() {
            // The digest itself says it: it is the hash of a section's name.
            let component = format!("name of section {} of the UKI", printable(&section));
            return Description { kind, component, proof: Proof::Data };
        }
        Description { kind, component: component(self), proof }
    }

    /// The UKI section whose name this event measures, where its digest proves that (the stub measures the name with its NUL).
    pub fn names_section(&self) -> Option<String> {
        let name = self.section_hint()?;
        let mut measured = name.clone().into_bytes();
        measured.push(0);
        let alg = self.best_alg()?;
        (self.digest(alg)? == crate::event::hash(alg, &[&measured])?).then_some(name)
    }

    /// The UKI section that the event's text names: either its name or its contents were measured. A claim.
    pub(crate) fn section_hint(&self) -> Option<String> {
        let Payload::Text(name) = self.payload() else { return None };
        let fine = name.len() > 1
            && name.len() <= 16
            && name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_graphic());
        (self.event_type == EV_IPL && fine).then_some(name)
    }

    /// Whether the event says that it is the Linux EFI stub's measurement of the load options. A claim.
    pub(crate) fn is_load_options(&self) -> bool {
        matches!(self.payload(), Payload::Tagged { tag: TAG_LOAD_OPTIONS, .. })
    }
}

fn component(event: &Event) -> String {
    match event.payload() {
        Payload::Separator(Separator::End) => "separator (end of a phase)".to_owned(),
        Payload::Separator(Separator::Error) => "separator (firmware error)".to_owned(),
        Payload::Text(text) => from_text(event, &text),
        Payload::Blob { name: Some(name), .. } if !name.is_empty() => {
            format!("firmware volume `{}`", printable(&name))
        }
        Payload::Blob { base, length, .. } => format!("firmware volume at {base:#x} ({length:#x} bytes)"),
        Payload::Variable(variable) => from_variable(event.event_type, &variable),
        Payload::Image(image) => {
            let what = match event.event_type {
                EV_EFI_BOOT_SERVICES_DRIVER => "EFI boot driver",
                EV_EFI_RUNTIME_SERVICES_DRIVER => "EFI run-time driver",
                _ => "EFI application",
            };
            if image.path.is_empty() {
                format!("{what} out of memory (Authenticode)")
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
            (Some(name), _) => name.to_owned(),
            (None, Some(text)) => format!("tagged event {tag:#010x} `{}`", printable(&text)),
            (None, None) => format!("tagged event {tag:#010x}"),
        },
        Payload::Opaque => opaque(event),
    }
}

fn opaque(event: &Event) -> String {
    match event.event_type {
        EV_NO_ACTION => no_action(&event.data),
        EV_S_CRTM_CONTENTS => "root of trust for measurement".to_owned(),
        EV_TABLE_OF_DEVICES => "table of devices".to_owned(),
        EV_CPU_MICROCODE => "CPU microcode".to_owned(),
        EV_EFI_HCRTM_EVENT => "hardware root of trust".to_owned(),
        EV_EFI_SPDM_FIRMWARE_BLOB => "firmware of a device (SPDM)".to_owned(),
        EV_EFI_SPDM_FIRMWARE_CONFIG => "configuration of a device (SPDM)".to_owned(),
        EV_EFI_GPT_EVENT | EV_EFI_GPT_EVENT2 => "partition table (GPT)".to_owned(),
        _ => format!("{} bytes without a known form", event.data.len()),
    }
}

fn no_action(data: &[u8]) -> String {
    let label = data.get(..16).and_then(text::any).unwrap_or_default();
    match (label.as_str(), data.get(16)) {
        ("StartupLocality", Some(locality)) => format!("startup locality {locality}"),
        ("Spec ID Event03", _) => "log header".to_owned(),
        ("", _) => "information".to_owned(),
        (label, _) => format!("information `{}`", printable(label)),
    }
}

fn from_text(event: &Event, text: &str) -> String {
    let shown = printable(text);
    match (event.event_type, event.register) {
        (EV_NO_ACTION, _) => no_action(&event.data),
        (EV_S_CRTM_VERSION, _) if text.is_empty() => "firmware version (empty)".to_owned(),
        (EV_S_CRTM_VERSION, _) => format!("firmware version `{shown}`"),
        (EV_S_CRTM_CONTENTS, _) => format!("root of trust for measurement `{shown}`"),
        (EV_POST_CODE | EV_PLATFORM_CONFIG_FLAGS, _) => match text {
            "ACPI DATA" | "etc/acpi/tables" => format!("ACPI tables (`{shown}`)"),
            "etc/table-loader" => "ACPI table loader script (`etc/table-loader`)".to_owned(),
            "etc/acpi/rsdp" => "ACPI root pointer (`etc/acpi/rsdp`)".to_owned(),
            _ if event.event_type == EV_POST_CODE => format!("firmware code `{shown}`"),
            _ => format!("platform configuration `{shown}`"),
        },
        (EV_ACTION | EV_EFI_ACTION, _) => format!("action `{shown}`"),
        (EV_IPL, 11) if event.section_hint().is_some() => format!("section {shown} of the UKI"),
        (EV_IPL, 12 | 13) if text.ends_with(" initrd") => format!("{shown} (made by the stub)"),
        (EV_IPL, 12) => format!("kernel command line handed to the stub `{shown}`"),
        (EV_IPL, 14) => format!("shim variable `{shown}`"),
        (EV_IPL, 15) if text == crate::own::CAP => "cap (`ccnode:cap`)".to_owned(),
        (EV_IPL, 15) => format!("volume `{shown}`"),
        (EV_TABLE_OF_DEVICES, _) => format!("table of devices `{shown}`"),
        _ if text.is_empty() => "no description".to_owned(),
        _ => format!("`{shown}`"),
    }
}

fn from_variable(event_type: u32, variable: &Variable) -> String {
    let name = printable(&variable.name);
    match variable.name.as_str() {
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
        other => other.to_owned(),
    }
}
