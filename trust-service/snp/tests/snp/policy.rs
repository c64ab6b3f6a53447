//! A policy's demands: each takes the honest report, and refuses with a variant of its own the one that deviates.

use crate::world::{NOW, proven, roots, sent, verify};
use ccnode_evidence::Code;
use ccnode_snp::{
    ChipId, Component, Crl, DangerRootError, Endorsement, Flag, Hex, Product, ReportParsed, SnpPolicy,
    SnpProven, SnpRejection, TcbKind,
};
use ccnode_testkit::snp::{ChipModel, POLICY_RESERVED, ReportSpec, Tcb, TestChip};

fn policy(toml: &str) -> SnpPolicy {
    toml::from_str(toml).unwrap_or_else(|e| panic!("{toml}: {e}"))
}

/// A report of the chip that deviates from the honest one.
fn with(chip: &TestChip, change: impl FnOnce(&mut ReportSpec)) -> SnpProven {
    let mut spec = chip.spec([7; 64], 0);
    change(&mut spec);
    verify(chip, &chip.sign(&spec)).unwrap()
}

fn milan(change: impl FnOnce(&mut ReportSpec)) -> SnpProven {
    with(&TestChip::milan(), change)
}

/// The one fault.
fn fault(policy: &SnpPolicy, report: &SnpProven) -> SnpRejection {
    let mut faults = policy.faults(report);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(policy.judge(report).unwrap_err(), faults[0]);
    faults.remove(0)
}

#[test]
fn the_default_takes_honest_guests_at_vmpl_0() {
    for model in ChipModel::ALL {
        assert!(SnpPolicy::default().judge(&proven(&TestChip::new(model, 1))).is_ok());
    }
    assert_eq!(policy(""), SnpPolicy::default());
    assert_eq!(serde_json::from_str::<SnpPolicy>("{}").unwrap(), SnpPolicy::default());
}

#[test]
fn t19_debug_and_migration_need_a_danger_switch() {
    let debug = milan(|s| s.policy |= 1 << 19);
    let got = fault(&SnpPolicy::default(), &debug);
    assert!(matches!(got, SnpRejection::Debug(_)) && got.code() == Code::SnpDebug);
    assert!(policy("danger-debug = true").judge(&debug).is_ok());
    let moves = milan(|s| s.policy |= 1 << 18);
    let got = fault(&SnpPolicy::default(), &moves);
    assert!(matches!(got, SnpRejection::Migration(_)) && got.code() == Code::SnpMigration);
    assert!(policy("danger-migration = true").judge(&moves).is_ok());
}

#[test]
fn t19_vmpl_is_listed() {
    for vmpl in [1, 3, 4, 256, u32::MAX] {
        let got = fault(&SnpPolicy::default(), &milan(|s| s.vmpl = vmpl));
        assert_eq!(got, SnpRejection::Vmpl { seen: vmpl, wanted: vec![0] });
        assert_eq!(got.code(), Code::SnpVmpl);
    }
    assert!(policy("vmpl = [0, 2]").judge(&milan(|s| s.vmpl = 2)).is_ok());
    assert!(matches!(fault(&policy("vmpl = []"), &milan(|_| {})), SnpRejection::Vmpl { .. }));
}

#[test]
fn t19_each_component_has_a_floor() {
    for chip in [TestChip::milan(), TestChip::turin()] {
        let (line, honest) = (chip.model().name().to_lowercase(), chip.tcb());
        let components = [
            (Component::Fmc, "fmc", honest.fmc),
            (Component::Bootloader, "bootloader", honest.bootloader),
            (Component::Tee, "tee", honest.tee),
            (Component::Snp, "snp", honest.snp),
            (Component::Microcode, "microcode", honest.microcode),
        ];
        for (component, name, value) in components {
            if component == Component::Fmc && chip.model() != ChipModel::Turin {
                continue;
            }
            let floor = |value: u8| policy(&format!("[minimum-tcb.{line}]\n{name} = {value}"));
            assert!(floor(value).judge(&proven(&chip)).is_ok());
            let faults = floor(value + 1).faults(&proven(&chip));
            assert_eq!(faults.len(), 2, "reported and launch: {faults:?}");
            for (got, kind) in faults.into_iter().zip([TcbKind::Reported, TcbKind::Launch]) {
                let (seen, wanted) = (value, value + 1);
                let product = proven(&chip).product();
                assert_eq!(got, SnpRejection::TcbTooOld { kind, component, product, seen, wanted });
                assert_eq!(got.code(), Code::SnpTcbTooOld);
            }
        }
    }
}

