//! Replay of a log to register values, and the proof that they are the quoted ones.

use crate::event::{Event, EventLog, Registers, hash};
use ccnode_evidence::{HashAlg, PcrIndex, PcrSet, PcrValues, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet};

/// What a StartupLocality event begins with (Platform Firmware Profile, section 10.4.5.3); the locality's byte follows.
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// PCRs of the dynamic root of trust: all ones until a DRTM event.
const DRTM_PCRS: std::ops::RangeInclusive<u32> = 17..=22;

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplayError {
    /// The only bank at hand is of a hash that is not computed here.
    #[error("unsupported bank: {} is not computed here", alg.name())]
    UnsupportedBank {
        /// The hash.
        alg: HashAlg,
    },
    /// The log has no such bank.
    #[error("the event log has no {} bank", alg.name())]
    NoBank {
        /// The bank that was asked for.
        alg: HashAlg,
    },
    /// An event that extends a register has no digest for this bank.
    #[error("event {event} has no {} digest", alg.name())]
    NoDigest {
        /// Position of the event.
        event: usize,
        /// The bank.
        alg: HashAlg,
    },
    /// A StartupLocality event that is malformed, late, repeated, or names a locality that TPM2_Startup does not know.
    #[error("event {event} is not a valid StartupLocality event")]
    StartupLocality {
        /// Position of the event.
        event: usize,
    },
}

/// The registers' values after all events of a log, in one bank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    alg: HashAlg,
    values: BTreeMap<u32, Vec<u8>>,
    extended: BTreeSet<u32>,
    startup_locality: u8,
}

impl Replay {
    /// The bank.
    pub fn alg(&self) -> HashAlg {
        self.alg
    }

    /// A register's value, `alg.size()` bytes; `None` for a register that does not exist.
    pub fn value(&self, register: u32) -> Option<&[u8]> {
        self.values.get(&register).map(Vec::as_slice)
    }

    /// The registers that at least one event extends.
    pub fn extended(&self) -> &BTreeSet<u32> {
        &self.extended
    }

    /// The locality of TPM2_Startup: the last byte of PCR 0 before its first event.
    pub fn startup_locality(&self) -> u8 {
        self.startup_locality
    }

    /// All 24 PCRs, of a replay of the SHA-256 bank of a TPM's log; empty for anything else.
    pub fn pcrs(&self) -> PcrValues {
        let one = |(register, value): (&u32, &Vec<u8>)| {
            let value: [u8; 32] = value.as_slice().try_into().ok()?;
            Some((PcrIndex::new(*register).ok()?, Sha256Digest(value)))
        };
        match self.alg {
            HashAlg::Sha256 => PcrValues(self.values.iter().filter_map(one).collect()),
            _ => PcrValues::default(),
        }
    }
}

/// Why a log is not the log of a quote.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MatchError {
    /// The log could not be replayed.
    #[error("the event log cannot be replayed: {0}")]
    Replay(#[source] ReplayError),
    /// The log counts other registers than PCRs.
    #[error("the event log is not one of a TPM")]
    NotPcrs,
    /// The quote has no value for a PCR that is to be compared.
    #[error("PCR {pcr} is not among the quoted values")]
    NotQuoted {
        /// The PCR.
        pcr: PcrIndex,
    },
    /// The replayed value is not the quoted one.
    #[error("PCR {pcr}: the event log replays to {replayed}, the TPM quotes {quoted}")]
    Mismatch {
        /// The first PCR that differs.
        pcr: PcrIndex,
        /// The TPM's value.
        quoted: Sha256Digest,
        /// The log's value.
        replayed: Sha256Digest,
    },
}

/// Proof that a log replays to quoted values; [`EventLog::matches`] alone makes it.
///
/// It holds for the PCRs of [`set`](Self::set): their digests and the order of them are fact. Event types, data and names stay
/// claims but where a digest covers them ([`Event::proof`]).
#[derive(Clone, Debug)]
pub struct LogMatchesPcrs<'a> {
    log: &'a EventLog,
    set: PcrSet,
    replay: Replay,
}

