//! Event logs: read, replayed, shown, explained against references and against themselves.

use crate::printable;
use ccnode_evidence::{HashAlg, PcrIndex, PcrSet, Sha256Digest};
use ccnode_tpm_eventlog::{
    Cmdlines, Event, EventLog, LogError, Reference, Registers, View, compare_logs, explain, explain_unproven,
    own, render,
};

pub(crate) fn firmware(bytes: &[u8]) {
    let whole = |log: &EventLog<'_>| log.registers == Registers::Pcrs;
    exercise(bytes, EventLog::parse(bytes), whole);
    exercise(bytes, EventLog::parse_any(bytes), |_| true);
}

pub(crate) fn ccel(bytes: &[u8]) {
    exercise(bytes, EventLog::parse_ccel(bytes), |log| log.registers == Registers::Ccel);
}

pub(crate) fn own(bytes: &[u8]) {
    exercise(bytes, own::parse(bytes), |log| log.algs == [HashAlg::Sha256]);
}

fn exercise(bytes: &[u8], read: Result<EventLog<'_>, LogError>, fits: impl Fn(&EventLog<'_>) -> bool) {
    let log = match read {
        Ok(log) => log,
        Err(error) => return printable(&error.to_string()),
    };
    assert!(fits(&log));
    let of = |event: &Event<'_>| event.data.len() + event.digests.iter().map(|(_, d)| d.len()).sum::<usize>();
    let held: usize = log.events.iter().map(of).sum();
    assert!(held <= bytes.len() && log.events.len() <= bytes.len());
    assert!(log.events.iter().enumerate().all(|(n, event)| event.index == n));

    assert!(render::tree(&log).chars().all(|c| c == '\n' || !ccnode_evidence::is_obeyed(c)));
    for event in View::of(&log).registers.iter().flat_map(|register| &register.events) {
        printable(&event.component);
    }
    for alg in HashAlg::ALL {
        if let Err(error) = log.replay(alg) {
            printable(&error.to_string());
        }
    }
    explained(&log);
}

fn explained(log: &EventLog<'_>) {
    let other = Sha256Digest([1; 32]);
    let references: Vec<Reference<'_>> =
        PcrIndex::all().map(|pcr| Reference { pcr, value: other, events: &[] }).collect();
    let cmdlines = Cmdlines { found: Some("a b"), expected: Some("a") };
    let said = |differences: &[ccnode_tpm_eventlog::Difference]| {
        differences.iter().for_each(|difference| printable(&difference.sentence));
    };
    if let Ok(differences) = explain_unproven(log, &references, cmdlines) {
        assert!(differences.iter().all(|difference| !difference.proven));
        said(&differences);
    }
    if let Ok(replay) = log.replay(HashAlg::Sha256)
        && let Ok(proof) = log.matches(&replay.pcrs(), PcrSet::STOCK)
    {
        let differences = explain(&proof, &references, cmdlines);
        assert!(differences.iter().all(|difference| difference.proven));
        said(&differences);
    }
    // A log is like itself, and unlike itself without its last event that extends something.
    if let Ok(same) = compare_logs(log, log, cmdlines) {
        assert!(same.differences.is_empty());
        let mut less = log.clone();
        if let Some(last) = less.events.iter().rposition(Event::extends) {
            less.events.remove(last);
            if let Ok(compared) = compare_logs(&less, log, cmdlines) {
                assert!(!compared.differences.is_empty());
                said(&compared.differences);
            }
        }
    }
}
