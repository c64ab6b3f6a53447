//! CCELs against proven RTMRs: recorded logs, and what is refused of a log.

use crate::world::prove_with;
use ccnode_evidence::{Code, HashAlg};
use ccnode_tdx::{Measurement, Rtmr, RtmrError, TdxProven};
use ccnode_testkit::tdx::TdQuote;
use ccnode_tpm_eventlog::{EventLog, ReplayError};
use serde_json::Value;
use std::path::PathBuf;

fn vectors() -> Option<(PathBuf, Value)> {
    ccnode_vectors::stated("tcg-eventlog")
}

/// A proven quote with these RTMRs.
fn proven(rtmr: [[u8; 48]; 4]) -> TdxProven {
    let mut quote = TdQuote::v4();
    quote.td.rtmr = rtmr;
    prove_with(&quote, None).unwrap()
}

fn rtmr_of(facts: &Value) -> [[u8; 48]; 4] {
    std::array::from_fn(|n| match facts["replay"]["sha384"][format!("rtmr{n}")].as_str() {
        Some(text) => text.parse::<Measurement>().unwrap().0,
        None => [0; 48],
    })
}

#[test]
fn every_recorded_log_matches_the_registers_that_it_is_stated_to_replay_to() {
    let Some((dir, expected)) = vectors() else { return };
    let mut seen = 0;
    for (name, facts) in expected["files"].as_object().unwrap() {
        let Some(file) = name.strip_prefix("ccel/") else { continue };
        let bytes = std::fs::read(dir.join(name)).unwrap();
        seen += 1;
        match file {
            "cos-113-intel-tdx.table.bin" => drop(EventLog::parse_ccel(&bytes).unwrap_err()),
            "CCEL_data_csv" => {
                let log = EventLog::parse_ccel(&bytes).unwrap();
                let error = proven([[0; 48]; 4]).matches_log(&log, &Rtmr::ALL).unwrap_err();
                assert_eq!(error, RtmrError::Replay(ReplayError::UnsupportedBank { alg: HashAlg::Sm3 }));
                assert_eq!(error.code(), Code::EventLogMismatch);
            }
            _ => {
                let log = EventLog::parse_ccel(&bytes).unwrap();
                let rtmr = rtmr_of(facts);
                let proven_quote = proven(rtmr);
                let matched =
                    proven_quote.matches_log(&log, &Rtmr::ALL).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(matched.set().len(), 4);
                assert_eq!(matched.log().events.len(), log.events.len());
                for one in Rtmr::ALL {
                    let n = one.register() as usize - 1;
                    assert_eq!(matched.replay().value(one.register()), Some(&rtmr[n][..]));
                    let mut other = rtmr;
                    other[n][47] ^= 0xd;
                    let error = proven(other).matches_log(&log, &Rtmr::ALL).unwrap_err();
                    assert_eq!(error.code(), Code::EventLogMismatch);
                    let RtmrError::Mismatch { rtmr: at, quoted, replayed } = error else { panic!("{error}") };
                    assert_eq!((at, quoted.0, replayed.0), (one, other[n], rtmr[n]), "{name}");
                    // A register that is not asked for is not compared.
                    let rest: Vec<Rtmr> = Rtmr::ALL.into_iter().filter(|r| *r != one).collect();
                    proven(other).matches_log(&log, &rest).unwrap();
                }
            }
        }
    }
    assert_eq!(seen, 9);
}

/// A log with one event that extends `register`.
fn log(register: u32) -> Vec<u8> {
    let mut header = b"Spec ID Event03\0".to_vec();
    header.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    header.extend(1u32.to_le_bytes());
    header.extend([0x0c, 0, 48, 0, 0]);
    let mut out = Vec::new();
    out.extend(1u32.to_le_bytes());
    out.extend(3u32.to_le_bytes());
    out.extend([0; 20]);
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(header);
    out.extend(register.to_le_bytes());
    out.extend(4u32.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend([0x0c, 0]);
    out.extend([7; 48]);
    out.extend(0u32.to_le_bytes());
    out
}

#[test]
fn t11_nothing_extends_mrtd() {
    let bytes = log(0);
    let events = EventLog::parse_ccel(&bytes).unwrap();
    let error = proven([[0; 48]; 4]).matches_log(&events, &[]).unwrap_err();
    assert_eq!(error, RtmrError::Mrtd { event: 1 });
    assert_eq!(error.code(), Code::EventLogMismatch);
    let bytes = log(2);
    let events = EventLog::parse_ccel(&bytes).unwrap();
    let error = proven([[0; 48]; 4]).matches_log(&events, &Rtmr::ALL).unwrap_err();
    assert!(matches!(error, RtmrError::Mismatch { rtmr: Rtmr::Rtmr1, .. }));
}

#[test]
fn a_tpms_log_is_none_of_a_td() {
    let mut bytes = log(0);
    // The header of a TPM's log is of PCR 0.
    bytes[0] = 0;
    let events = EventLog::parse(&bytes).unwrap();
    let error = proven([[0; 48]; 4]).matches_log(&events, &[]).unwrap_err();
    assert_eq!((error.code(), &error), (Code::EventLogMalformed, &RtmrError::NotCcel));
}
