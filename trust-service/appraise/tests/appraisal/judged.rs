//! What was booted: logs, cap, platform, image, pair, and PCR 5, 8 and 10.

use crate::world::{VERITY, World, with_evidence};
use ccnode_appraise::{LogKind, Refused, Rejection};
use ccnode_evidence::{Base64Url, Code, EventLogs, Sha256Digest};
use ccnode_testkit::{Answer, Boot, Lies, attest_with_init_data, pcr};
use ccnode_tpm_eventlog::MatchError;

const CMDLINE: &str = "console=ttyS0 lockdown=integrity";
const EV_IPL: u32 = 0xd;
const EV_EFI_ACTION: u32 = 0x8000_0007;

fn booted(boot: Boot) -> Box<Refused> {
    let world = World::new();
    world.tpm.reboot(boot);
    world.refused()
}

fn with_logs(f: impl FnOnce(&mut EventLogs)) -> Box<Refused> {
    let world = World::new();
    let mut logs = world.tpm.boot().logs();
    f(&mut logs);
    world.tpm.lie(Lies { logs: Some(logs), ..Default::default() });
    world.refused()
}

#[test]
fn t11_log_must_be_readable() {
    let refused = with_logs(|logs| {
        logs.event_log.0.pop();
    });
    assert!(matches!(refused.rejection, Rejection::EventLogMalformed { log: LogKind::Firmware, .. }));
    assert_eq!(refused.rejection.code(), Code::EventLogMalformed);
    assert!(refused.kept.quote_proven && !refused.kept.log_proven);
    let refused = with_logs(|logs| logs.own_log = Base64Url(vec![1]));
    assert!(matches!(refused.rejection, Rejection::EventLogMalformed { log: LogKind::Own, .. }));
}

#[test]
fn t11_log_must_replay() {
    let other = Boot::new("2022.11", "console=ttyS0 init=/bin/sh", b"initrd");
    // The log of the good image beside the PCRs of another.
    let world = World::new();
    world.tpm.reboot(other);
    world.tpm.lie(Lies { logs: Some(Boot::standard().logs()), ..Default::default() });
    let refused = world.refused();
    assert!(matches!(
        refused.rejection,
        Rejection::EventLogMismatch(MatchError::Mismatch { pcr: first, .. }) if first == pcr(4)
    ));
    assert_eq!(refused.rejection.code(), Code::EventLogMismatch);
    assert_eq!(refused.rejection.pcr(), Some(pcr(4)));
    assert!(!refused.kept.log_proven);
}

#[test]
fn t11_log_without_the_bank_is_refused() {
    // A header that names SHA-384 in place of SHA-256: nothing replays.
    let refused = with_logs(|logs| {
        let mut header = logs.event_log.0.clone();
        header.truncate(65);
        let at = header.windows(4).position(|w| w == [0x0b, 0x00, 0x20, 0x00]).unwrap();
        header[at] = 0x0c;
        header[at + 2] = 0x30;
        logs.event_log = Base64Url(header);
    });
    assert!(
        matches!(refused.rejection, Rejection::EventLogMismatch(MatchError::Replay(_))),
        "{}",
        refused.rejection
    );
}

#[test]
fn t11_cmdline_is_believed_only_where_it_is_measured() {
    let mut boot = Boot::new("2022.11", &format!("{CMDLINE} init=/bin/sh"), b"initrd");
    let honest = booted(boot.clone());
    assert!(honest.rejection.to_string().contains("init=/bin/sh"), "{}", honest.rejection);
    // Claimed to be something else than what was measured: not repeated.
    boot.cmdline = format!("{CMDLINE} harmless=1");
    let lying = booted(boot);
    assert!(matches!(lying.rejection, Rejection::ImageUnknown(_)));
    assert!(!lying.rejection.to_string().contains("harmless"), "{}", lying.rejection);
}

#[test]
fn sizes_are_bounded() {
    for (f, due) in [
        (
            Box::new(|l: &mut EventLogs| l.event_log = Base64Url(vec![0; 1024 * 1024 + 1]))
                as Box<dyn Fn(&mut _)>,
            "event-log",
        ),
        (Box::new(|l: &mut EventLogs| l.own_log = Base64Url(vec![0; 1024 * 1024 + 1])), "own-log"),
        (Box::new(|l: &mut EventLogs| l.cmdline = "a".repeat(4097)), "cmdline"),
    ] {
        let refused = with_logs(f);
        assert!(
            matches!(refused.rejection, Rejection::MalformedRequest { member, .. } if member.ends_with(due)),
            "{}",
            refused.rejection
        );
    }
}

