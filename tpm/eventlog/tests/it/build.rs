//! Builds logs as OVMF, sd-stub 252 and the Linux EFI stub write them, and the tuple that expects them.

use ccnode_evidence::{
    HashAlg, IMAGE_PCRS, ImageTuple, PcrIndex, PcrSet, PcrValues, Sha256Digest, TupleEvent,
};
use ccnode_tpm_eventlog::{EventLog, event_type::*};
use std::collections::BTreeMap;

pub(crate) const CMDLINE: &str = "console=ttyS0 lockdown=integrity ccnode.roothash=00ff";

pub(crate) fn pcr(index: u32) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

/// All PCRs that a quote holds and firmware logs.
pub(crate) fn set() -> PcrSet {
    PcrSet::CCNODE
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A crypto-agile log under construction.
#[derive(Clone)]
pub(crate) struct Log(pub(crate) Vec<u8>);

impl Log {
    pub(crate) fn with_banks(banks: &[(u16, u16)]) -> Self {
        let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
        spec.extend(u32::try_from(banks.len()).unwrap().to_le_bytes());
        for (id, size) in banks {
            spec.extend(id.to_le_bytes());
            spec.extend(size.to_le_bytes());
        }
        spec.push(0);
        Self::with_header(&spec)
    }

    pub(crate) fn with_header(spec: &[u8]) -> Self {
        let mut log = old_event(0, EV_NO_ACTION, &[0; 20], &[]);
        log.truncate(28);
        log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
        log.extend(spec);
        Self(log)
    }

    pub(crate) fn new() -> Self {
        Self::with_banks(&[(0x0b, 32)])
    }

    /// Appends an event with the given digests, `(TPM_ALG_ID, bytes)`.
    pub(crate) fn raw(
        &mut self,
        pcr: u32,
        event_type: u32,
        digests: &[(u16, &[u8])],
        data: &[u8],
    ) -> &mut Self {
        self.0.extend(pcr.to_le_bytes());
        self.0.extend(event_type.to_le_bytes());
        self.0.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
        for (id, digest) in digests {
            self.0.extend(id.to_le_bytes());
            self.0.extend(*digest);
        }
        self.0.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        self.0.extend(data);
        self
    }

    /// Appends an event that measures `measured` and says `data`.
    pub(crate) fn add(&mut self, pcr: u32, event_type: u32, measured: &[u8], data: &[u8]) -> &mut Self {
        self.raw(pcr, event_type, &[(0x0b, &Sha256Digest::of(measured).0)], data)
    }

    /// Appends an event whose digest is the hash of its data.
    pub(crate) fn plain(&mut self, pcr: u32, event_type: u32, data: &[u8]) -> &mut Self {
        self.add(pcr, event_type, data, data)
    }

    /// What sd-stub measures of one section.
    pub(crate) fn section(&mut self, name: &str, contents: &[u8]) -> &mut Self {
        let said = utf16(&format!("{name}\0"));
        self.add(11, EV_IPL, format!("{name}\0").as_bytes(), &said).add(11, EV_IPL, contents, &said)
    }

    /// What the kernel's stub measures: tag, size, text.
    pub(crate) fn tagged(&mut self, measured: &[u8], tag: u32, text: &str) -> &mut Self {
        let text = format!("{text}\0");
        let mut data = tag.to_le_bytes().to_vec();
        data.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        data.extend(text.as_bytes());
        self.add(9, EV_EVENT_TAG, measured, &data)
    }

    /// The log, whose bytes live as long as the tests.
    pub(crate) fn parse(&self) -> EventLog<'static> {
        EventLog::parse(self.0.clone().leak()).unwrap()
    }
}

pub(crate) fn old_event(pcr: u32, event_type: u32, digest: &[u8; 20], data: &[u8]) -> Vec<u8> {
    let mut out = pcr.to_le_bytes().to_vec();
    out.extend(event_type.to_le_bytes());
    out.extend(digest);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

pub(crate) fn variable(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![0x61; 16];
    out.extend(u64::try_from(name.encode_utf16().count()).unwrap().to_le_bytes());
    out.extend(u64::try_from(contents.len()).unwrap().to_le_bytes());
    out.extend(utf16(name));
    out.extend(contents);
    out
}

/// UEFI_VARIABLE_DATA of a variable with a GUID as text.
pub(crate) fn variable_of(guid: &str, name: &str, contents: &[u8]) -> Vec<u8> {
    let bytes = hex::decode(guid.replace('-', "")).unwrap();
    let mut out = variable(name, contents);
    for (to, from) in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].into_iter().enumerate() {
        out[to] = bytes[from];
    }
    out
}

