//! A machine's measured boot: events as OVMF, sd-stub and the kernel's stub write them, the log, the PCRs, and the tuples.

use ccnode_evidence::{
    DataName, EventLogs, IMAGE_PCRS, ImageTuple, Layout, PLATFORM_PCRS, PcrIndex, PcrSet, PcrValues,
    PlatformTuple, Sha256Digest, TupleEvent,
};
use std::collections::BTreeMap;

/// What ccnode-init extends into PCR 15, as text.
pub const CAP: &str = "ccnode:cap";

const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
const EV_EVENT_TAG: u32 = 6;
const EV_S_CRTM_VERSION: u32 = 8;
const EV_IPL: u32 = 0xd;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
const EV_EFI_APPLICATION: u32 = 0x8000_0003;
const EV_EFI_GPT_EVENT: u32 = 0x8000_0006;
const EV_EFI_ACTION: u32 = 0x8000_0007;
const EV_EFI_PLATFORM_FIRMWARE_BLOB: u32 = 0x8000_0008;

/// The PCR of this index, 0 to 23.
pub fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index.into()).expect("a PCR")
}

#[derive(Clone, Debug)]
struct Measured {
    pcr: u8,
    event_type: u32,
    digest: Sha256Digest,
    data: Vec<u8>,
    component: String,
}

/// One boot of a machine, up to and including what ccnode-init extends.
#[derive(Clone, Debug)]
pub struct Boot {
    firmware: Vec<Measured>,
    own: Vec<Measured>,
    /// The kernel command line inside the UKI.
    pub cmdline: String,
    /// PCR 10 holds IMA's boot aggregate.
    ima: bool,
}

impl Boot {
    /// A machine with this firmware, booting a UKI of these contents.
    pub fn new(firmware: &str, cmdline: &str, initrd: &[u8]) -> Self {
        let mut boot = Self { firmware: Vec::new(), own: Vec::new(), cmdline: cmdline.to_owned(), ima: true };
        boot.platform(firmware);
        boot.image(cmdline, initrd);
        boot.exit();
        boot
    }

    /// A fixed good machine and image: firmware "2022.11", a short command line.
    pub fn standard() -> Self {
        Self::new("2022.11", "console=ttyS0 lockdown=integrity", b"initrd")
    }

    /// The same with IMA off: PCR 10 is zero.
    #[must_use]
    pub fn without_ima(mut self) -> Self {
        self.ima = false;
        self
    }

    fn platform(&mut self, firmware: &str) {
        let version = utf16(firmware);
        self.event(0, EV_S_CRTM_VERSION, &version, &version, "firmware version");
        let blob = [0xff82_0000u64.to_le_bytes(), 0xe_0000u64.to_le_bytes()].concat();
        self.event(
            0,
            EV_EFI_PLATFORM_FIRMWARE_BLOB,
            &blob,
            format!("PEI {firmware}").as_bytes(),
            "firmware volume",
        );
        for name in ["SecureBoot", "PK", "KEK", "db", "dbx"] {
            let data = variable(name, &[]);
            self.event(
                7,
                EV_EFI_VARIABLE_DRIVER_CONFIG,
                &data,
                &data,
                &format!("Secure Boot variable `{name}`"),
            );
        }
        self.event(7, EV_SEPARATOR, &[0; 4], &[0; 4], "separator");
        let order = variable("BootOrder", &[0, 0]);
        self.event(1, EV_EFI_VARIABLE_BOOT, &order, &[0, 0], "boot order (BootOrder)");
        for index in [0, 1, 2, 3, 6] {
            self.event(index, EV_SEPARATOR, &[0; 4], &[0; 4], "separator");
        }
        let action = b"Calling EFI Application from Boot Option";
        self.event(4, EV_EFI_ACTION, action, action, "action `Calling EFI Application from Boot Option`");
        self.event(4, EV_SEPARATOR, &[0; 4], &[0; 4], "separator");
        self.event(5, EV_SEPARATOR, &[0; 4], &[0; 4], "separator");
        let gpt = gpt();
        self.event(5, EV_EFI_GPT_EVENT, &gpt, &gpt, "partition table (GPT)");
    }

