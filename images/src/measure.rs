//! Prediction of PCR 4, 9 and 11–14 from a UKI, with the event behind each extension.
//!
//! What is predicted: firmware after the TCG PC Client Platform Firmware Profile (PCR 4), the stub of systemd 252 (PCR 11:
//! name and content of each section that it knows), the kernel's EFI stub (PCR 9: load options, then initrd).

use crate::pe::{Pe, PeError};
use ccnode_evidence::{
    DataName, IMAGE_PCRS, ImageTuple, Layout, PcrIndex, PcrValues, Sha256Digest, TupleEvent,
};
use ccnode_tpm_eventlog::event_type::{
    EV_EFI_ACTION, EV_EFI_BOOT_SERVICES_APPLICATION, EV_EVENT_TAG, EV_IPL, EV_SEPARATOR,
};
use std::collections::BTreeMap;

/// The sections that stub 252 measures, in its order.
const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];

/// Whether firmware enforces Secure Boot: then the stub starts the inner kernel without the firmware measuring it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SecureBoot {
    /// Not enforced: PCR 4 holds the UKI and its inner kernel.
    #[default]
    Off,
    /// Enforced: PCR 4 holds the UKI alone.
    On,
}

/// Why no tuple can be predicted from a file.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The file is no UKI.
    #[error("the UKI can't be read: {0}")]
    Uki(#[source] PeError),
    /// The inner kernel is no PE image.
    #[error("the kernel in section .linux can't be read: {0}")]
    Kernel(#[source] PeError),
    /// The command line is not ASCII, so what the stub makes of it is not certain.
    #[error("the command line holds a byte outside printable ASCII at position {0}")]
    Cmdline(usize),
    /// The command line declares no verity hash, or a malformed one.
    #[error("the command line has no `ccnode.roothash=` with 64 lower-case hex digits")]
    RootHash,
    /// The command line declares a layout that there is not, or two.
    #[error("the command line has `ccnode.layout=` with something that is no layout, or twice")]
    Layout,
    /// The command line names volumes for data that can't be, or twice.
    #[error("the command line has `ccnode.data=` with something else than names in order, or twice")]
    Data,
    /// `.osrel` has no IMAGE_ID or IMAGE_VERSION.
    #[error("section .osrel has no {0}: the tuple would have no name")]
    Osrel(&'static str),
    /// A section that the prediction does not cover.
    #[error("section {0} is measured in ways that this version does not predict: remove it")]
    Section(String),
}

/// Predicts the tuple of a UKI; name and version come from IMAGE_ID and IMAGE_VERSION of its `.osrel`.
pub fn measure_uki(bytes: &[u8], secure_boot: SecureBoot) -> Result<ImageTuple, MeasureError> {
    let uki = Pe::parse(bytes).map_err(MeasureError::Uki)?;
    if let Some(odd) = uki.sections().iter().find(|s| s.name == ".pcrsig") {
        return Err(MeasureError::Section(odd.name.clone()));
    }
    let need = |name: &'static str| {
        uki.content(name).and_then(|c| c.ok_or(PeError::Missing(name))).map_err(MeasureError::Uki)
    };
    let (linux, initrd) = (need(".linux")?, need(".initrd")?);
    let cmdline = cmdline(need(".cmdline")?)?;
    let osrel = String::from_utf8_lossy(need(".osrel")?).into_owned();

    let mut events: BTreeMap<PcrIndex, Vec<TupleEvent>> = BTreeMap::new();
    let mut add = |pcr: u8, event_type: u32, digest: Sha256Digest, component: String| {
        if let Ok(pcr) = PcrIndex::new(pcr.into()) {
            events.entry(pcr).or_default().push(TupleEvent { event_type, digest, component });
        }
    };

    let action = b"Calling EFI Application from Boot Option";
    add(4, EV_EFI_ACTION, Sha256Digest::of(action), "the firmware starts a boot option".into());
    add(4, EV_SEPARATOR, Sha256Digest::of(&[0; 4]), "separator".into());
    let digest = uki.authenticode().map_err(MeasureError::Uki)?;
    add(4, EV_EFI_BOOT_SERVICES_APPLICATION, digest, "the UKI as a whole".into());
    if secure_boot == SecureBoot::Off {
        let digest = Pe::parse(linux).and_then(|pe| pe.authenticode()).map_err(MeasureError::Kernel)?;
        add(4, EV_EFI_BOOT_SERVICES_APPLICATION, digest, "the kernel inside the UKI".into());
    }

    let options = utf16(&cmdline);
    add(9, EV_EVENT_TAG, Sha256Digest::of(&options), "the kernel's load options (command line)".into());
    add(9, EV_EVENT_TAG, Sha256Digest::of(initrd), "the initramfs".into());

    for name in MEASURED {
        if let Some(content) = uki.content(name).map_err(MeasureError::Uki)? {
            let mut text = name.as_bytes().to_vec();
            text.push(0);
            add(11, EV_IPL, Sha256Digest::of(&text), format!("name of section {name} of the UKI"));
            add(11, EV_IPL, Sha256Digest::of(content), format!("section {name} of the UKI"));
        }
    }

    Ok(ImageTuple {
        format: 1,
        name: os_release(&osrel, "IMAGE_ID").ok_or(MeasureError::Osrel("IMAGE_ID"))?,
        version: os_release(&osrel, "IMAGE_VERSION").ok_or(MeasureError::Osrel("IMAGE_VERSION"))?,
        pcrs: replay(&events),
        events,
        verity_hash: root_hash(&cmdline)?,
        layout: Layout::declared(&cmdline).ok_or(MeasureError::Layout)?,
        data: DataName::declared(&cmdline).ok_or(MeasureError::Data)?,
        cmdline,
    })
}

/// The values that the events lead to; a PCR without events is zero.
fn replay(events: &BTreeMap<PcrIndex, Vec<TupleEvent>>) -> PcrValues {
    let value = |pcr: &PcrIndex| {
        events.get(pcr).into_iter().flatten().fold(Sha256Digest::ZERO, |acc, e| acc.extend(&e.digest))
    };
    let indices = IMAGE_PCRS.iter().filter_map(|i| PcrIndex::new((*i).into()).ok());
    PcrValues(indices.map(|pcr| (pcr, value(&pcr))).collect())
}

/// The stub turns other bytes into spaces or garbage: only printable ASCII has one certain form.
fn cmdline(bytes: &[u8]) -> Result<String, MeasureError> {
    match bytes.iter().position(|b| !(0x20..0x7f).contains(b)) {
        Some(at) => Err(MeasureError::Cmdline(at)),
        None => Ok(bytes.iter().map(|b| char::from(*b)).collect()),
    }
}

/// Load options as the stub hands them to the kernel: UTF-16LE with a final NUL.
fn utf16(cmdline: &str) -> Vec<u8> {
    cmdline.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn root_hash(cmdline: &str) -> Result<Sha256Digest, MeasureError> {
    let mut found = cmdline.split(' ').filter_map(|word| word.strip_prefix("ccnode.roothash="));
    match (found.next().map(str::parse), found.next()) {
        (Some(Ok(digest)), None) => Ok(digest),
        _ => Err(MeasureError::RootHash),
    }
}

/// The value of a key of os-release(5), without its double quotes.
fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