pub(crate) fn image_load(file: &str) -> Vec<u8> {
    let mut out = vec![0; 24];
    let name = utf16(&format!("{file}\0"));
    let node = 4 + name.len();
    out.extend(u64::try_from(node + 4).unwrap().to_le_bytes());
    out.extend([4, 4]);
    out.extend(u16::try_from(node).unwrap().to_le_bytes());
    out.extend(name);
    out.extend([0x7f, 0xff, 4, 0]);
    out
}

/// What differs between boots in these tests.
#[derive(Clone)]
pub(crate) struct Boot {
    pub(crate) cmdline: String,
    pub(crate) section_end: &'static str,
    pub(crate) initrd: &'static [u8],
    pub(crate) before_sections: fn(&mut Log),
    pub(crate) between_sections: fn(&mut Log),
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            cmdline: CMDLINE.into(),
            section_end: "",
            initrd: b"initrd",
            before_sections: |_| {},
            between_sections: |_| {},
        }
    }
}

impl Boot {
    /// The log of a boot of OVMF, a UKI on sd-stub 252, and kernel 6.1.
    pub(crate) fn log(&self) -> EventLog<'static> {
        let uki = [self.cmdline.as_bytes(), self.initrd].concat();
        let mut log = Log::new();
        log.plain(0, EV_S_CRTM_VERSION, &[0, 0])
            .add(0, EV_EFI_PLATFORM_FIRMWARE_BLOB, b"fv", &[0; 16])
            .plain(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &variable("SecureBoot", &[]))
            .plain(7, EV_SEPARATOR, &[0; 4])
            .add(1, EV_EFI_VARIABLE_BOOT, &[1, 0], &variable("BootOrder", &[1, 0]))
            .plain(4, EV_EFI_ACTION, b"Calling EFI Application from Boot Option");
        for i in 0..7 {
            log.plain(i, EV_SEPARATOR, &[0; 4]);
        }
        log.add(4, EV_EFI_BOOT_SERVICES_APPLICATION, &uki, &image_load("\\EFI\\BOOT\\BOOTX64.EFI"));
        (self.before_sections)(&mut log);
        log.section(".linux", b"kernel").section(".osrel", b"ID=debian");
        (self.between_sections)(&mut log);
        log.section(".cmdline", format!("{}{}", self.cmdline, self.section_end).as_bytes())
            .section(".initrd", self.initrd)
            .add(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"kernel", &[0; 32])
            .tagged(&utf16(&format!("{}\0", self.cmdline)), TAG_LOAD_OPTIONS, "LOADED_IMAGE::LoadOptions")
            .tagged(self.initrd, TAG_INITRD, "Linux initrd")
            .plain(5, EV_EFI_ACTION, b"Exit Boot Services Invocation");
        log.parse()
    }
}

pub(crate) fn quoted(log: &EventLog<'_>) -> PcrValues {
    log.replay(HashAlg::Sha256).unwrap().pcrs()
}

/// The tuple that expects exactly `log`.
pub(crate) fn tuple(log: &EventLog<'_>, cmdline: &str) -> ImageTuple {
    let values = quoted(log);
    let mut pcrs = PcrValues::default();
    let mut events: BTreeMap<PcrIndex, Vec<TupleEvent>> = BTreeMap::new();
    for index in IMAGE_PCRS {
        let index = pcr(index.into());
        pcrs.0.insert(index, *values.get(index).unwrap());
        for event in log.events.iter().filter(|e| e.extends() && e.register == u32::from(index.get())) {
            events.entry(index).or_default().push(TupleEvent {
                event_type: event.event_type,
                digest: event.sha256().unwrap(),
                component: event.describe().component,
            });
        }
    }
    let tuple = ImageTuple {
        format: 1,
        name: "worker".into(),
        version: "1".into(),
        pcrs,
        events,
        cmdline: cmdline.into(),
        verity_hash: Sha256Digest::ZERO,
        layout: ccnode_evidence::Layout::default(),
        data: Vec::new(),
    };
    tuple.check().unwrap();
    tuple
}
