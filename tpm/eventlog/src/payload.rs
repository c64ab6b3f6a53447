//! Event data decoded by event type (Platform Firmware Profile, section 10.4; UEFI specification). Claims until proven.

use crate::event::Event;
use crate::event_type::*;
use crate::spdm::Device;
use crate::{device_path, text, windows};
use ccnode_evidence::Reader;
use std::fmt;

/// A GUID in UEFI's mixed-endian byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, tail @ ..] = self.0;
        let (first, second, third) =
            (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, g]), u16::from_le_bytes([h, i]));
        let [j, k, node @ ..] = tail;
        write!(f, "{first:08x}-{second:04x}-{third:04x}-{j:02x}{k:02x}-{}", hex::encode(node))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an EV_SEPARATOR event says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Separator {
    /// The end of a phase (0 or 0xffffffff).
    End,
    /// Where Windows' own events begin ("WBCL").
    Windows,
    /// The firmware reports an error (1).
    Error,
}

/// UEFI_VARIABLE_DATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// The vendor's GUID.
    pub guid: Guid,
    /// The name: "SecureBoot".
    pub name: String,
    /// The contents.
    pub data: Vec<u8>,
}

/// EFI_LOAD_OPTION, the contents of Boot#### (UEFI specification, section 3.1.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootEntry {
    /// Attributes; bit 0: active.
    pub attributes: u32,
    /// The description shown in the firmware's menu.
    pub description: String,
    /// The device path as text.
    pub path: String,
}

/// UEFI_IMAGE_LOAD_EVENT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageLoad {
    /// Where the image was loaded.
    pub address: u64,
    /// Length in memory, in bytes.
    pub length: u64,
    /// The device path as text; empty for an image loaded from memory.
    pub path: String,
}

/// One entry of UEFI_GPT_DATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Partition type GUID.
    pub kind: Guid,
    /// Unique partition GUID.
    pub guid: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
    /// Partition label.
    pub name: String,
}

/// UEFI_GPT_DATA: the primary GPT header and the used entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gpt {
    /// Disk GUID.
    pub disk: Guid,
    /// The used entries in order.
    pub partitions: Vec<Partition>,
}

/// One entry of UEFI_HANDOFF_TABLE_POINTERS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableRef {
    /// The table's vendor GUID.
    pub guid: Guid,
    /// Where it lies.
    pub address: u64,
}

/// Event data by what their type says they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// EV_SEPARATOR.
    Separator(Separator),
    /// A string: versions, actions, EV_IPL, EV_POST_CODE and the like.
    Text(String),
    /// A blob of firmware, by address and length in bytes, with its name where the log has one.
    Blob {
        /// What the log calls it.
        name: Option<String>,
        /// Physical address.
        base: u64,
        /// Length in bytes.
        length: u64,
    },
    /// A UEFI variable.
    Variable(Variable),
    /// A loaded image.
    Image(ImageLoad),
    /// A partition table.
    Gpt(Gpt),
    /// Tables handed over, with a description where the log has one.
    Tables {
        /// What the log calls them.
        name: Option<String>,
        /// The tables.
        tables: Vec<TableRef>,
    },
    /// TCG_PCClientTaggedEvent.
    Tagged {
        /// The tag.
        tag: u32,
        /// The text in it, where there is one.
        text: Option<String>,
    },
    /// A device measured over SPDM.
    Device(Device),
    /// Events of Windows' boot configuration log, in words.
    Windows(String),
    /// Anything else, or data that don't have the form of their type.
    Opaque,
}

impl Event<'_> {
    /// Decodes the data by the event's type; never fails, since types are hints.
    pub fn payload(&self) -> Payload {
        decode(self.event_type, self.data).unwrap_or(Payload::Opaque)
    }
}

/// The contents of a variable event whose digest may cover them alone.
pub(crate) fn variable_contents<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    match event.event_type {
        EV_EFI_VARIABLE_BOOT | EV_EFI_VARIABLE_BOOT2 | EV_EFI_VARIABLE_AUTHORITY => {
            variable_parts(event.data).map(|p| p.2)
        }
        _ => None,
    }
}

impl BootEntry {
    /// Decodes the contents of a Boot#### variable.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let mut r = Reader::new(data);
        let attributes = r.u32()?;
        let path_len = r.u16()?;
        let (pairs, _) = r.rest().as_chunks::<2>();
        let units = pairs.iter().position(|p| p == &[0, 0])?;
        let description = text::utf16(r.take(2 * units)?)?;
        r.take(2)?;
        let path = device_path::render(r.take(usize::from(path_len))?)?;
        Some(Self { attributes, description, path })
    }
}

