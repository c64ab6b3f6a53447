//! An event log beside quoted PCRs, PCR by PCR: what it explains, where it is silent, and where it tells something else.

use super::report::{Finding, Reason, Subject};
use ccnode_evidence::{HashAlg, PcrIndex};
use ccnode_tpm_eventlog::{EventLog, Replay};
use std::collections::BTreeMap;

/// PCRs that firmware extends at every boot: a log of it can't be silent about them.
const FIRMWARE: u8 = 8;

/// What a log says of one quoted PCR.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PcrReplay {
    /// It replays to the quoted value.
    Equal,
    /// It has no event for this PCR, whose value is not that of a reset: something else extended it, the kernel's IMA, say.
    Silent,
    /// It replays to another value.
    Differs {
        /// The TPM's.
        quoted: Vec<u8>,
        /// The log's.
        replayed: Vec<u8>,
    },
}

/// A log's replay beside the quoted PCRs of one bank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogReplay {
    /// The bank.
    pub alg: HashAlg,
    /// By PCR, for all that is quoted.
    pub pcrs: BTreeMap<PcrIndex, PcrReplay>,
}

impl LogReplay {
    pub(super) fn of(replay: &Replay, quoted: &BTreeMap<PcrIndex, Vec<u8>>) -> Self {
        let pcrs = quoted.iter().filter_map(|(pcr, value)| {
            let register = u32::from(pcr.get());
            let replayed = replay.value(register)?;
            Some((
                *pcr,
                match replayed == value {
                    true => PcrReplay::Equal,
                    false if pcr.get() >= FIRMWARE && !replay.is_extended(register) => PcrReplay::Silent,
                    false => PcrReplay::Differs { quoted: value.clone(), replayed: replayed.to_vec() },
                },
            ))
        });
        Self { alg: replay.alg(), pcrs: pcrs.collect() }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let differs = self.pcrs.iter().filter_map(|(pcr, replay)| match replay {
            PcrReplay::Differs { quoted, replayed } => {
                let (quoted, replayed) = (quoted.clone(), replayed.clone());
                Some(Finding::refuted(Subject::Log, Reason::LogMismatch { pcr: *pcr, quoted, replayed }))
            }
            PcrReplay::Equal | PcrReplay::Silent => None,
        });
        let silent: Vec<PcrIndex> =
            self.pcrs.iter().filter(|(_, r)| **r == PcrReplay::Silent).map(|(p, _)| *p).collect();
        let mut out: Vec<Finding> = differs.collect();
        if !silent.is_empty() {
            out.push(Finding::unproven(Subject::Log, Reason::LogSilent { pcrs: silent }));
        }
        let equal = self.pcrs.values().filter(|replay| **replay == PcrReplay::Equal).count();
        if out.iter().all(|finding| finding.status != super::Status::Refuted) && equal > 0 {
            let text = format!("the event log replays to {equal} of {} quoted PCRs", self.pcrs.len());
            out.insert(0, Finding::proven(Subject::Log, text));
        }
        out
    }
}

/// The log's replay in one bank, or why there is none.
pub(super) fn replay(bytes: &[u8], alg: HashAlg) -> Result<Replay, Finding> {
    let log = EventLog::parse(bytes)
        .map_err(|error| Finding::refuted(Subject::Log, Reason::LogMalformed(error.to_string())))?;
    log.replay(alg).map_err(|error| Finding::unproven(Subject::Log, Reason::LogBank(error.to_string())))
}
