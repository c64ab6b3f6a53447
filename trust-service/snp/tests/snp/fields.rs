//! Every field of a report of every version: changed and signed anew, it is refused by a variant of its own; left unsigned, it is refused
//! too. The rows leave no byte out.

use crate::world::{NOW, roots, sent};
use ccnode_evidence::ReportData;
use ccnode_snp::{
    AbiVersion, ChipId, Component, Endorsement, FirmwareVersion, Flag, GuestPolicyWanted, Hex, KeyKind,
    PlatformWanted, REPORT_SIZE, Report, ReportError, ReportParsed, SnpPolicy, SnpRejection, TcbFloor,
    TcbKind,
};
use ccnode_testkit::snp::{ChipModel, POLICY_RESERVED, ReportSpec, TestChip};
use ccnode_vectors::assert_tiled;
use std::ops::Range;

type Refused = Box<dyn Fn(&SnpRejection) -> bool>;

/// What comes of a change.
enum Due {
    /// Refused, signed anew or not.
    Refused(Refused),
    /// Nothing judges it, so it is taken once it is signed; unsigned it is a wrong signature.
    Informs,
    /// The signature itself: there is nothing to sign anew.
    Signature(Refused),
}

struct Row {
    field: String,
    bytes: Range<usize>,
    /// Which of the field's bytes are changed, one after the other, and the bits.
    at: Range<usize>,
    flip: u8,
    due: Due,
}

/// Every byte of the field.
fn each(field: &str, start: usize, len: usize, flip: u8, due: Due) -> Row {
    Row { field: field.to_owned(), bytes: start..start + len, at: start..start + len, flip, due }
}

/// One byte of the field.
fn one(field: &str, (start, len): (usize, usize), at: usize, flip: u8, due: Due) -> Row {
    let at = start + at;
    Row { field: field.to_owned(), bytes: start..start + len, at: at..at + 1, flip, due }
}

macro_rules! refused {
    ($pattern:pat $(if $guard:expr)?) => {
        Due::Refused(Box::new(move |got| matches!(got, $pattern $(if $guard)?)))
    };
}

macro_rules! malformed {
    ($pattern:pat $(if $guard:expr)?) => {
        refused!(SnpRejection::ReportMalformed($pattern) $(if $guard)?)
    };
}

fn spec(chip: &TestChip, version: u32) -> ReportSpec {
    let mut report_data = [7; 64];
    report_data[48..].fill(0);
    ReportSpec {
        version,
        policy: POLICY_RESERVED | 0x0137,
        family_id: [1; 16],
        image_id: [2; 16],
        key_info: 1,
        host_data: [3; 32],
        id_key_digest: [4; 48],
        author_key_digest: [5; 48],
        ..chip.spec(report_data, 0)
    }
}

/// The policy that judges all that can be judged, by what this report says.
fn strict(chip: &TestChip, report: &Report) -> SnpPolicy {
    let turin = chip.model() == ChipModel::Turin;
    let tcb = chip.tcb();
    let floor = TcbFloor {
        fmc: turin.then_some(tcb.fmc),
        bootloader: Some(tcb.bootloader),
        tee: Some(tcb.tee),
        snp: Some(tcb.snp),
        microcode: Some(tcb.microcode),
    };
    let product = crate::world::product(chip.model());
    SnpPolicy {
        products: Some(vec![product]),
        signing_keys: Some(vec![KeyKind::Vcek]),
        minimum_tcb: [(product, floor)].into(),
        minimum_firmware: Some(FirmwareVersion { major: 1, minor: 55, build: 40 }),
        mitigations: if report.version < 5 { 0 } else { 1 },
        measurements: Some(vec![Hex(report.measurement)]),
        host_data: Some(vec![Hex(report.host_data)]),
        family_ids: Some(vec![Hex(report.family_id)]),
        image_ids: Some(vec![Hex(report.image_id)]),
        id_key_digests: Some(vec![Hex(report.id_key_digest)]),
        author_key_digests: Some(vec![Hex(report.author_key_digest)]),
        minimum_guest_svn: 2,
        minimum_abi: Some(AbiVersion { major: 1, minor: 55 }),
        chip_ids_allowed: Some(vec![ChipId(chip.chip_id())]),
        smt: false,
        platform: PlatformWanted {
            smt: Some(true),
            tsme: Some(false),
            ecc: Some(true),
            rapl_disabled: Some(false),
            ciphertext_hiding: Some(false),
            alias_check: Some(true),
            tio: Some(false),
        },
        guest_policy: GuestPolicyWanted {
            single_socket: Some(false),
            cxl: Some(false),
            aes_256_xts: Some(false),
            rapl_disabled: Some(false),
            ciphertext_hiding: Some(false),
            page_swap_disabled: Some(false),
        },
        ..SnpPolicy::default()
    }
}