#[test]
fn t19_a_guest_launched_under_old_firmware_is_refused() {
    let launched = milan(|s| s.launch_tcb = Tcb { snp: 23, ..s.launch_tcb });
    let got = fault(&policy("[minimum-tcb.milan]\nsnp = 24"), &launched);
    assert!(matches!(got, SnpRejection::TcbTooOld { kind: TcbKind::Launch, seen: 23, .. }), "{got:?}");
}

#[test]
fn a_line_without_a_floor_is_refused_once_any_has_one() {
    let got = fault(&policy("[minimum-tcb.genoa]\nsnp = 1"), &milan(|_| {}));
    assert_eq!(got, SnpRejection::TcbNoFloor { product: Product::Milan });
    // A floor for FMC is one that no line before Turin reaches.
    let got = policy("[minimum-tcb.milan]\nfmc = 1").judge(&milan(|_| {})).unwrap_err();
    assert!(matches!(got, SnpRejection::TcbTooOld { component: Component::Fmc, seen: 0, .. }), "{got:?}");
}

#[test]
fn firmware_and_mitigations() {
    let wanted = policy("minimum-firmware = \"1.55.40\"");
    assert!(wanted.judge(&milan(|_| {})).is_ok());
    let got = fault(&wanted, &milan(|s| s.committed = [39, 55, 1]));
    assert!(matches!(got, SnpRejection::FirmwareTooOld { .. }) && got.code() == Code::SnpFirmwareTooOld);
    assert!(wanted.judge(&milan(|s| s.committed = [0, 56, 1])).is_ok());

    let chip = TestChip::turin();
    let wanted = policy("mitigations = 3");
    assert!(wanted.judge(&with(&chip, |s| s.launch_mitigations = 7)).is_ok());
    let got = fault(&wanted, &with(&chip, |s| s.launch_mitigations = 5));
    assert_eq!(got, SnpRejection::Mitigations { kind: TcbKind::Launch, seen: 5, wanted: 3 });
    let got = fault(&wanted, &with(&chip, |s| (s.launch_mitigations, s.current_mitigations) = (3, 2)));
    assert_eq!(got, SnpRejection::Mitigations { kind: TcbKind::Current, seen: 2, wanted: 3 });
    assert_eq!(got.code(), Code::SnpMitigations);
    assert_eq!(wanted.faults(&milan(|_| {})).len(), 2, "version 3 has no mitigation vectors");
}

