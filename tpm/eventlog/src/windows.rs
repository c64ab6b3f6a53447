//! What Windows measures: the events of its boot configuration log (WBCL) by their names.

use ccnode_evidence::Reader;

/// Set in the tag of an event that holds others.
const AGGREGATION: u32 = 0x4000_0000;
/// How many of the events inside another one are named.
const NAMED: usize = 6;

/// Names of the events that matter to whoever reads a log (wbcl.h of the Windows SDK).
const NAMES: [(u32, &str); 48] = [
    (0x4001_0001, "trust boundary"),
    (0x4001_0002, "early launch anti-malware"),
    (0x4001_0003, "loaded module"),
    (0xc001_0004, "trust point"),
    (0x4001_0005, "key storage root"),
    (0x4001_0006, "signed measurement of the key storage root"),
    (0x0002_0001, "information"),
    (0x0002_0002, "boot counter"),
    (0x0002_0003, "transfer of control"),
    (0x0002_0004, "return of an application"),
    (0x0002_0005, "BitLocker unlock"),
    (0x0002_0006, "event counter"),
    (0x0002_0007, "counter id"),
    (0x0002_0008, "memory overwrite request"),
    (0x0002_0009, "security version of an application"),
    (0x0002_000a, "security version chain"),
    (0x0003_0001, "firmware failure"),
    (0x0003_0002, "TPM failure"),
    (0x0003_0003, "internal failure"),
    (0x0004_0001, "boot debugging"),
    (0x0004_0002, "boot revocation list"),
    (0x0005_0001, "kernel debugging"),
    (0x0005_0002, "code integrity"),
    (0x0005_0003, "test signing"),
    (0x0005_0004, "data execution prevention"),
    (0x0005_0005, "safe mode"),
    (0x0005_0006, "Windows PE"),
    (0x0005_0007, "physical address extension"),
    (0x0005_0008, "system device"),
    (0x0005_0009, "system root"),
    (0x0005_000a, "hypervisor launch type"),
    (0x0005_000b, "hypervisor path"),
    (0x0005_000c, "hypervisor IOMMU policy"),
    (0x0005_000d, "hypervisor debugging"),
    (0x0005_000e, "driver load policy"),
    (0x0005_000f, "system integrity policy"),
    (0x0005_0012, "virtual secure mode launch type"),
    (0x0005_0013, "revocation list"),
    (0x0005_0020, "virtual secure mode identity key"),
    (0x0005_0021, "flight signing"),
    (0x0005_0022, "page file encryption"),
    (0x0006_0001, "no authority"),
    (0x0006_0002, "authority's public key"),
    (0x0007_0001, "file path"),
    (0x0007_0004, "Authenticode hash"),
    (0x0009_0001, "anti-malware key name"),
    (0x000a_0001, "virtualization-based security required"),
    (0x000b_0001, "key storage root signature"),
];

/// Kinds of events by bits 16 to 19 of their tag.
const KINDS: [(u32, &str); 12] = [
    (0x1, "container"),
    (0x2, "information"),
    (0x3, "error"),
    (0x4, "parameter before the system"),
    (0x5, "parameter of the system"),
    (0x6, "authority"),
    (0x7, "loaded module"),
    (0x8, "trust point"),
    (0x9, "early launch anti-malware"),
    (0xa, "virtualization-based security"),
    (0xb, "key storage root"),
    (0xc, "dynamic launch"),
];

/// The name of a Windows event, `None` where the tag is no Windows event's.
fn name(tag: u32) -> Option<String> {
    if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == tag) {
        return Some((*name).to_owned());
    }
    let plain = tag & !(AGGREGATION | 0x8000_0000);
    let (_, kind) = KINDS.iter().find(|(kind, _)| plain >> 16 == *kind)?;
    (plain & 0xffff < 0x100).then(|| format!("{kind} {tag:#010x}"))
}

/// The events in the data of EV_EVENT_TAG in words, `None` where they are not Windows'. One that holds others names them.
pub(crate) fn describe(data: &[u8]) -> Option<String> {
    let mut r = Reader::new(data);
    let (first, contents) = (r.u32()?, r.sized_u32()?);
    let outer = name(first)?;
    let inner = if first & AGGREGATION == 0 { r.rest() } else { contents };
    let names = inside(inner);
    Some(match (first & AGGREGATION == 0, names.is_empty()) {
        (_, true) => format!("Windows: {outer}"),
        (true, false) => format!("Windows: {outer}, {}", names.join(", ")),
        (false, false) => format!("Windows: {outer} ({})", names.join(", ")),
    })
}

fn inside(data: &[u8]) -> Vec<String> {
    let mut r = Reader::new(data);
    let mut names = Vec::new();
    while let (Some(tag), Some(_)) = (r.u32(), r.sized_u32()) {
        if names.len() == NAMED {
            names.push("…".to_owned());
            break;
        }
        let Some(name) = name(tag) else { break };
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(tag: u32, data: &[u8]) -> Vec<u8> {
        let size = u32::try_from(data.len()).unwrap();
        [&tag.to_le_bytes(), &size.to_le_bytes(), data].concat()
    }

    #[test]
    fn names_events_and_what_they_hold() {
        let inner = [event(0x0005_0001, &[0]), event(0x0005_0003, &[0]), event(0x0005_00ff, &[0])].concat();
        assert_eq!(
            describe(&event(0x4001_0001, &inner)).as_deref(),
            Some(
                "Windows: trust boundary (kernel debugging, test signing, parameter of the system 0x000500ff)"
            )
        );
        assert_eq!(describe(&event(0x0002_0002, &[0; 8])).as_deref(), Some("Windows: boot counter"));
        let many = event(0x0002_0006, &[0; 8]).repeat(100);
        assert!(describe(&event(0x4001_0001, &many)).unwrap().ends_with("event counter, …)"));
    }

    #[test]
    fn other_tags_are_not_its() {
        for tag in [crate::event_type::TAG_INITRD, crate::event_type::TAG_LOAD_OPTIONS, 0xf5bc_582a, 0, 7] {
            assert_eq!(describe(&event(tag, b"x")), None, "{tag:#x}");
        }
        assert_eq!(describe(&[1, 0, 1, 0x40, 9]), None);
    }
}
