//! The logs and tuples that the tests of `ccnode explain` read: each is what the functions below make, byte for byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ccnode_evidence::{
    IMAGE_PCRS, ImageTuple, Layout, PLATFORM_PCRS, PcrIndex, PcrValues, PlatformTuple, Sha256Digest,
    TupleEvent,
};
use ccnode_tpm_eventlog::event_type::*;
use ccnode_tpm_eventlog::{EventLog, own};
use sha2::{Digest as _, Sha256, Sha384};
use std::collections::BTreeMap;
use std::path::Path;

const CMDLINE: &str = "console=ttyS0 lockdown=integrity";

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A crypto-agile log of one bank.
struct Log(Vec<u8>, u16);

impl Log {
    /// Of SHA-256 (0x0b) for a TPM, of SHA-384 (0x0c) for a confidential VM.
    fn new(alg: u16, size: usize, register: u32) -> Self {
        let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0".to_vec();
        spec.extend([alg.to_le_bytes(), u16::try_from(size).unwrap().to_le_bytes()].concat());
        spec.push(0);
        let mut log = [register.to_le_bytes(), EV_NO_ACTION.to_le_bytes()].concat();
        log.extend([0; 20]);
        log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
        log.extend(spec);
        Self(log, alg)
    }

    /// Measures `measured` and says `data`.
    fn add(&mut self, register: u32, event_type: u32, measured: &[u8], data: &[u8]) -> &mut Self {
        let digest = match self.1 {
            0x0c => Sha384::digest(measured).to_vec(),
            _ => Sha256::digest(measured).to_vec(),
        };
        self.0.extend([register.to_le_bytes(), event_type.to_le_bytes(), 1u32.to_le_bytes()].concat());
        self.0.extend(self.1.to_le_bytes());
        self.0.extend(digest);
        self.0.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        self.0.extend(data);
        self
    }

    fn plain(&mut self, register: u32, event_type: u32, data: &[u8]) -> &mut Self {
        self.add(register, event_type, data, data)
    }

    fn section(&mut self, name: &str, contents: &[u8]) -> &mut Self {
        let said = utf16(&format!("{name}\0"));
        self.add(11, EV_IPL, format!("{name}\0").as_bytes(), &said).add(11, EV_IPL, contents, &said)
    }

    /// What the kernel's stub measures of its load options.
    fn load_options(&mut self, text: &str) -> &mut Self {
        let said = b"LOADED_IMAGE::LoadOptions\0";
        let data = [&TAG_LOAD_OPTIONS.to_le_bytes()[..], &[u8::try_from(said.len()).unwrap(), 0, 0, 0], said]
            .concat();
        self.add(9, EV_EVENT_TAG, &utf16(&format!("{text}\0")), &data)
    }
}

/// A boot of a UKI as OVMF, sd-stub and the kernel log it.
fn boot(cmdline: &str, version: &str) -> Vec<u8> {
    let mut log = Log::new(0x0b, 32, 0);
    log.plain(0, EV_S_CRTM_VERSION, &utf16(&format!("{version}\0"))).plain(
        4,
        EV_EFI_ACTION,
        b"Calling EFI Application from Boot Option",
    );
    for pcr in 0..8 {
        log.plain(pcr, EV_SEPARATOR, &[0; 4]);
    }
    log.add(4, EV_EFI_BOOT_SERVICES_APPLICATION, cmdline.as_bytes(), &[0; 32])
        .section(".linux", b"kernel")
        .section(".cmdline", cmdline.as_bytes())
        .load_options(cmdline);
    std::mem::take(&mut log.0)
}

fn ccel(cmdline: &str) -> Vec<u8> {
    let mut log = Log::new(0x0c, 48, 1);
    log.plain(1, EV_SEPARATOR, &[0; 4]).plain(2, EV_SEPARATOR, &[0; 4]);
    log.add(3, EV_IPL, cmdline.as_bytes(), format!("kernel_cmdline: {cmdline}\0").as_bytes());
    log.0.extend([0xff; 64]);
    log.0
}

