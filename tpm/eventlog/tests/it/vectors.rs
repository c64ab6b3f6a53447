//! Recorded logs of real machines, every file of them: what is known about each must hold, and nothing else may be known.

use ccnode_evidence::{HashAlg, Sha256Digest};
use ccnode_tpm_eventlog::{EventLog, LogError, Payload, Replay, ReplayError, event_type::*, render};
pub(crate) use ccnode_vectors::stated as vectors;
use serde_json::{Map, Value};
use std::path::Path;

pub(crate) fn read(path: &Path) -> &'static [u8] {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).leak()
}

fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<EventLog<'a>, LogError> {
    if name.starts_with("ccel/") { EventLog::parse_ccel(bytes) } else { EventLog::parse(bytes) }
}

/// What is due for a file.
enum Due {
    Read,
    Refused(fn(&LogError) -> bool),
}

/// By the first words of its outcome. Words that nobody thought of fail the test.
fn due(name: &str, outcome: &str) -> Due {
    let empty: fn(&LogError) -> bool = |e| *e == LogError::Empty;
    let none: fn(&LogError) -> bool = |e| matches!(e, LogError::Register { event: 0, .. });
    let short: fn(&LogError) -> bool = |e| *e == LogError::HeaderShort;
    match outcome.split([':', ';']).next().unwrap() {
        "valid" | "valid for replay" | "valid for a lenient parser" | "parses" => Due::Read,
        // A log like another one; what it is not the log of is checked beside the quotes.
        "invalid against tdx/gcp-cos-113/quote.dat" | "plain replay does not give PCR 5" => Due::Read,
        "no measured event" => Due::Refused(short),
        "ACPI table, not a log" => Due::Refused(|e| *e == LogError::AcpiTable { signature: "CCEL" }),
        "invalid" if name.ends_with("-empty") => Due::Refused(empty),
        "invalid" if name.ends_with("-bogus") => Due::Refused(none),
        other => panic!("{name}: what is to be done about `{other}`?"),
    }
}

#[test]
fn every_file_has_its_outcome() {
    let Some((dir, expected)) = vectors("tcg-eventlog") else { return };
    let files = expected["files"].as_object().unwrap();
    let mut there = Vec::new();
    for folder in std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_dir()) {
        for file in std::fs::read_dir(folder).unwrap() {
            there.push(file.unwrap().path().strip_prefix(&dir).unwrap().to_str().unwrap().to_owned());
        }
    }
    there.sort();
    let mut named: Vec<&str> = files.keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(there, named, "files and expected.json");

    let mut seen = 0;
    for (name, facts) in files {
        let bytes = read(&dir.join(name));
        match (due(name, facts["outcome"].as_str().unwrap()), parse(name, bytes)) {
            (Due::Read, Ok(log)) => Log { name, bytes, log }.check(facts.as_object().unwrap()),
            (Due::Refused(so), Err(error)) => assert!(so(&error), "{name}: {error}"),
            (Due::Read, Err(error)) => panic!("{name}: {error}"),
            (Due::Refused(_), Ok(_)) => panic!("{name} was read"),
        }
        seen += 1;
    }
    assert_eq!(seen, 35);
}

struct Log<'a> {
    name: &'a str,
    bytes: &'a [u8],
    log: EventLog<'a>,
}

