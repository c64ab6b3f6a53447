//! The explanation of a log that is not the one a tuple or another log expects: which event is at fault, in words.

use crate::cmdline::{self, Cmdlines};
use crate::compare::{Expected, Register, rank};
use crate::difference::Difference;
use crate::event::{BEST, Event, EventLog, Registers};
use crate::replay::{LogMatchesPcrs, Replay, ReplayError};
use ccnode_evidence::{HashAlg, ImageTuple, PcrIndex, PcrSet, PlatformTuple, Sha256Digest, TupleEvent};
use std::collections::BTreeMap;

/// How many differences of one PCR are told apart.
const PER_PCR: usize = 32;

/// What one PCR should hold.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The PCR.
    pub pcr: PcrIndex,
    /// Its expected value.
    pub value: Sha256Digest,
    /// The expected events in order; none for a PCR that is never extended.
    pub events: &'a [TupleEvent],
}

impl<'a> Reference<'a> {
    /// The references of an image tuple.
    pub fn image(tuple: &'a ImageTuple) -> Vec<Self> {
        Self::all(&tuple.pcrs.0, &tuple.events)
    }

    /// The references of a platform tuple.
    pub fn platform(tuple: &'a PlatformTuple) -> Vec<Self> {
        Self::all(&tuple.pcrs.0, &tuple.events)
    }

    fn all(
        values: &BTreeMap<PcrIndex, Sha256Digest>,
        events: &'a BTreeMap<PcrIndex, Vec<TupleEvent>>,
    ) -> Vec<Self> {
        let one = |(pcr, value): (&PcrIndex, &Sha256Digest)| Self {
            pcr: *pcr,
            value: *value,
            events: events.get(pcr).map(Vec::as_slice).unwrap_or_default(),
        };
        values.iter().map(one).collect()
    }

    fn expected(&self) -> Vec<Expected<'a>> {
        let one = |event: &'a TupleEvent| Expected {
            event_type: event.event_type,
            digest: event.digest.0.as_slice(),
            // Others wrote it, and it goes to consoles.
            component: crate::text::tamed(&event.component),
            event: None,
        };
        self.events.iter().map(one).collect()
    }
}

/// Compares a proven log with references, PCR by PCR; the first difference is the one to name. Empty when all values agree.
pub fn explain(
    proof: &LogMatchesPcrs<'_>,
    references: &[Reference<'_>],
    cmdlines: Cmdlines<'_>,
) -> Vec<Difference> {
    compare(proof.log(), proof.replay(), proof.set(), references, cmdlines)
}

/// The same for a log that nothing proves, for people to look at: every difference says `proven: false`.
pub fn explain_unproven(
    log: &EventLog<'_>,
    references: &[Reference<'_>],
    cmdlines: Cmdlines<'_>,
) -> Result<Vec<Difference>, ReplayError> {
    Ok(compare(log, &log.replay(HashAlg::Sha256)?, PcrSet::default(), references, cmdlines))
}

fn compare(
    log: &EventLog<'_>,
    replay: &Replay,
    proven: PcrSet,
    references: &[Reference<'_>],
    cmdlines: Cmdlines<'_>,
) -> Vec<Difference> {
    let unproven = proven == PcrSet::default();
    let trusted = |pcr: u32| unproven || PcrIndex::new(pcr).is_ok_and(|p| proven.contains(p));
    let believed = cmdlines.found.and_then(|text| cmdline::believe(log, HashAlg::Sha256, text, trusted));
    let mut references = references.to_vec();
    references.sort_by_key(|r| rank(Registers::Pcrs, r.pcr.get().into()));
    let mut out = Vec::new();
    for reference in references {
        let register = u32::from(reference.pcr.get());
        if replay.value(register) == Some(reference.value.0.as_slice()) {
            continue;
        }
        let one = Register {
            registers: Registers::Pcrs,
            register,
            alg: HashAlg::Sha256,
            expected: reference.expected(),
            found: log.extending(register).collect(),
            startup_locality: replay.startup_locality(),
            proven: proven.contains(reference.pcr),
            believed: &believed,
            cmdlines,
        };
        out.extend(one.differences(PER_PCR));
    }
    out
}

/// Why two logs cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompareError {
    /// One counts PCRs, the other the registers of a confidential VM.
    #[error(
        "one log is a TPM's and the other a confidential VM's (CCEL): their registers hold different things"
    )]
    Registers,
    /// No bank that both have.
    #[error("the logs have no bank in common: {} and {}", banks(expected), banks(found))]
    NoCommonBank {
        /// The banks of the expected one.
        expected: Vec<HashAlg>,
        /// The banks of the other.
        found: Vec<HashAlg>,
    },
    /// One of them can't be replayed.
    #[error("the event log cannot be replayed: {0}")]
    Replay(#[source] ReplayError),
}

fn banks(algs: &[HashAlg]) -> String {
    let names: Vec<&str> = algs.iter().map(|alg| alg.name()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// What two logs differ in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// The bank that was compared: the strongest that both have.
    pub alg: HashAlg,
    /// All differences, the one to name first; empty when all registers have the same values.
    pub differences: Vec<Difference>,
}

/// Compares two logs that nothing proves, for people to look at. `cmdlines` are the command lines of both boots, where they are
/// known; each is believed only where its own log measures it.
pub fn compare_logs(
    expected: &EventLog<'_>,
    found: &EventLog<'_>,
    cmdlines: Cmdlines<'_>,
) -> Result<Comparison, CompareError> {
    if expected.registers != found.registers {
        return Err(CompareError::Registers);
    }
    let alg = BEST.into_iter().find(|alg| expected.algs.contains(alg) && found.algs.contains(alg));
    let alg = alg.ok_or_else(|| CompareError::NoCommonBank {
        expected: expected.algs.clone(),
        found: found.algs.clone(),
    })?;
    let wanted = expected.replay(alg).map_err(CompareError::Replay)?;
    let replay = found.replay(alg).map_err(CompareError::Replay)?;
    let believed = cmdlines.found.and_then(|text| cmdline::believe(found, alg, text, |_| true));
    let known = cmdlines.expected.filter(|text| cmdline::believe(expected, alg, text, |_| true).is_some());
    let cmdlines = Cmdlines { expected: known, ..cmdlines };
    let mut registers: Vec<u32> = (0..=found.registers.max()).collect();
    registers.sort_by_key(|register| rank(found.registers, *register));
    let mut differences = Vec::new();
    for register in registers.into_iter().filter(|r| wanted.value(*r) != replay.value(*r)) {
        let expect = |event: &'_ Event<'_>| event.extends() && event.register == register;
        let one = Register {
            registers: found.registers,
            register,
            alg,
            expected: expected
                .events
                .iter()
                .filter(|e| expect(e))
                .filter_map(|e| Expected::of(e, alg))
                .collect(),
            found: found.extending(register).collect(),
            startup_locality: replay.startup_locality(),
            proven: false,
            believed: &believed,
            cmdlines,
        };
        differences.extend(one.differences(usize::MAX));
    }
    Ok(Comparison { alg, differences })
}
