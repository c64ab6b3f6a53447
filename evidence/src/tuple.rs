//! Reference tuples: what a platform's firmware and what an image measure, each matched whole.

use crate::{DataName, Layout, PcrIndex, PcrValues, Sha256Digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// PCRs that the platform (firmware, its configuration, Secure Boot state) decides.
pub const PLATFORM_PCRS: [u8; 6] = [0, 1, 2, 3, 6, 7];
/// PCRs that the image (UKI, command line, initramfs, what the stub loads) decides.
pub const IMAGE_PCRS: [u8; 6] = [4, 9, 11, 12, 13, 14];

/// One measured event that a tuple expects, in the order of extension.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TupleEvent {
    /// TCG event type (`EV_IPL` is 0x0d); a hint, never judged.
    #[serde(rename = "type")]
    pub event_type: u32,
    /// What is extended into the SHA-256 bank.
    pub digest: Sha256Digest,
    /// The component in words: "section .cmdline of the UKI".
    pub component: String,
}

/// Values of PCR 0–3, 6 and 7 on one platform, with the events behind each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformTuple {
    /// Format version: 1.
    pub format: u32,
    /// A name for people: "qemu-q35-ovmf-2022.11".
    pub name: String,
    /// Exactly the PCRs of [`PLATFORM_PCRS`].
    pub pcrs: PcrValues,
    /// Events behind each PCR, in order; a PCR without events is zero.
    pub events: BTreeMap<PcrIndex, Vec<TupleEvent>>,
    /// Locality of TPM2_Startup, which is the start value of PCR 0: 0, 3 or 4.
    #[serde(default)]
    pub startup_locality: u8,
}

/// Values of PCR 4, 9 and 11–14 that one image leads to, predicted from its artefacts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTuple {
    /// Format version: 1.
    pub format: u32,
    /// The recipe's name: "debian-12-worker".
    pub name: String,
    /// The recipe's version, free text.
    pub version: String,
    /// Exactly the PCRs of [`IMAGE_PCRS`].
    pub pcrs: PcrValues,
    /// Events behind each PCR, in order; a PCR without events is zero.
    pub events: BTreeMap<PcrIndex, Vec<TupleEvent>>,
    /// The kernel command line inside the UKI.
    pub cmdline: String,
    /// dm-verity root hash of the root source, as the command line declares it.
    pub verity_hash: Sha256Digest,
    /// How a node keeps its root, as the command line declares it; absent where that is a LUKS root.
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub layout: Layout,
    /// Volumes for data beside the root, as the command line declares them; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataName>,
}

/// Why a tuple is not one.
#[derive(Debug, thiserror::Error)]
pub enum TupleError {
    /// Not JSON of this form.
    #[error("not a reference tuple: {0}")]
    Json(#[source] serde_json::Error),
    /// A format that this version does not read.
    #[error("reference tuple of format {0}; this version reads format 1")]
    Format(u32),
    /// PCRs are missing or do not belong into this kind of tuple.
    #[error("a {kind} tuple holds exactly PCRs {want:?}")]
    Pcrs {
        /// "platform" or "image".
        kind: &'static str,
        /// The indices that it must hold.
        want: [u8; 6],
    },
    /// The command line declares another layout, or none that there is.
    #[error("the tuple's layout is {0}, and its command line declares another")]
    Layout(Layout),
    /// The command line declares other volumes for data.
    #[error("the tuple's volumes for data are not those that its command line declares")]
    Data,
    /// The events do not replay to the value that stands beside them.
    #[error("PCR {pcr}: the tuple's events replay to {replayed}, its value is {value}")]
    Replay {
        /// The PCR.
        pcr: PcrIndex,
        /// What the events give.
        replayed: Sha256Digest,
        /// What the tuple says.
        value: Sha256Digest,
    },
}

impl PlatformTuple {
    /// Reads and checks a tuple; its events must replay to its values.
    pub fn from_json(text: &[u8]) -> Result<Self, TupleError> {
        let tuple: Self = read(text, |t: &Self| t.format)?;
        tuple.check()?;
        Ok(tuple)
    }

    /// Checks PCR set and replay.
    pub fn check(&self) -> Result<(), TupleError> {
        check("platform", PLATFORM_PCRS, &self.pcrs, &self.events, self.startup_locality)
    }

    /// SHA-256 over the canonical values: two tuples with the same PCRs are the same platform.
    pub fn id(&self) -> Sha256Digest {
        values_id(b"ccnode platform/1", &self.pcrs)
    }
}

impl ImageTuple {
    /// Reads and checks a tuple; its events must replay to its values.
    pub fn from_json(text: &[u8]) -> Result<Self, TupleError> {
        let tuple: Self = read(text, |t: &Self| t.format)?;
        tuple.check()?;
        Ok(tuple)
    }

    /// Checks PCR set and replay, and that the layout is the one that is measured.
    pub fn check(&self) -> Result<(), TupleError> {
        if Layout::declared(&self.cmdline) != Some(self.layout) {
            return Err(TupleError::Layout(self.layout));
        }
        if DataName::declared(&self.cmdline).as_ref() != Some(&self.data) {
            return Err(TupleError::Data);
        }
        check("image", IMAGE_PCRS, &self.pcrs, &self.events, 0)
    }