impl Log<'_> {
    /// Every fact that is stated; one that is not known here fails the test.
    fn check(&self, facts: &Map<String, Value>) {
        let (name, log) = (self.name, &self.log);
        assert_eq!(EventLog::parse_any(self.bytes).as_ref(), Ok(log), "{name}: found by itself");
        for (fact, value) in facts {
            match fact.as_str() {
                "outcome" | "synthetic" | "source_note" | "end" => (),
                "events" => assert_eq!(log.events.len() as u64, value.as_u64().unwrap(), "{name}"),
                "banks" => {
                    let banks: Vec<&str> = log.algs.iter().map(|a| a.name()).collect();
                    assert_eq!(serde_json::json!(banks), *value, "{name}");
                }
                "bytes_used" => {
                    let used = usize::try_from(value.as_u64().unwrap()).unwrap();
                    assert_eq!(
                        parse(name, &self.bytes[..used]).as_ref(),
                        Ok(log),
                        "{name}: the rest is padding"
                    );
                }
                "secure_boot_variable" => assert_eq!(secure_boot(log).as_deref(), value.as_str(), "{name}"),
                "startup_locality" => {
                    let replay = log.replay(log.best_alg().unwrap()).unwrap();
                    assert_eq!(u64::from(replay.startup_locality()), value.as_u64().unwrap(), "{name}");
                }
                "replay" => self.replay(value.as_object().unwrap()),
                "stated_by_source" => self.stated(value.as_object().unwrap()),
                "events_whose_digest_is_not_the_hash_of_the_data" => (),
                other => panic!("{name}: nobody checks `{other}`"),
            }
        }
        self.t11_data_beside_their_digest(facts);
        let tree = render::tree(log);
        assert!(tree.lines().count() > log.events.len(), "{name}");
        assert!(tree.chars().all(|c| c == '\n' || !c.is_control()), "{name}");
    }

    /// Every bank, every register, and no register more.
    fn replay(&self, banks: &Map<String, Value>) {
        let name = self.name;
        assert_eq!(banks.len(), self.log.algs.len(), "{name}");
        for (bank, values) in banks {
            let values = values.as_object().unwrap();
            let replay = match self.log.replay(alg(bank)) {
                Ok(replay) => replay,
                // Two hand-made logs lack digests that their header announces.
                Err(ReplayError::NoDigest { event: 1, .. })
                    if values.is_empty() && matches!(bank.as_str(), "sha384" | "sha512") =>
                {
                    continue;
                }
                Err(error) => panic!("{name} {bank}: {error}"),
            };
            for (register, want) in values {
                assert_eq!(value(&replay, register), want.as_str().unwrap(), "{name} {bank} {register}");
            }
            assert_eq!(replay.extended().count(), values.len(), "{name} {bank}");
        }
    }

    fn stated(&self, stated: &Map<String, Value>) {
        let (name, log) = (self.name, &self.log);
        for (fact, facts) in stated {
            match fact.as_str() {
                "note" => (),
                "pcrs" => {
                    facts.as_object().unwrap().iter().for_each(|(bank, values)| self.pcrs(bank, values))
                }
                "rtmrs" => {
                    let replay = log.replay(HashAlg::Sha384).unwrap();
                    for (register, want) in facts.as_object().unwrap() {
                        assert_eq!(value(&replay, register), want.as_str().unwrap(), "{name} {register}");
                    }
                }
                "secure_boot" => {
                    assert_eq!(secure_boot(log).as_deref() == Some("01"), facts.as_bool().unwrap(), "{name}");
                }
                "efi_app_digests" => {
                    for (bank, digests) in facts.as_object().unwrap() {
                        let loaded =
                            log.events.iter().filter(|e| e.event_type == EV_EFI_BOOT_SERVICES_APPLICATION);
                        let found: Vec<String> =
                            loaded.map(|e| hex::encode(e.digest(alg(bank)).unwrap())).collect();
                        assert_eq!(serde_json::json!(found), *digests, "{name} {bank}");
                    }
                }
                other => panic!("{name}: nobody checks the stated `{other}`"),
            }
        }
    }

    fn pcrs(&self, bank: &str, values: &Value) {
        // That firmware extended PCR 5 twice more than it logged.
        let gap = self.name == "pc/ebs_event_missing_eventlog";
        let Ok(replay) = self.log.replay(alg(bank)) else {
            assert_eq!((gap, bank), (true, "sha256"), "{}", self.name);
            return;
        };
        for (register, want) in values.as_object().unwrap() {
            let agrees = value(&replay, register) == want.as_str().unwrap();
            assert_eq!(agrees, !(gap && register == "5"), "{} {bank} {register}", self.name);
        }
    }

    /// Where data and digest must belong together, they do, but for the events that are known not to.
    fn t11_data_beside_their_digest(&self, facts: &Map<String, Value>) {
        let known = facts.get("events_whose_digest_is_not_the_hash_of_the_data");
        let known: Vec<u64> =
            known.and_then(Value::as_array).into_iter().flatten().map(|e| e[0].as_u64().unwrap()).collect();
        let Some(bank) = self.log.best_alg().filter(|alg| *alg != HashAlg::Sha1) else { return };
        for event in &self.log.events {
            let due = matches!(
                event.event_type,
                EV_SEPARATOR
                    | EV_EFI_VARIABLE_DRIVER_CONFIG
                    | EV_EFI_VARIABLE_AUTHORITY
                    | EV_EFI_ACTION
                    | EV_EFI_GPT_EVENT
            );
            if due {
                let index = event.index as u64;
                assert_eq!(event.data_is_proven(bank), !known.contains(&index), "{} {index}", self.name);
            }
        }
        if self.name == "pc/event-arch-linux.bin" {
            assert!(!self.log.events[24].data_is_proven(HashAlg::Sha256));
        }
    }
}

