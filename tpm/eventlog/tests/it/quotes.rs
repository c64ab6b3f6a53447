//! Recorded logs beside the quotes and reports of the same boot, and beside predictions.

use crate::build::Log;
use crate::vectors::{read, value, vectors};
use ccnode_evidence::{HashAlg, PcrIndex, PcrSet, PcrValues, Sha256Digest};
use ccnode_tpm_eventlog::{EventLog, MatchError, event_type};
use std::path::Path;

#[test]
fn log_of_a_quote_matches_it() {
    let Some((dir, expected)) = vectors("tpm-quote") else { return };
    let log = EventLog::parse(read(&dir.join("gce-cos-85/eventlog.bin"))).unwrap();
    let pcrs = &expected["files"]["gce-cos-85/quote-sha256.attest"]["pcrs"];
    let quoted: PcrValues = serde_json::from_value(pcrs.clone()).unwrap();
    let without = |not: &[u8]| PcrSet::STOCK.iter().filter(|p| !not.contains(&p.get())).collect::<PcrSet>();

    // IMA extends PCR 10, and no firmware log has that.
    let proof = log.matches(&quoted, without(&[10])).unwrap();
    assert!(!proof.set().contains(PcrIndex::new(10).unwrap()));
    assert_eq!(proof.log().events.len(), 45);
    let Err(MatchError::Mismatch { pcr, .. }) = log.matches(&quoted, PcrSet::STOCK) else {
        panic!("PCR 10 is not in the log")
    };
    assert_eq!(pcr.get(), 10);
}

/// RTMR0 to RTMR3 of a TDX quote of version 4: behind 48 bytes of header, at 328 of the TD report.
fn rtmrs(quote: &Path) -> Vec<Vec<u8>> {
    let text = read(quote);
    let bytes = match quote.extension() {
        Some(ext) if ext == "hex" => {
            hex::decode(std::str::from_utf8(text).unwrap().trim().trim_start_matches("0x")).unwrap()
        }
        _ => text.to_vec(),
    };
    bytes[376..568].chunks(48).map(<[u8]>::to_vec).collect()
}

/// Which of RTMR0 to RTMR2 a CCEL log replays to.
fn agrees(log: &Path, quote: &Path) -> [bool; 3] {
    let log = EventLog::parse_ccel(read(log)).unwrap();
    let replay = log.replay(HashAlg::Sha384).unwrap();
    let quoted = rtmrs(quote);
    [0, 1, 2].map(|n| replay.value(n + 1) == Some(quoted[n as usize].as_slice()))
}

#[test]
fn t11_ccel_beside_td_quotes() {
    let (Some((logs, _)), Some((quotes, _))) = (vectors("tcg-eventlog"), vectors("tdx")) else { return };
    let cos = quotes.join("gcp-cos-113/quote.dat");
    assert_eq!(agrees(&logs.join("ccel/cos-113-intel-tdx.bin"), &cos), [true; 3]);
    // The same events with separators doubled.
    let doubled = logs.join("ccel/cos-113-intel-tdx-dupe-separator-unpadded.bin");
    assert_eq!(agrees(&doubled, &cos), [false, false, true]);
    let dstack = agrees(&logs.join("ccel/dstack-ccel.bin"), &quotes.join("phala/quote-from-tappd.hex"));
    assert!(dstack[0]);
}

/// A recorded log as `tpm2_eventlog` prints it: register, type and digest of each event, made a log again.
#[test]
fn printed_log_replays_to_the_printed_values() {
    let Some((dir, expected)) = vectors("pcr-prediction") else { return };
    let text = std::fs::read_to_string(dir.join("eventlog-grub.yaml")).unwrap();
    let mut log = Log::new();
    let mut events = 0;
    for part in text.split("- EventNum: ").skip(2) {
        let field = |name: &str| {
            let rest = &part[part.find(name).unwrap() + name.len()..];
            rest.lines().next().unwrap().trim().trim_matches('"').to_owned()
        };
        let kind = field("EventType: ");
        let event_type =
            (0..0x20).chain(0x8000_0000..0x8000_0100).find(|t| event_type::name(*t) == Some(&kind));
        let digest = hex::decode(field(" Digest: ")).unwrap();
        log.raw(field("PCRIndex: ").parse().unwrap(), event_type.unwrap(), &[(0x0b, &digest)], &[]);
        events += 1;
    }
    assert_eq!(events, 88);
    let replay = log.parse().replay(HashAlg::Sha256).unwrap();
    let values = expected["files"]["eventlog-grub.yaml"]["pcrs_sha256"].as_object().unwrap();
    for (pcr, want) in values {
        assert_eq!(value(&replay, pcr), want.as_str().unwrap(), "PCR {pcr}");
    }
    assert_eq!(replay.extended().count(), values.len());
}

/// Event digests that others predicted, extended in their order.
#[test]
fn predicted_events_replay_to_the_predicted_values() {
    let Some((dir, expected)) = vectors("pcr-prediction") else { return };
    let mut seen = 0;
    for (name, facts) in expected["files"].as_object().unwrap() {
        let Some(pcrs) = facts.get("pcrs").and_then(|p| p.as_object()) else { continue };
        let predicted: serde_json::Value = serde_json::from_slice(read(&dir.join(name))).unwrap();
        let list = predicted["pcrs"].as_array().cloned().unwrap_or_else(|| vec![predicted.clone()]);
        for pcr in &list {
            let want = &pcrs[&pcr["id"].to_string()];
            let mut log = Log::new();
            for event in pcr["events"].as_array().unwrap() {
                let digest = hex::decode(event["hash"].as_str().unwrap()).unwrap();
                let number = u32::try_from(pcr["id"].as_u64().unwrap()).unwrap();
                log.raw(number, event_type::EV_IPL, &[(0x0b, &digest)], &[]);
            }
            let log = log.parse();
            assert_eq!(log.events.len() as u64 - 1, want["events"].as_u64().unwrap(), "{name}");
            let replay = log.replay(HashAlg::Sha256).unwrap();
            assert_eq!(value(&replay, &pcr["id"].to_string()), want["value"].as_str().unwrap(), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 14);
}

/// Variables as efivarfs has them: the measured part comes behind four bytes of attributes.
#[test]
fn recorded_variables_hash_to_their_events() {
    let Some((dir, expected)) = vectors("pcr-prediction") else { return };
    let mut seen = 0;
    for (name, facts) in expected["files"].as_object().unwrap() {
        let Some(want) = facts.get("event_digest_sha256") else { continue };
        let bytes = read(&dir.join(name));
        let digest = match name.split('/').next().unwrap() {
            "efivars" => {
                let (variable, guid) = name.rsplit('/').next().unwrap().split_once('-').unwrap();
                let data = crate::build::variable_of(guid, variable, &bytes[4..]);
                Sha256Digest::of(&data)
            }
            "mok-variables" => Sha256Digest::of(bytes),
            other => panic!("{other}"),
        };
        assert_eq!(digest.hex(), want.as_str().unwrap(), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 14);
}