impl<'a> LogMatchesPcrs<'a> {
    /// The log that was proven.
    pub fn log(&self) -> &'a EventLog {
        self.log
    }

    /// The PCRs that were compared.
    pub fn set(&self) -> PcrSet {
        self.set
    }

    /// The values, for all 24 PCRs; those outside [`set`](Self::set) are the log's claim.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }
}

impl EventLog {
    /// Extends all registers of one bank by the log's events. EV_NO_ACTION extends nothing; a StartupLocality event sets where PCR 0
    /// starts; registers without events keep their reset value (zero; all ones for PCR 17 to 22).
    pub fn replay(&self, alg: HashAlg) -> Result<Replay, ReplayError> {
        if alg == HashAlg::Sm3 || self.algs == [HashAlg::Sm3] {
            return Err(ReplayError::UnsupportedBank { alg: HashAlg::Sm3 });
        }
        if !self.algs.contains(&alg) {
            return Err(ReplayError::NoBank { alg });
        }
        let mut replay = Replay {
            alg,
            values: (0..=self.registers.max()).map(|r| (r, reset_value(self.registers, alg, r))).collect(),
            extended: BTreeSet::new(),
            startup_locality: 0,
        };
        let mut locality_seen = false;
        for event in &self.events {
            if event.extends() {
                extend(&mut replay, event)?;
            } else if let Some(locality) =
                startup_locality(event).filter(|_| self.registers == Registers::Pcrs)
            {
                let late = locality_seen || replay.extended.contains(&0);
                let Some(locality) = locality.filter(|_| !late) else {
                    return Err(ReplayError::StartupLocality { event: event.index });
                };
                locality_seen = true;
                replay.startup_locality = locality;
                if let Some(last) = replay.values.get_mut(&0).and_then(|v| v.last_mut()) {
                    *last = locality;
                }
            }
        }
        Ok(replay)
    }

    /// Compares the SHA-256 replay with quoted values, PCR by PCR in ascending order, over exactly `set`.
    pub fn matches(&self, quoted: &PcrValues, set: PcrSet) -> Result<LogMatchesPcrs<'_>, MatchError> {
        if self.registers != Registers::Pcrs {
            return Err(MatchError::NotPcrs);
        }
        let replay = self.replay(HashAlg::Sha256).map_err(MatchError::Replay)?;
        let values = replay.pcrs();
        for pcr in set.iter() {
            let quoted = quoted.get(pcr).ok_or(MatchError::NotQuoted { pcr })?;
            match values.get(pcr) {
                Some(replayed) if replayed == quoted => {}
                other => {
                    let replayed = other.copied().unwrap_or(Sha256Digest::ZERO);
                    return Err(MatchError::Mismatch { pcr, quoted: *quoted, replayed });
                }
            }
        }
        Ok(LogMatchesPcrs { log: self, set, replay })
    }
}

fn reset_value(registers: Registers, alg: HashAlg, register: u32) -> Vec<u8> {
    let ones = registers == Registers::Pcrs && DRTM_PCRS.contains(&register);
    vec![if ones { 0xff } else { 0 }; alg.size()]
}

fn extend(replay: &mut Replay, event: &Event) -> Result<(), ReplayError> {
    let alg = replay.alg;
    let digest = event.digest(alg).ok_or(ReplayError::NoDigest { event: event.index, alg })?;
    let Some(value) = replay.values.get_mut(&event.register) else { return Ok(()) };
    *value = hash(alg, &[value, digest]).ok_or(ReplayError::UnsupportedBank { alg })?;
    replay.extended.insert(event.register);
    Ok(())
}

/// `None`: another EV_NO_ACTION event. `Some(None)`: a StartupLocality event that is not valid.
fn startup_locality(event: &Event) -> Option<Option<u8>> {
    let locality = event.data.strip_prefix(STARTUP_LOCALITY)?;
    Some(match locality {
        [l @ (0 | 3 | 4)] if event.register == 0 => Some(*l),
        _ => None,
    })
}