fn secure_boot(log: &EventLog<'_>) -> Option<String> {
    let found = log.events.iter().find_map(|e| match e.payload() {
        Payload::Variable(v) if v.name == "SecureBoot" && e.event_type == EV_EFI_VARIABLE_DRIVER_CONFIG => {
            Some(v.data)
        }
        _ => None,
    });
    found.map(|d| if d.is_empty() { "empty".to_owned() } else { hex::encode(d) })
}

pub(crate) fn alg(name: &str) -> HashAlg {
    HashAlg::ALL.into_iter().find(|a| a.name() == name).unwrap()
}

/// The value of "7" or "rtmr0", in hex.
pub(crate) fn value(replay: &Replay, name: &str) -> String {
    let register = name.strip_prefix("rtmr").map_or_else(|| name.parse(), |n| n.parse().map(|n: u32| n + 1));
    hex::encode(replay.value(register.unwrap()).unwrap())
}

#[test]
fn the_two_missing_events_are_what_one_firmware_left_out() {
    let Some((dir, expected)) = vectors("tcg-eventlog") else { return };
    let name = "pc/ebs_event_missing_eventlog";
    let log = EventLog::parse(read(&dir.join(name))).unwrap();
    let mut bytes = std::fs::read(dir.join(name)).unwrap();
    for action in ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"] {
        let digest: [u8; 20] = <sha1::Sha1 as sha1::Digest>::digest(action).into();
        bytes.extend(crate::build::old_event(5, EV_EFI_ACTION, &digest, action.as_bytes()));
    }
    let whole = EventLog::parse(&bytes).unwrap().replay(HashAlg::Sha1).unwrap();
    let stated = &expected["files"][name]["stated_by_source"]["pcrs"]["sha1"]["5"];
    assert_eq!(value(&whole, "5"), stated.as_str().unwrap());
    assert_ne!(value(&log.replay(HashAlg::Sha1).unwrap(), "5"), stated.as_str().unwrap());
}

#[test]
fn forms_are_not_taken_for_each_other() {
    let Some((dir, _)) = vectors("tcg-eventlog") else { return };
    // A log of RTMRs is not one of PCRs, and its padding belongs to CCEL alone.
    assert!(EventLog::parse(read(&dir.join("ccel/CCEL_data_gcp"))).is_err());
    assert!(EventLog::parse_ccel(read(&dir.join("gce/rhel8-uefi.bin"))).is_err());
    let bytes = read(&dir.join("ccel/cos-113-intel-tdx.bin"));
    let zeros = [&bytes[..18101], &[0; 512]].concat();
    assert_eq!(EventLog::parse_ccel(&zeros), EventLog::parse_ccel(bytes));
    assert_eq!(Sha256Digest::of(&bytes[18101..]), Sha256Digest::of(&vec![0xff; bytes.len() - 18101]));
}

#[test]
fn golden_tree_of_systemd_boot() {
    let Some((dir, _)) = vectors("tcg-eventlog") else { return };
    let log = EventLog::parse(read(&dir.join("vm/event-sd-boot-fedora37.bin"))).unwrap();
    let tree = render::tree(&log);
    let part = "\
PCR 7  b5710bf57d25623e4019027da116821fa99f5c81e9e38b87671cc574f9281439
  #4   ce9ce386b52e EV_EFI_VARIABLE_DRIVER_CONFIG: Secure Boot variable `SecureBoot` (empty: not set up)
  #5   dea7b80ab53a EV_EFI_VARIABLE_DRIVER_CONFIG: Secure Boot variable `PK`
  #6   e670e121fceb EV_EFI_VARIABLE_DRIVER_CONFIG: Secure Boot variable `KEK`
  #7   baf89a3ccace EV_EFI_VARIABLE_DRIVER_CONFIG: Secure Boot variable `db`
  #8   9f75b6823bff EV_EFI_VARIABLE_DRIVER_CONFIG: Secure Boot variable `dbx`
  #9   df3f619804a9 EV_SEPARATOR: separator (end of a phase)
PCR 9  2913f6478fa2d1954ece3b40efc111c18f3feb29204e49f627aa0ca493801eeb
  #25  643eefa7b731 EV_EVENT_TAG: initrd  (claimed)
PCR 12  73b2090e3e72430531e7bc7d63e88826891ef4e04d6c1e250dc5c52db24f2f48
  #23  62cc3c5f754e EV_IPL: kernel command line handed to the stub ` console=ttyS0 console=tty0 efi=debug `
";
    assert!(tree.contains(part), "{tree}");
    assert!(
        tree.contains("boot entry Boot0001 (`Linux Boot Manager`)  (contents proven, name claimed)"),
        "{tree}"
    );
}