fn decode(event_type: u32, data: &[u8]) -> Option<Payload> {
    Some(match event_type {
        EV_SEPARATOR => Payload::Separator(match data {
            [0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff] => Separator::End,
            [1, 0, 0, 0] => Separator::Error,
            b"WBCL" => Separator::Windows,
            _ => return None,
        }),
        EV_EFI_VARIABLE_DRIVER_CONFIG
        | EV_EFI_VARIABLE_BOOT
        | EV_EFI_VARIABLE_BOOT2
        | EV_EFI_VARIABLE_AUTHORITY
        | EV_EFI_SPDM_DEVICE_POLICY
        | EV_EFI_SPDM_DEVICE_AUTHORITY => {
            let (guid, name, contents) = variable_parts(data)?;
            Payload::Variable(Variable { guid, name: text::utf16(name)?, data: contents.to_vec() })
        }
        EV_EFI_BOOT_SERVICES_APPLICATION | EV_EFI_BOOT_SERVICES_DRIVER | EV_EFI_RUNTIME_SERVICES_DRIVER => {
            image(data)?
        }
        EV_EFI_GPT_EVENT | EV_EFI_GPT_EVENT2 => gpt(data)?,
        EV_EFI_PLATFORM_FIRMWARE_BLOB => blob(data, false)?,
        EV_EFI_PLATFORM_FIRMWARE_BLOB2 | EV_POST_CODE2 => blob(data, true)?,
        EV_EFI_HANDOFF_TABLES => tables(data, false)?,
        EV_EFI_HANDOFF_TABLES2 => tables(data, true)?,
        EV_EFI_SPDM_FIRMWARE_BLOB | EV_EFI_SPDM_FIRMWARE_CONFIG => Payload::Device(Device::parse(data)?),
        EV_EVENT_TAG => {
            if let Some(words) = windows::describe(data) {
                return Some(Payload::Windows(words));
            }
            let mut r = Reader::new(data);
            let tag = r.u32()?;
            Payload::Tagged { tag, text: text::any(r.sized_u32()?) }
        }
        // Some firmware logs an address and a length where others log a name.
        EV_POST_CODE if data.len() == 16 && text::any(data).is_none() => blob(data, false)?,
        _ => Payload::Text(text::any(data)?),
    })
}

/// GUID, UTF-16 name, contents.
fn variable_parts(data: &[u8]) -> Option<(Guid, &[u8], &[u8])> {
    let mut r = Reader::new(data);
    let guid = Guid(*r.array()?);
    let (name_len, data_len) = (r.u64()?, r.u64()?);
    let name = r.take_u64(name_len.checked_mul(2)?)?;
    let contents = r.take_u64(data_len)?;
    r.is_empty().then_some((guid, name, contents))
}

fn image(data: &[u8]) -> Option<Payload> {
    let mut r = Reader::new(data);
    let (address, length, _link_time) = (r.u64()?, r.u64()?, r.u64()?);
    let path_len = r.u64()?;
    let path = device_path::render(r.take_u64(path_len)?)?;
    Some(Payload::Image(ImageLoad { address, length, path }))
}

fn blob(data: &[u8], named: bool) -> Option<Payload> {
    let mut r = Reader::new(data);
    let name = if named { Some(short_name(&mut r)?) } else { None };
    let (base, length) = (r.u64()?, r.u64()?);
    r.is_empty().then_some(Payload::Blob { name, base, length })
}

fn tables(data: &[u8], named: bool) -> Option<Payload> {
    let mut r = Reader::new(data);
    let name = if named { Some(short_name(&mut r)?) } else { None };
    let count = r.u64()?;
    let mut tables = Vec::new();
    for _ in 0..count {
        tables.push(TableRef { guid: Guid(*r.array()?), address: r.u64()? });
    }
    Some(Payload::Tables { name, tables })
}

/// A byte of length, then that many bytes of ASCII, a NUL perhaps among them.
fn short_name(r: &mut Reader<'_>) -> Option<String> {
    let len = r.u8()?;
    text::any(r.take(usize::from(len))?)
}

/// UEFI_GPT_DATA: EFI_PARTITION_TABLE_HEADER (92 bytes), a count, then the used entries.
fn gpt(data: &[u8]) -> Option<Payload> {
    let mut r = Reader::new(data);
    if r.take(8)? != b"EFI PART" {
        return None;
    }
    // Revision to last usable LBA.
    r.take(48)?;
    let disk = Guid(*r.array()?);
    r.u64()?;
    let (_entries, entry_size, _crc) = (r.u32()?, r.u32()?, r.u32()?);
    let count = r.u64()?;
    let entry_size = usize::try_from(entry_size).ok().filter(|s| *s >= 128)?;
    let mut partitions = Vec::new();
    for _ in 0..count {
        let mut e = Reader::new(r.take(entry_size)?);
        let (kind, guid) = (Guid(*e.array()?), Guid(*e.array()?));
        let (first, last, _attributes) = (e.u64()?, e.u64()?, e.u64()?);
        partitions.push(Partition { kind, guid, first, last, name: text::utf16(e.take(72)?)? });
    }
    Some(Payload::Gpt(Gpt { disk, partitions }))
}