/// Names and data that would steer a terminal or a page.
fn hostile() -> Vec<u8> {
    let mut log = Log::new(0x0b, 32, 0);
    log.plain(8, EV_IPL, b"kernel_cmdline: \x1b]0;owned\x07\x1b[2J</td><script>alert(1)</script>\0");
    log.plain(12, EV_IPL, &utf16("a\u{202e}b\u{1b}[31m<b>&\"'\0"));
    log.plain(0, EV_S_CRTM_VERSION, &utf16("<img src=x onerror=alert(1)>\0"));
    std::mem::take(&mut log.0)
}

fn old() -> Vec<u8> {
    let digest = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];
    let mut log = [0u32.to_le_bytes(), EV_S_CRTM_VERSION.to_le_bytes()].concat();
    log.extend(digest);
    log.extend([4, 0, 0, 0]);
    log.extend(utf16("1\0"));
    log
}

fn node() -> Vec<u8> {
    let mut log = Vec::new();
    own::append(&mut log, PcrIndex::CAP, &own::cap_digest(), own::CAP).unwrap();
    log
}

type Tuple = (PcrValues, BTreeMap<PcrIndex, Vec<TupleEvent>>);

fn expects(log: &[u8], pcrs: [u8; 6]) -> Tuple {
    let log = EventLog::parse(log).unwrap();
    let values = log.replay(ccnode_evidence::HashAlg::Sha256).unwrap().pcrs();
    let mut out = Tuple::default();
    for pcr in pcrs.map(|pcr| PcrIndex::new(pcr.into()).unwrap()) {
        out.0.0.insert(pcr, *values.get(pcr).unwrap());
        for event in log.extending(pcr.get().into()) {
            let component = event.describe().component;
            let one = TupleEvent { event_type: event.event_type, digest: event.sha256().unwrap(), component };
            out.1.entry(pcr).or_default().push(one);
        }
    }
    out
}

fn image() -> Vec<u8> {
    let (pcrs, events) = expects(&boot(CMDLINE, "1.0"), IMAGE_PCRS);
    let (name, version, cmdline) = ("worker".into(), "1".into(), CMDLINE.into());
    json(&ImageTuple {
        format: 1,
        name,
        version,
        pcrs,
        events,
        cmdline,
        verity_hash: Sha256Digest::ZERO,
        layout: Layout::default(),
        data: Vec::new(),
    })
}

fn platform() -> Vec<u8> {
    let (pcrs, events) = expects(&boot(CMDLINE, "1.0"), PLATFORM_PCRS);
    json(&PlatformTuple { format: 1, name: "q35".into(), pcrs, events, startup_locality: 0 })
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    [serde_json::to_vec_pretty(value).unwrap(), b"\n".to_vec()].concat()
}

/// `CCNODE_BLESS=1 cargo test -p ccnode-cli --test explain_logs` writes the files anew.
#[test]
fn files_are_what_is_made_here() {
    let tampered = format!("{CMDLINE} init=/bin/sh");
    let files: [(&str, Vec<u8>); 12] = [
        ("good.log", boot(CMDLINE, "1.0")),
        ("tampered.log", boot(&tampered, "1.0")),
        ("firmware.log", boot(CMDLINE, "1.1")),
        ("tampered.cmdline", format!("{tampered}\n").into_bytes()),
        ("good.ccel", ccel("quiet")),
        ("other.ccel", ccel("quiet init=/bin/sh")),
        ("hostile.log", hostile()),
        ("old.log", old()),
        ("node.log", node()),
        ("truncated.log", boot(CMDLINE, "1.0").split_last().unwrap().1.to_vec()),
        ("image.json", image()),
        ("platform.json", platform()),
    ];
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    for (name, bytes) in files {
        let path = dir.join(name);
        if std::env::var_os("CCNODE_BLESS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{name}: make it anew with CCNODE_BLESS=1");
    }
}