    fn image(&mut self, cmdline: &str, initrd: &[u8]) {
        let uki = [cmdline.as_bytes(), initrd].concat();
        self.event(4, EV_EFI_APPLICATION, &[0; 32], &uki, "EFI application: the UKI (Authenticode)");
        self.event(4, EV_EFI_APPLICATION, &[0; 32], b"linux", "EFI application: the kernel (Authenticode)");
        for (name, contents) in
            [(".linux", &b"linux"[..]), (".cmdline", cmdline.as_bytes()), (".initrd", initrd)]
        {
            let text = [name.as_bytes(), &[0]].concat();
            self.event(11, EV_IPL, &utf16(name), &text, &format!("name of section {name} of the UKI"));
            self.event(11, EV_IPL, &utf16(name), contents, &format!("section {name} of the UKI"));
        }
        let options = utf16(cmdline);
        let tagged = |tag: u32, text: &[u8]| {
            let len = u32::try_from(text.len()).expect("a short text");
            [&tag.to_le_bytes()[..], &len.to_le_bytes(), text].concat()
        };
        let component = "kernel command line (load options)";
        self.event(
            9,
            EV_EVENT_TAG,
            &tagged(0x8f3b_22ed, b"LOADED_IMAGE::LoadOptions\0"),
            &options,
            component,
        );
        self.event(9, EV_EVENT_TAG, &tagged(0x8f3b_22ec, b"Linux initrd\0"), initrd, "initrd");
    }

    fn exit(&mut self) {
        for action in ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"] {
            self.event(5, EV_EFI_ACTION, action.as_bytes(), action.as_bytes(), &format!("action `{action}`"));
        }
    }

    /// Appends an event to the firmware's log; its digest is the SHA-256 of `measured`.
    pub fn event(&mut self, pcr: u8, event_type: u32, data: &[u8], measured: &[u8], component: &str) {
        let digest = Sha256Digest::of(measured);
        let component = component.to_owned();
        self.firmware.push(Measured { pcr, event_type, digest, data: data.to_vec(), component });
    }

    /// Extends PCR `pcr` as ccnode-init does, and logs it.
    pub fn extend(&mut self, pcr: u8, digest: Sha256Digest, data: &str) {
        let data = data.as_bytes().to_vec();
        self.own.push(Measured { pcr, event_type: EV_IPL, digest, data, component: String::new() });
    }

    /// Caps PCR 15.
    pub fn cap(&mut self) {
        self.extend(15, Sha256Digest::of(CAP.as_bytes()), CAP);
    }

    /// All 24 PCRs.
    pub fn pcrs(&self) -> PcrValues {
        let mut values: BTreeMap<PcrIndex, Sha256Digest> =
            PcrIndex::all().map(|i| (i, Sha256Digest::ZERO)).collect();
        let extend = |values: &mut BTreeMap<PcrIndex, Sha256Digest>, event: &Measured| {
            values.entry(pcr(event.pcr)).and_modify(|value| *value = value.extend(&event.digest));
        };
        self.firmware.iter().for_each(|event| extend(&mut values, event));
        // The kernel starts before anything of the initramfs does.
        let mut values = PcrValues(values);
        if self.ima {
            values.0.insert(pcr(10), boot_aggregate(&values));
        }
        self.own.iter().for_each(|event| extend(&mut values.0, event));
        values
    }

    /// The logs as they travel.
    pub fn logs(&self) -> EventLogs {
        let mut log = header();
        self.firmware.iter().for_each(|event| log.extend(record(event)));
        EventLogs {
            event_log: log.into(),
            own_log: self.own.iter().flat_map(record).collect::<Vec<u8>>().into(),
            cmdline: self.cmdline.clone(),
        }
    }

    /// The platform tuple that this boot matches.
    pub fn platform_tuple(&self, name: &str) -> PlatformTuple {
        let (pcrs, events) = self.part(PLATFORM_PCRS);
        PlatformTuple { format: 1, name: name.to_owned(), pcrs, events, startup_locality: 0 }
    }

    /// The image tuple that this boot matches.
    pub fn image_tuple(&self, name: &str, version: &str, verity_hash: Sha256Digest) -> ImageTuple {
        let (pcrs, events) = self.part(IMAGE_PCRS);
        let (name, version, cmdline) = (name.to_owned(), version.to_owned(), self.cmdline.clone());
        let layout = Layout::declared(&cmdline).unwrap_or_default();
        let data = DataName::declared(&cmdline).unwrap_or_default();
        ImageTuple { format: 1, name, version, pcrs, events, cmdline, verity_hash, layout, data }
    }

    fn part(&self, indices: [u8; 6]) -> (PcrValues, BTreeMap<PcrIndex, Vec<TupleEvent>>) {
        let all = self.pcrs();
        let values =
            indices.iter().map(|i| (pcr(*i), all.0.get(&pcr(*i)).copied().expect("a value"))).collect();
        let mut events: BTreeMap<PcrIndex, Vec<TupleEvent>> = BTreeMap::new();
        for event in self.firmware.iter().filter(|event| indices.contains(&event.pcr)) {
            let (event_type, digest, component) = (event.event_type, event.digest, event.component.clone());
            events.entry(pcr(event.pcr)).or_default().push(TupleEvent { event_type, digest, component });
        }
        (PcrValues(values), events)
    }
}