/// The rows of one TCB_VERSION: its components, each made lower, and its reserved bytes, by the line's layout.
fn tcb(name: &str, kind: TcbKind, start: usize, turin: bool, due: fn(Component) -> Due) -> Vec<Row> {
    let component = |of: &str, at: usize, flip: u8, component: Component| {
        each(&format!("{name}.{of}"), start + at, 1, flip, due(component))
    };
    let reserved = |at: usize, len: usize| {
        let due = malformed!(ReportError::TcbReserved { kind: seen } if *seen == kind);
        each(&format!("{name}.reserved"), start + at, len, 0x80, due)
    };
    let microcode = component("MICROCODE", 7, 0x80, Component::Microcode);
    if turin {
        return vec![
            component("FMC", 0, 1, Component::Fmc),
            component("BOOT_LOADER", 1, 4, Component::Bootloader),
            component("TEE", 2, 1, Component::Tee),
            component("SNP", 3, 8, Component::Snp),
            reserved(4, 3),
            microcode,
        ];
    }
    vec![
        component("BOOT_LOADER", 0, 4, Component::Bootloader),
        component("TEE", 1, 1, Component::Tee),
        reserved(2, 4),
        component("SNP", 6, 8, Component::Snp),
        microcode,
    ]
}

fn policy_rows() -> Vec<Row> {
    let at = |byte: usize, bit: u8, due: Due| one("POLICY", (0x08, 8), byte, 1 << bit, due);
    macro_rules! flag {
        ($flag:ident) => {
            refused!(SnpRejection::PolicyFlag { flag: Flag::$flag, seen: true, .. })
        };
    }
    let mut rows = vec![
        at(0, 0, refused!(SnpRejection::Abi { .. })),
        at(1, 0, refused!(SnpRejection::Abi { .. })),
        at(2, 0, refused!(SnpRejection::Smt(_))),
        at(2, 1, malformed!(ReportError::Policy { .. })),
        at(2, 2, refused!(SnpRejection::Migration(_))),
        at(2, 3, refused!(SnpRejection::Debug(_))),
        at(2, 4, flag!(SingleSocket)),
        at(2, 5, flag!(Cxl)),
        at(2, 6, flag!(Aes256Xts)),
        at(2, 7, flag!(RaplDisabled)),
        at(3, 0, flag!(CiphertextHiding)),
        at(3, 1, flag!(PageSwapDisabled)),
    ];
    for bit in 26..64 {
        rows.push(at(bit / 8, (bit % 8) as u8, refused!(SnpRejection::PolicyUnknown { .. })));
    }
    rows
}

fn platform_rows() -> Vec<Row> {
    let at = |bit: usize, due: Due| one("PLATFORM_INFO", (0x40, 8), bit / 8, 1 << (bit % 8), due);
    macro_rules! flag {
        ($flag:ident) => {
            refused!(SnpRejection::Platform { flag: Flag::$flag, .. })
        };
    }
    let mut rows = vec![
        at(0, flag!(Smt)),
        at(1, flag!(Tsme)),
        at(2, flag!(Ecc)),
        at(3, flag!(RaplDisabled)),
        at(4, flag!(CiphertextHiding)),
        at(5, flag!(AliasCheck)),
        // Firmware sets bits before specifications name them.
        at(6, Due::Informs),
        at(7, flag!(Tio)),
    ];
    rows.extend((8..64).map(|bit| at(bit, Due::Informs)));
    rows
}

fn key_rows() -> Vec<Row> {
    let at = |byte, flip, due| one("KEY_INFO", (0x48, 4), byte, flip, due);
    let mut rows = vec![
        at(0, 1, refused!(SnpRejection::AuthorKey { seen: None, .. })),
        at(0, 2, refused!(SnpRejection::Unsigned { masked: true })),
        at(0, 7 << 2, refused!(SnpRejection::Unsigned { masked: false })),
        at(0, 1 << 2, refused!(SnpRejection::KeyKind { report: KeyKind::Vlek, certificate: KeyKind::Vcek })),
    ];
    rows.extend((2..7).map(|key| at(0, key << 2, malformed!(ReportError::KeyInfo(_)))));
    rows.extend((5..8).map(|bit| at(0, 1 << bit, malformed!(ReportError::KeyInfo(_)))));
    rows.extend((1..4).map(|byte| at(byte, 0x10, malformed!(ReportError::KeyInfo(_)))));
    rows
}