    /// SHA-256 over the canonical values: two tuples with the same PCRs are the same image.
    pub fn id(&self) -> Sha256Digest {
        values_id(b"ccnode image/1", &self.pcrs)
    }
}

fn read<T: DeserializeOwned>(text: &[u8], format: impl Fn(&T) -> u32) -> Result<T, TupleError> {
    let tuple: T = serde_json::from_slice(text).map_err(TupleError::Json)?;
    match format(&tuple) {
        1 => Ok(tuple),
        other => Err(TupleError::Format(other)),
    }
}

fn values_id(label: &[u8], pcrs: &PcrValues) -> Sha256Digest {
    let mut bytes = label.to_vec();
    for (index, value) in &pcrs.0 {
        bytes.push(index.get());
        bytes.extend_from_slice(&value.0);
    }
    Sha256Digest::of(&bytes)
}

fn check(
    kind: &'static str,
    want: [u8; 6],
    pcrs: &PcrValues,
    events: &BTreeMap<PcrIndex, Vec<TupleEvent>>,
    startup_locality: u8,
) -> Result<(), TupleError> {
    let held: Vec<u8> = pcrs.0.keys().map(|i| i.get()).collect();
    if held != want || events.keys().any(|i| !want.contains(&i.get())) {
        return Err(TupleError::Pcrs { kind, want });
    }
    for (pcr, value) in &pcrs.0 {
        let mut start = Sha256Digest::ZERO;
        if let (0, Some(last)) = (pcr.get(), start.0.last_mut()) {
            *last = startup_locality;
        }
        let replayed =
            events.get(pcr).into_iter().flatten().fold(start, |acc, event| acc.extend(&event.digest));
        if replayed != *value {
            return Err(TupleError::Replay { pcr: *pcr, replayed, value: *value });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageTuple {
        let event = TupleEvent { event_type: 0x0d, digest: Sha256Digest::of(b"a"), component: "a".into() };
        let mut pcrs = PcrValues::default();
        for i in IMAGE_PCRS {
            pcrs.0.insert(PcrIndex::new(i.into()).unwrap(), Sha256Digest::ZERO);
        }
        let eleven = PcrIndex::new(11).unwrap();
        pcrs.0.insert(eleven, Sha256Digest::ZERO.extend(&event.digest));
        ImageTuple {
            format: 1,
            name: "worker".into(),
            version: "1".into(),
            pcrs,
            events: BTreeMap::from([(eleven, vec![event])]),
            cmdline: String::new(),
            verity_hash: Sha256Digest::ZERO,
            layout: Layout::default(),
            data: Vec::new(),
        }
    }

    #[test]
    fn good_tuple_survives_json() {
        let text = serde_json::to_vec(&image()).unwrap();
        assert_eq!(ImageTuple::from_json(&text).unwrap(), image());
    }

    #[test]
    fn events_must_replay() {
        let mut tuple = image();
        tuple.pcrs.0.insert(PcrIndex::new(11).unwrap(), Sha256Digest::ZERO);
        assert!(matches!(tuple.check(), Err(TupleError::Replay { pcr, .. }) if pcr.get() == 11));
    }

    #[test]
    fn set_of_pcrs_is_exact() {
        let mut tuple = image();
        tuple.pcrs.0.remove(&PcrIndex::new(14).unwrap());
        assert!(matches!(tuple.check(), Err(TupleError::Pcrs { kind: "image", .. })));
        let mut tuple = image();
        tuple.format = 2;
        let text = serde_json::to_vec(&tuple).unwrap();
        assert!(matches!(ImageTuple::from_json(&text), Err(TupleError::Format(2))));
        assert!(matches!(ImageTuple::from_json(b"{}"), Err(TupleError::Json(_))));
    }

    #[test]
    fn the_layout_is_what_the_command_line_declares() {
        let declared = |layout, cmdline: &str| ImageTuple { layout, cmdline: cmdline.into(), ..image() };
        let ephemeral = declared(Layout::Ephemeral, "quiet ccnode.layout=ephemeral");
        ephemeral.check().unwrap();
        let text = serde_json::to_string(&ephemeral).unwrap();
        assert!(text.ends_with(r#","layout":"ephemeral"}"#), "{text}");
        assert_eq!(ImageTuple::from_json(text.as_bytes()).unwrap(), ephemeral);
        // Those of before there were layouts are what they were.
        assert!(!serde_json::to_string(&image()).unwrap().contains("layout"));
        for (layout, cmdline) in [
            (Layout::Ephemeral, "quiet"),
            (Layout::LuksRoot, "ccnode.layout=ephemeral"),
            (Layout::LuksRoot, "ccnode.layout=other"),
        ] {
            let error = declared(layout, cmdline).check().unwrap_err();
            assert!(matches!(error, TupleError::Layout(of) if of == layout), "{cmdline}");
        }
    }

    #[test]
    fn volumes_for_data_are_what_the_command_line_declares() {
        let of = |cmdline: &str, data: &[&str]| ImageTuple {
            cmdline: cmdline.into(),
            data: data.iter().map(|name| name.parse().unwrap()).collect(),
            ..image()
        };
        let good = of("ccnode.data=logs,work", &["logs", "work"]);
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(ImageTuple::from_json(text.as_bytes()).unwrap(), good);
        assert!(!serde_json::to_string(&image()).unwrap().contains("\"data\""));
        for bad in [of("quiet", &["logs"]), of("ccnode.data=logs", &[]), of("ccnode.data=logs", &["work"])] {
            assert!(matches!(bad.check(), Err(TupleError::Data)), "{bad:?}");
        }
    }

    #[test]
    fn name_is_no_part_of_the_id() {
        let mut other = image();
        other.name = "other".into();
        assert_eq!(other.id(), image().id());
    }
}
