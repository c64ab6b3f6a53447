//! An event log alone: whether it reads and replays. Without a quote it proves nothing.

use super::report::{Branch, Report};
use ccnode_evidence::{Code, HashAlg};
use ccnode_tpm_eventlog::EventLog;
use serde_json::{Map, Value, json};

pub(crate) fn judge(bytes: &[u8]) -> Report {
    let mut report = Report::new("event-log", format!("event log ({} bytes)", bytes.len()));
    if bytes.iter().all(|byte| *byte == 0) {
        report.wrong(Code::EventLogMalformed, "nothing but zeros");
        return report;
    }
    // Which of the two it is nothing says but that it reads.
    let read = EventLog::parse(bytes);
    let log = match read.or_else(|error| EventLog::parse_ccel(bytes).map_err(|_| error)) {
        Ok(log) => log,
        Err(error) => {
            report.wrong(Code::EventLogMalformed, error);
            return report;
        }
    };
    report.push(Branch::plain(format!("{} events", log.events.len())));
    report.claim("events", log.events.len());
    let mut replays = Map::new();
    for alg in log.algs.iter().copied() {
        let Ok(replay) = log.replay(alg) else { continue };
        let mut bank = Branch::plain(format!("bank {}", alg.name()));
        let mut values = Map::new();
        for register in replay.extended() {
            let value = replay.value(register).map(hex::encode).unwrap_or_default();
            bank.push(Branch::plain(format!("{:<6} {value}", log.registers.label(register))));
            values.insert(log.registers.key(register), json!(value));
        }
        report.push(bank);
        replays.insert(alg.name().to_owned(), Value::Object(values));
    }
    report.claim("replay", replays);
    if log.algs.iter().all(|alg| *alg == HashAlg::Sm3) {
        let banks: Vec<&str> = log.algs.iter().map(|alg| alg.name()).collect();
        report.missing(
            Code::EventLogIncomplete,
            format!("a bank that is judged here: this log has {} alone", banks.join(", ")),
        );
    }
    if log.best_alg() == Some(HashAlg::Sha1) {
        report.unproven("anything by SHA-1: others can make events of the same digest");
    }
    report.unproven("that this is what happened: only a quote can say so");
    report
}