#[test]
fn t17_capped_boot_gets_nothing() {
    let world = World::new();
    assert!(world.run().is_ok());
    world.tpm.cap();
    let refused = world.refused();
    assert!(matches!(refused.rejection, Rejection::AlreadyCapped { .. }));
    assert_eq!(refused.rejection.code(), Code::AlreadyCapped);
    assert_eq!(refused.rejection.pcr(), Some(pcr(15)));
    // Without the log of it, too.
    world.tpm.lie(Lies { logs: Some(Boot::standard().logs()), ..Default::default() });
    assert!(matches!(world.refused().rejection, Rejection::AlreadyCapped { .. }));
    // A next boot starts anew.
    world.tpm.lie(Lies::default());
    world.tpm.reboot(Boot::standard());
    assert!(world.run().is_ok());
}

#[test]
fn logged_cap_that_never_was_is_no_replay() {
    let mut capped = Boot::standard();
    capped.cap();
    let refused = with_logs(|logs| logs.own_log = capped.logs().own_log);
    assert!(matches!(
        refused.rejection,
        Rejection::EventLogMismatch(MatchError::Mismatch { pcr: at, .. }) if at == pcr(15)
    ));
}

#[test]
fn unknown_platform_is_explained() {
    let refused = booted(Boot::new("2025.02", CMDLINE, b"initrd"));
    assert!(matches!(refused.rejection, Rejection::PlatformUnknown(_)));
    assert_eq!(refused.rejection.code(), Code::PlatformUnknown);
    assert_eq!(refused.rejection.pcr(), Some(pcr(0)));
    assert_eq!(refused.rejection.closest(), Some("platform q35"));
    assert!(
        refused.rejection.event().unwrap().contains("firmware version"),
        "{:?}",
        refused.rejection.event()
    );
    let kept = refused.kept;
    assert!(kept.activation_proven && kept.quote_proven && kept.log_proven);
    assert_eq!(kept.logs.unwrap().cmdline, CMDLINE);
    assert_eq!(kept.pcrs.unwrap().0.len(), 16);
    // Who records the platform is told which image ran on it.
    assert_eq!(
        (kept.platform, kept.image),
        (None, Some(Boot::standard().image_tuple("worker", "1", VERITY).id()))
    );
}

#[test]
fn pool_without_references_says_so() {
    let world = World { platforms: vec![], ..World::new() };
    let refused = world.refused();
    assert_eq!(refused.rejection.to_string(), "the pool knows no platform");
    assert_eq!((refused.rejection.pcr(), refused.rejection.closest()), (None, None));
    let world = World { images: vec![], ..World::new() };
    let refused = world.refused();
    assert_eq!(refused.rejection.to_string(), "the pool knows no image");
    assert_eq!(refused.rejection.code(), Code::ImageUnknown);
    assert_eq!(refused.kept.platform, Some(world.pairs[0].0));
}

#[test]
fn t14_changed_command_line_is_named() {
    let mut world = World::new();
    // A farther image, registered first: the closest is named.
    let far = Boot::new("2022.11", "quiet", b"other").image_tuple("far", "9", VERITY);
    world.images.insert(0, far);
    world.tpm.reboot(Boot::new("2022.11", &format!("{CMDLINE} init=/bin/sh"), b"initrd"));
    let rejection = world.refused().rejection;
    assert!(matches!(rejection, Rejection::ImageUnknown(_)));
    assert_eq!(rejection.closest(), Some("image worker 1"));
    assert_eq!(rejection.pcr(), Some(pcr(11)), "the part is named before the whole");
    let sentence = rejection.to_string();
    assert!(sentence.contains("`init=/bin/sh` added"), "{sentence}");
    assert!(rejection.differences().iter().any(|d| d.pcr() == Some(pcr(4))), "the whole follows");
}

#[test]
fn changed_initrd_is_named() {
    let rejection = booted(Boot::new("2022.11", CMDLINE, b"evil")).rejection;
    assert_eq!(rejection.pcr(), Some(pcr(11)));
    assert!(rejection.event().unwrap().contains(".initrd"), "{:?}", rejection.event());
}

