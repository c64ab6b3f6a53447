//! Feeds arbitrary bytes to everything that reads an event log: `cargo fuzz run eventlog`.
#![no_main]

use ccnode_evidence::{HashAlg, PcrIndex, Sha256Digest};
use ccnode_tpm_eventlog::{Cmdlines, EventLog, Reference, explain_unproven, own, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for log in [EventLog::parse(bytes), EventLog::parse_ccel(bytes), own::parse(bytes)].into_iter().flatten()
    {
        let held: usize = log
            .events
            .iter()
            .map(|e| e.data.len() + e.digests.iter().map(|d| d.1.len()).sum::<usize>())
            .sum();
        assert!(held <= bytes.len());
        let tree = render::tree(&log);
        assert!(tree.chars().all(|c| c == '\n' || !c.is_control()));
        for alg in HashAlg::ALL {
            let _ = log.replay(alg);
        }
        let references: Vec<Reference<'_>> =
            PcrIndex::all().map(|pcr| Reference { pcr, value: Sha256Digest([1; 32]), events: &[] }).collect();
        let cmdlines = Cmdlines { found: Some("a b"), expected: Some("a") };
        if let Ok(differences) = explain_unproven(&log, &references, cmdlines) {
            assert!(differences.iter().all(|d| d.sentence.chars().all(|c| !c.is_control())));
        }
    }
});