#[test]
fn the_guests_launch_is_listed() {
    let hex = |byte: u8, len: usize| format!("{byte:02x}").repeat(len);
    type Case = (&'static str, usize, Code, fn(&mut ReportSpec));
    let cases: [Case; 5] = [
        ("measurements", 48, Code::SnpMeasurement, |s| s.measurement = [0xaa; 48]),
        ("host-data", 32, Code::SnpHostData, |s| s.host_data = [0xaa; 32]),
        ("family-ids", 16, Code::SnpGuestId, |s| s.family_id = [0xaa; 16]),
        ("image-ids", 16, Code::SnpGuestId, |s| s.image_id = [0xaa; 16]),
        ("id-key-digests", 48, Code::SnpIdKey, |s| s.id_key_digest = [0xaa; 48]),
    ];
    for (member, len, code, change) in cases {
        let listed = policy(&format!("{member} = [\"{}\", \"{}\"]", hex(0x99, len), hex(0xaa, len)));
        assert!(listed.judge(&milan(change)).is_ok(), "{member}");
        let got = fault(&listed, &milan(|_| {}));
        assert_eq!(got.code(), code, "{got:?}");
        let due = format!("none of the 2 that the policy lists: {}, {}", hex(0x99, len), hex(0xaa, len));
        assert!(got.to_string().contains(&due), "{got}");
        let none = policy(&format!("{member} = []"));
        assert_eq!(fault(&none, &milan(change)).code(), code);
    }
}

#[test]
fn an_author_key_counts_only_where_it_is_enabled() {
    let listed = policy(&format!("author-key-digests = [\"{}\"]", "aa".repeat(48)));
    let enabled = |s: &mut ReportSpec| (s.key_info, s.author_key_digest) = (1, [0xaa; 48]);
    assert!(listed.judge(&milan(enabled)).is_ok());
    let got = fault(&listed, &milan(|s| s.author_key_digest = [0xaa; 48]));
    assert!(matches!(got, SnpRejection::AuthorKey { seen: None, .. }), "{got:?}");
    let got = fault(&listed, &milan(|s| (s.key_info, s.author_key_digest) = (1, [0xab; 48])));
    assert_eq!(got.code(), Code::SnpAuthorKey);
}

#[test]
fn t19_chips_are_denied_and_allowed() {
    for chip in [TestChip::milan(), TestChip::turin()] {
        let id = ChipId(chip.chip_id());
        let report = proven(&chip);
        let denied = policy(&format!("chip-ids-denied = [\"{id}\"]"));
        assert_eq!(fault(&denied, &report), SnpRejection::ChipDenied { seen: id.to_string() });
        let allowed = policy(&format!("chip-ids-allowed = [\"{id}\"]"));
        assert!(allowed.judge(&report).is_ok());
        let other = policy(&format!("chip-ids-allowed = [\"{}\"]", "ab".repeat(64)));
        let got = fault(&other, &report);
        assert_eq!(got, SnpRejection::ChipNotAllowed { seen: id.to_string(), listed: 1 });
        assert_eq!(got.code(), Code::SnpChip);
        // Masking the id in the report hides nothing: the VCEK is the chip's.
        let masked = with(&chip, |s| s.chip_id = [0; 64]);
        assert_eq!(fault(&denied, &masked), SnpRejection::ChipDenied { seen: id.to_string() });
        // A VLEK does hide it, from who wants to know.
        let vlek = proven(&chip.clone().with_vlek("CN=x"));
        assert_eq!(fault(&denied, &vlek), SnpRejection::ChipMasked);
        assert_eq!(fault(&allowed, &vlek), SnpRejection::ChipMasked);
    }
}

#[test]
fn who_signed_and_on_what() {
    let report = milan(|_| {});
    let got = fault(&policy("products = [\"genoa\", \"turin\"]"), &report);
    assert!(matches!(&got, SnpRejection::Product { seen: Product::Milan, wanted } if wanted.len() == 2));
    assert_eq!(got.code(), Code::SnpProduct);
    assert!(policy("products = [\"milan\"]").judge(&report).is_ok());
    let got = fault(&policy("signing-keys = [\"vlek\"]"), &report);
    assert!(matches!(got, SnpRejection::SigningKey { .. }) && got.code() == Code::SnpKey);
    assert!(policy("signing-keys = [\"vcek\"]").judge(&report).is_ok());
    let vlek = proven(&TestChip::milan().with_vlek("CN=one"));
    assert!(policy("providers = [\"CN=one\"]").judge(&vlek).is_ok());
    let got = fault(&policy("providers = [\"CN=other\"]"), &vlek);
    assert!(matches!(&got, SnpRejection::Provider { seen, .. } if seen == "CN=one"), "{got:?}");
    let got = fault(&policy("providers = [\"CN=one\"]"), &report);
    assert!(matches!(&got, SnpRejection::Provider { seen, .. } if seen.is_empty()), "{got:?}");
}

#[test]
fn smt_abi_svn_and_unknown_bits() {
    let report = milan(|_| {});
    let got = fault(&policy("smt = false"), &report);
    assert!(matches!(got, SnpRejection::Smt(_)) && got.code() == Code::SnpSmt);
    assert!(policy("smt = false").judge(&milan(|s| s.policy = POLICY_RESERVED)).is_ok());
    let wanted = policy("minimum-abi = \"1.55\"");
    assert!(wanted.judge(&milan(|s| s.policy |= 0x0137)).is_ok());
    let got = fault(&wanted, &milan(|s| s.policy |= 0x0136));
    assert!(matches!(got, SnpRejection::Abi { .. }) && got.code() == Code::SnpAbi);
    let wanted = policy("minimum-guest-svn = 3");
    let got = fault(&wanted, &report);
    assert_eq!(got, SnpRejection::GuestSvn { seen: 2, wanted: 3 });
    assert_eq!(got.code(), Code::SnpGuestSvn);
    assert!(wanted.judge(&milan(|s| s.guest_svn = 3)).is_ok());
    let got = fault(&SnpPolicy::default(), &milan(|s| s.policy |= 1 << 26));
    assert!(matches!(got, SnpRejection::PolicyUnknown { unknown: 0x400_0000, .. }), "{got:?}");
}

#[test]
fn flags_of_platform_and_guest_policy() {
    let platform = [
        ("smt", Flag::Smt, 0),
        ("tsme", Flag::Tsme, 1),
        ("ecc", Flag::Ecc, 2),
        ("rapl-disabled", Flag::RaplDisabled, 3),
        ("ciphertext-hiding", Flag::CiphertextHiding, 4),
        ("alias-check", Flag::AliasCheck, 5),
        ("tio", Flag::Tio, 7),
    ];
    for (name, flag, bit) in platform {
        let (set, clear) = (milan(|s| s.platform_info = 1 << bit), milan(|s| s.platform_info = !(1 << bit)));
        for (wanted, good, bad) in [(true, &set, &clear), (false, &clear, &set)] {
            let wants = policy(&format!("[platform]\n{name} = {wanted}"));
            assert!(wants.judge(good).is_ok(), "{name}");
            let got = fault(&wants, bad);
            assert_eq!(got, SnpRejection::Platform { flag, seen: !wanted });
            assert_eq!(got.code(), Code::SnpPlatform);
        }
    }
    let guest = [
        ("single-socket", Flag::SingleSocket, 20),
        ("cxl", Flag::Cxl, 21),
        ("aes-256-xts", Flag::Aes256Xts, 22),
        ("rapl-disabled", Flag::RaplDisabled, 23),
        ("ciphertext-hiding", Flag::CiphertextHiding, 24),
        ("page-swap-disabled", Flag::PageSwapDisabled, 25),
    ];
    for (name, wanted_flag, bit) in guest {
        let (set, clear) = (milan(|s| s.policy |= 1 << bit), milan(|_| {}));
        for (wanted, good, bad) in [(true, &set, &clear), (false, &clear, &set)] {
            let wants = policy(&format!("[guest-policy]\n{name} = {wanted}"));
            assert!(wants.judge(good).is_ok(), "{name}");
            let got = fault(&wants, bad);
            let same = matches!(got, SnpRejection::PolicyFlag { flag, seen, .. } if flag == wanted_flag && seen != wanted);
            assert!(same && got.code() == Code::SnpGuestPolicy, "{got:?}");
        }
    }
}

#[test]
fn a_revocation_list_may_be_demanded() {
    let chip = TestChip::milan();
    let wants = policy("require-crl = true");
    assert_eq!(fault(&wants, &proven(&chip)), SnpRejection::CrlMissing);
    let mut certs = sent(&chip);
    certs.crls.push(Crl::parse(&chip.crl(&[])).unwrap());
    let endorsement = Endorsement::verify(&certs.veks[0], &certs, &roots(&chip), NOW).unwrap();
    let parsed = ReportParsed::parse(&chip.report([7; 64], 0)).unwrap();
    assert!(wants.judge(&parsed.prove(&endorsement, NOW).unwrap()).is_ok());
}

#[test]
fn all_faults_are_named_the_gravest_first() {
    let report = milan(|s| {
        s.policy |= 1 << 19;
        s.vmpl = 1;
        s.measurement = [1; 48];
    });
    let wants = SnpPolicy { measurements: Some(vec![Hex([2; 48])]), ..SnpPolicy::default() };
    let codes: Vec<_> = wants.faults(&report).iter().map(SnpRejection::code).collect();
    assert_eq!(codes, [Code::SnpDebug, Code::SnpVmpl, Code::SnpMeasurement]);
}

#[test]
fn policies_read_back_and_refuse_what_they_do_not_know() {
    let text = format!(
        "products = [\"milan\"]\nvmpl = [0]\nmeasurements = [\"{}\"]\nsmt = false\nmitigations = 1\n\
         minimum-abi = \"1.55\"\n[minimum-tcb.milan]\nsnp = 24\n[platform]\necc = true\n",
        "11".repeat(48)
    );
    let read = policy(&text);
    assert_eq!(policy(&toml::to_string(&read).unwrap()), read);
    let json = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<SnpPolicy>(&json).unwrap(), read);
    for bad in [
        "debug = true",
        "product = [\"milan\"]",
        "products = [\"naples\"]",
        "measurements = [\"11\"]",
        "host-data = [\"AA\"]",
        "[minimum-tcb.milan]\nucode = 1",
        "[platform]\nsev = true",
        "minimum-firmware = \"1.55\"",
    ] {
        assert!(toml::from_str::<SnpPolicy>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_policy_may_bring_a_dangerous_root() {
    let chip = TestChip::milan();
    let pem = |der: &[u8]| {
        let body = ccnode_evidence::Base64Std(der.to_vec());
        let body: String = serde_json::from_value(serde_json::to_value(body).unwrap()).unwrap();
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let with = |certificates: String| {
        let text =
            format!("[[danger-roots]]\nproduct = \"milan\"\ncertificates = \"\"\"\n{certificates}\"\"\"");
        policy(&text).roots()
    };
    let roots = with(pem(&chip.ark_der()) + &pem(&chip.ask_der())).unwrap();
    let mut alone = ccnode_snp::Certificates::default();
    alone.add(&chip.vek_der()).unwrap();
    assert!(Endorsement::verify(&alone.veks[0], &alone, &roots, NOW).unwrap().danger_root());
    assert_eq!(with(pem(&chip.ask_der())), Err(DangerRootError::NoRoot(Product::Milan)));
    let two = pem(&chip.ark_der()) + &pem(&TestChip::genoa().ark_der());
    assert_eq!(with(two), Err(DangerRootError::NoRoot(Product::Milan)));
    assert!(matches!(with("nothing\n".into()), Err(DangerRootError::Certificates { .. })));
}