#[rustfmt::skip]
fn rows(version: u32, turin: bool) -> Vec<Row> {
    let mut rows = vec![
        each("VERSION", 0x00, 4, 0x80, malformed!(ReportError::Version(_))),
        one("GUEST_SVN", (0x04, 4), 0, 2, refused!(SnpRejection::GuestSvn { seen: 0, wanted: 2 })),
    ];
    rows.extend(policy_rows());
    rows.extend([
        each("FAMILY_ID", 0x10, 16, 1, refused!(SnpRejection::GuestId { field: "FAMILY_ID", .. })),
        each("IMAGE_ID", 0x20, 16, 1, refused!(SnpRejection::GuestId { field: "IMAGE_ID", .. })),
        each("VMPL", 0x30, 4, 1, refused!(SnpRejection::Vmpl { .. })),
        each("SIGNATURE_ALGO", 0x34, 4, 2, malformed!(ReportError::SignatureAlgorithm(_))),
    ]);
    rows.extend(tcb("CURRENT_TCB", TcbKind::Current, 0x38, turin, |_| Due::Informs));
    rows.extend(platform_rows());
    rows.extend(key_rows());
    rows.extend([
        each("reserved at 0x4c", 0x4c, 4, 1, malformed!(ReportError::Reserved { offset: 0x4c })),
        each("REPORT_DATA", 0x50, 64, 1, refused!(SnpRejection::ReportData { .. })),
        each("MEASUREMENT", 0x90, 48, 1, refused!(SnpRejection::Measurement { .. })),
        each("HOST_DATA", 0xc0, 32, 1, refused!(SnpRejection::HostData { .. })),
        each("ID_KEY_DIGEST", 0xe0, 48, 1, refused!(SnpRejection::IdKey { .. })),
        each("AUTHOR_KEY_DIGEST", 0x110, 48, 1, refused!(SnpRejection::AuthorKey { seen: Some(_), .. })),
        // Which boot of a guest it is: what the service releases once for.
        each("REPORT_ID", 0x140, 32, 1, Due::Informs),
        // A migration agent is refused by the guest policy that lets one in.
        each("REPORT_ID_MA", 0x160, 32, 1, Due::Informs),
    ]);
    rows.extend(tcb("REPORTED_TCB", TcbKind::Reported, 0x180, turin, |_| refused!(SnpRejection::TcbMismatch { .. })));
    rows.extend(match version {
        2 => vec![each("reserved at 0x188", 0x188, 3, 1, malformed!(ReportError::Reserved { offset: 0x188 }))],
        _ => vec![
            each("CPUID_FAM_ID", 0x188, 1, 0x20, refused!(SnpRejection::ProductUnknown { .. })),
            each("CPUID_MOD_ID", 0x189, 1, 0x40, refused!(SnpRejection::ProductUnknown { .. })),
            // Every stepping of a line has the line's root.
            each("CPUID_STEP", 0x18a, 1, 1, Due::Informs),
        ],
    });
    rows.extend([
        each("reserved at 0x18b", 0x18b, 21, 1, malformed!(ReportError::Reserved { offset: 0x18b })),
        each("CHIP_ID", 0x1a0, 64, 1, refused!(SnpRejection::ChipMismatch { .. })),
    ]);
    rows.extend(tcb("COMMITTED_TCB", TcbKind::Committed, 0x1e0, turin, |_| Due::Informs));
    rows.extend([
        // What runs may be newer than what is committed, which is judged.
        each("CURRENT_BUILD", 0x1e8, 1, 1, Due::Informs),
        each("CURRENT_MINOR", 0x1e9, 1, 1, Due::Informs),
        each("CURRENT_MAJOR", 0x1ea, 1, 1, Due::Informs),
        each("reserved at 0x1eb", 0x1eb, 1, 1, malformed!(ReportError::Reserved { offset: 0x1eb })),
        each("COMMITTED_BUILD", 0x1ec, 1, 8, refused!(SnpRejection::FirmwareTooOld { .. })),
        each("COMMITTED_MINOR", 0x1ed, 1, 1, refused!(SnpRejection::FirmwareTooOld { .. })),
        each("COMMITTED_MAJOR", 0x1ee, 1, 1, refused!(SnpRejection::FirmwareTooOld { .. })),
        each("reserved at 0x1ef", 0x1ef, 1, 1, malformed!(ReportError::Reserved { offset: 0x1ef })),
    ]);
    rows.extend(tcb("LAUNCH_TCB", TcbKind::Launch, 0x1f0, turin, |due| {
        refused!(SnpRejection::TcbTooOld { kind: TcbKind::Launch, component, .. } if *component == due)
    }));
    rows.extend(match version {
        2..5 => vec![
            each("reserved at 0x1f8", 0x1f8, 8, 1, malformed!(ReportError::Reserved { offset: 0x1f8 })),
            each("reserved at 0x200", 0x200, 8, 1, malformed!(ReportError::Reserved { offset: 0x200 })),
        ],
        _ => vec![
            one("LAUNCH_MIT_VECTOR", (0x1f8, 8), 0, 1, refused!(SnpRejection::Mitigations { kind: TcbKind::Launch, .. })),
            // Bits that the policy does not ask for.
            one("LAUNCH_MIT_VECTOR", (0x1f8, 8), 7, 0x80, Due::Informs),
            one("CURRENT_MIT_VECTOR", (0x200, 8), 0, 1, refused!(SnpRejection::Mitigations { kind: TcbKind::Current, .. })),
            one("CURRENT_MIT_VECTOR", (0x200, 8), 7, 0x80, Due::Informs),
        ],
    });
    let wrong = || Due::Signature(Box::new(|got| matches!(got, SnpRejection::Signature { kind: KeyKind::Vcek })));
    rows.extend([
        each("reserved at 0x208", 0x208, 152, 1, malformed!(ReportError::Reserved { offset: 0x208 })),
        each("SIGNATURE.R", 0x2a0, 48, 1, wrong()),
        each("SIGNATURE.R above 384 bits", 0x2d0, 24, 1, Due::Signature(Box::new(|got| {
            matches!(got, SnpRejection::ReportMalformed(ReportError::SignatureRange { number: 'R' }))
        }))),
        each("SIGNATURE.S", 0x2e8, 48, 1, wrong()),
        each("SIGNATURE.S above 384 bits", 0x318, 24, 1, Due::Signature(Box::new(|got| {
            matches!(got, SnpRejection::ReportMalformed(ReportError::SignatureRange { number: 'S' }))
        }))),
        each("SIGNATURE.reserved", 0x330, 368, 1, Due::Signature(Box::new(|got| {
            matches!(got, SnpRejection::ReportMalformed(ReportError::Reserved { offset: 0x330 }))
        }))),
    ]);
    rows
}