/// PCR 10 after the kernel's `boot_aggregate` alone, as Debian's kernels have it (template ima-sig).
fn boot_aggregate(values: &PcrValues) -> Sha256Digest {
    let first: PcrSet = (0..10).map(pcr).collect();
    let aggregate = values.composite(first).expect("ten values");
    let mut template = Vec::new();
    for field in [&[b"sha256:\0", &aggregate.0[..]].concat()[..], b"boot_aggregate\0", b""] {
        template.extend(u32::try_from(field.len()).expect("a short field").to_le_bytes());
        template.extend(field);
    }
    Sha256Digest::ZERO.extend(&Sha256Digest::of(&template))
}

/// TCG_PCR_EVENT with a Spec ID Event03 that names the SHA-256 bank alone.
fn header() -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend(0u32.to_le_bytes());
    spec.extend([0, 2, 0, 2]);
    spec.extend(1u32.to_le_bytes());
    spec.extend(0x000bu16.to_le_bytes());
    spec.extend(32u16.to_le_bytes());
    spec.push(0);
    let len = u32::try_from(spec.len()).expect("a short header");
    [&0u32.to_le_bytes()[..], &EV_NO_ACTION.to_le_bytes(), &[0; 20], &len.to_le_bytes(), &spec].concat()
}

/// TCG_PCR_EVENT2 with one SHA-256 digest.
fn record(event: &Measured) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(u32::from(event.pcr).to_le_bytes());
    out.extend(event.event_type.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(0x000bu16.to_le_bytes());
    out.extend(event.digest.0);
    out.extend(u32::try_from(event.data.len()).expect("short data").to_le_bytes());
    out.extend(&event.data);
    out
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// UEFI_VARIABLE_DATA.
fn variable(name: &str, contents: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut out = vec![0x61; 16];
    out.extend((name.len() as u64 / 2).to_le_bytes());
    out.extend((contents.len() as u64).to_le_bytes());
    out.extend(name);
    out.extend(contents);
    out
}

/// UEFI_GPT_DATA of a disk with one partition.
fn gpt() -> Vec<u8> {
    let mut out = b"EFI PART".to_vec();
    out.extend([0; 48]);
    out.extend([0x11; 16]);
    out.extend(2u64.to_le_bytes());
    for field in [128u32, 128, 0] {
        out.extend(field.to_le_bytes());
    }
    out.extend(1u64.to_le_bytes());
    let mut entry = vec![0x22; 32];
    entry.extend(34u64.to_le_bytes());
    entry.extend(1000u64.to_le_bytes());
    entry.extend([0; 8]);
    let mut label: Vec<u8> = "esp".encode_utf16().flat_map(u16::to_le_bytes).collect();
    label.resize(72, 0);
    entry.extend(label);
    out.extend(entry);
    out
}