#[test]
fn every_pcr_of_a_tuple_counts() {
    for index in [0, 1, 2, 3, 6, 7, 4, 9, 11, 12, 13, 14] {
        let mut boot = Boot::standard();
        boot.event(index, EV_IPL, b"x", b"x", "x");
        let rejection = booted(boot).rejection;
        let platform = matches!(rejection, Rejection::PlatformUnknown(_));
        assert_eq!(platform, [0, 1, 2, 3, 6, 7].contains(&index), "PCR {index}: {rejection}");
        assert_eq!(platform, !matches!(rejection, Rejection::ImageUnknown(_)));
        assert_eq!(rejection.pcr(), Some(pcr(index)));
    }
}

#[test]
fn pair_must_be_allowed() {
    let mut world = World::new();
    let other = Boot::new("2025.02", CMDLINE, b"initrd").platform_tuple("q35-new");
    world.pairs = vec![(other.id(), world.images[0].id())];
    world.platforms.push(other);
    let refused = world.refused();
    assert!(
        matches!(&refused.rejection, Rejection::PairNotAllowed { platform, .. } if *platform == world.platforms[0].id())
    );
    assert_eq!(refused.rejection.code(), Code::PairNotAllowed);
    assert_eq!(refused.kept.image, Some(world.images[0].id()));
}

#[test]
fn strange_boot_event_is_refused() {
    let gpt_less = |event_type, data: &[u8], measured: &[u8]| {
        let mut boot = Boot::standard();
        boot.event(5, event_type, data, measured, "");
        booted(boot).rejection
    };
    for got in [
        gpt_less(EV_IPL, b"loader.conf", b"loader.conf"),
        // A type that fits, and data that no digest covers.
        gpt_less(EV_EFI_ACTION, b"Exit Boot Services Invocation", b"other"),
        // Covered, and no action of the firmware's.
        gpt_less(EV_EFI_ACTION, b"Starting something else", b"Starting something else"),
        // A separator that reports an error.
        gpt_less(4, &[1, 0, 0, 0], &[1, 0, 0, 0]),
    ] {
        assert!(matches!(got, Rejection::BootEvents { .. }), "{got}");
        assert_eq!(got.code(), Code::BootEvents);
        assert_eq!(got.pcr(), Some(pcr(5)));
        assert!(got.event().is_some());
    }
}

#[test]
fn ima_must_have_measured_nothing_else() {
    let mut boot = Boot::standard().without_ima();
    boot.extend(10, Sha256Digest::of(b"policy"), "policy");
    let rejection = booted(boot).rejection;
    assert!(matches!(rejection, Rejection::ImaUnexpected { .. }));
    assert_eq!(rejection.code(), Code::ImaUnexpected);
    assert_eq!(rejection.pcr(), Some(pcr(10)));
}

#[test]
fn init_data_must_be_allowed_and_sent() {
    let mut boot = Boot::standard();
    boot.extend(8, Sha256Digest::of(b"x = 1"), "init-data");
    let rejection = booted(boot.clone()).rejection;
    assert!(matches!(rejection, Rejection::InitData { allowed: false, .. }));
    assert_eq!(rejection.code(), Code::InitDataNotAllowed);
    assert_eq!(rejection.pcr(), Some(pcr(8)));
    // Allowed, and not sent: nobody knows what PCR 8 holds.
    let mut world = World { allow_init_data: true, ..World::new() };
    world.tpm.reboot(boot);
    assert!(matches!(world.refused().rejection, Rejection::InitData { allowed: true, .. }));
    let send = |world: &World, body: &str| {
        let answer = Answer { nonce: &world.nonce, secret: &world.secret, key: &world.key, csr: None };
        let logs = world.tpm.read_logs();
        let sent = attest_with_init_data(&answer, logs, Some(body), |data| world.tpm.sign_quote(data));
        world.judge(&sent).map_err(|refused| refused.rejection)
    };
    assert_eq!(send(&world, "x = 1").unwrap().init_data, Some(Sha256Digest::of(b"x = 1")));
    assert!(matches!(send(&world, "x = 2"), Err(Rejection::InitData { allowed: true, .. })));
    world.allow_init_data = false;
    assert!(matches!(send(&world, "x = 1"), Err(Rejection::InitData { allowed: false, .. })));
}

#[test]
fn unproven_evidence_is_not_explained() {
    let world = World::new();
    world.tpm.reboot(Boot::new("2022.11", "evil", b"evil"));
    let answer = with_evidence(world.answer(), |e| e["tpm_quote"]["signature"] = "AAAA".into());
    let rejection = world.judge(&answer).unwrap_err().rejection;
    assert_eq!((rejection.pcr(), rejection.closest(), rejection.event()), (None, None, None));
    assert!(rejection.differences().is_empty());
}