#[test]
fn t10_every_field_mutated_has_its_own_rejection() {
    for (chip, versions) in [(TestChip::milan(), 2..=5), (TestChip::turin(), 2..=5)] {
        for version in versions {
            every_field(&chip, version);
        }
    }
}

fn every_field(chip: &TestChip, version: u32) {
    let rows = rows(version, chip.model() == ChipModel::Turin);
    assert_tiled(REPORT_SIZE, rows.iter().map(|row| (row.field.as_str(), row.bytes.clone())));

    let honest = chip.sign(&spec(chip, version));
    let parsed = ReportParsed::parse(&honest).unwrap();
    let endorsement = Endorsement::of_report(parsed.report(), &sent(chip), &roots(chip), NOW).unwrap();
    let policy = strict(chip, parsed.report());
    let judge = |raw: &[u8]| -> Result<Report, SnpRejection> {
        let proven = ReportParsed::parse(raw)?.prove(&endorsement, NOW)?;
        proven.binds(&ReportData([7; 48]))?;
        let faults = policy.faults(&proven);
        assert!(faults.len() < 2, "one change, one fault: {faults:?}");
        policy.judge(&proven)?;
        Ok(proven.report().clone())
    };
    let good = judge(&honest).unwrap();
    // Every byte of one form; of the others, whose fields are the same, both ends and the middle of what takes a signature to refuse.
    let thorough = chip.model() == ChipModel::Turin && version == 5;
    for Row { field, at, flip, due, .. } in rows {
        let (first, middle, last) = (at.start, (at.start + at.end) / 2, at.end - 1);
        let parsed = matches!(due, Due::Informs | Due::Refused(_));
        for at in at.filter(|at| thorough || !parsed || [first, middle, last].contains(at)) {
            let what = format!("{:?} version {version}, {field}, byte {at:#x} ^ {flip:#x}", chip.model());
            let mut raw = honest.clone();
            raw[at] ^= flip;
            let unsigned = judge(&raw).expect_err(&what);
            let is = match &due {
                Due::Signature(is) => {
                    assert!(is(&unsigned), "{what}: {unsigned:?}");
                    continue;
                }
                Due::Informs => {
                    assert_eq!(unsigned, SnpRejection::Signature { kind: KeyKind::Vcek }, "{what}");
                    None
                }
                Due::Refused(is) => {
                    let wrong = matches!(unsigned, SnpRejection::Signature { .. });
                    assert!(wrong || is(&unsigned), "{what}: {unsigned:?}");
                    Some(is)
                }
            };
            chip.resign(&mut raw);
            match (judge(&raw), is) {
                (Err(refused), Some(is)) => assert!(is(&refused), "{what}: {refused:?}"),
                (Ok(taken), None) => assert_ne!(taken, good, "{what}: the claim is the same"),
                (got, _) => panic!("{what}: {got:?}"),
            }
        }
    }
}
