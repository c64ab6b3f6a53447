//! Replay of a log to register values, and the proof that they are the quoted ones.

use crate::event::{Event, EventLog, Registers};
use crate::event_type::EV_EFI_HCRTM_EVENT;
use crate::hash::Value;
use ccnode_evidence::{HashAlg, PcrIndex, PcrSet, PcrValues, Sha256Digest};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sm3::Sm3;
use std::fmt;

/// What a StartupLocality event begins with (Platform Firmware Profile, section 10.4.5.3); the locality's byte follows.
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// PCRs of the dynamic root of trust: all ones until a DRTM event.
const DRTM_PCRS: std::ops::RangeInclusive<usize> = 17..=22;
/// Where PCR 0 starts after a measurement before TPM2_Startup.
const HCRTM_LOCALITY: u8 = 4;
/// As many registers as a TPM has; a confidential VM has fewer.
const REGISTERS: usize = 24;

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReplayError {
    /// The only bank of the log is one that no quote and no report is judged by.
    #[error("unsupported bank: the event log has {} digests alone, which nothing is judged by", alg.name())]
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
#[derive(Clone, PartialEq, Eq)]
pub struct Replay {
    alg: HashAlg,
    registers: Registers,
    values: [Value; REGISTERS],
    /// One bit a register.
    extended: u32,
    startup_locality: u8,
}

impl Replay {
    /// The bank.
    pub fn alg(&self) -> HashAlg {
        self.alg
    }

    /// A register's value, `alg.size()` bytes; `None` for a register that does not exist.
    pub fn value(&self, register: u32) -> Option<&[u8]> {
        if register > self.registers.max() {
            return None;
        }
        self.values.get(usize::try_from(register).ok()?).map(Value::get)
    }

    /// The registers that at least one event extends, in order.
    pub fn extended(&self) -> impl Iterator<Item = u32> + use<> {
        let extended = self.extended;
        (0..=self.registers.max()).filter(move |register| extended & (1 << *register) != 0)
    }

    /// Whether at least one event extends the register.
    pub fn is_extended(&self, register: u32) -> bool {
        register <= self.registers.max() && self.extended & (1 << register) != 0
    }

    /// The locality of TPM2_Startup, or 4 after a measurement before it (H-CRTM): the last byte of PCR 0 before its first event.
    pub fn startup_locality(&self) -> u8 {
        self.startup_locality
    }

    /// All 24 PCRs, of a replay of the SHA-256 bank of a TPM's log; empty for anything else.
    pub fn pcrs(&self) -> PcrValues {
        if (self.alg, self.registers) != (HashAlg::Sha256, Registers::Pcrs) {
            return PcrValues::default();
        }
        let one = |pcr: PcrIndex| {
            let value: [u8; 32] = self.value(pcr.get().into())?.try_into().ok()?;
            Some((pcr, Sha256Digest(value)))
        };
        PcrValues(PcrIndex::all().filter_map(one).collect())
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values =
            self.extended().filter_map(|r| Some((self.registers.key(r), hex::encode(self.value(r)?))));
        f.debug_map().entries(values).finish()
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
    log: &'a EventLog<'a>,
    set: PcrSet,
    replay: Replay,
}

impl<'a> LogMatchesPcrs<'a> {
    /// The log that was proven.
    pub fn log(&self) -> &'a EventLog<'a> {
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

impl EventLog<'_> {
    /// Extends all registers of one bank by the log's events. EV_NO_ACTION extends nothing; a StartupLocality event, or a
    /// measurement by the hardware root of trust before TPM2_Startup, sets where PCR 0 starts; registers without events keep
    /// their reset value (zero; all ones for PCR 17 to 22).
    ///
    /// A log with nothing but SM3 digests replays in that bank alone, for people to look at: no quote and no report is judged by it.
    pub fn replay(&self, alg: HashAlg) -> Result<Replay, ReplayError> {
        if self.algs == [HashAlg::Sm3] && alg != HashAlg::Sm3 {
            return Err(ReplayError::UnsupportedBank { alg: HashAlg::Sm3 });
        }
        if !self.algs.contains(&alg) {
            return Err(ReplayError::NoBank { alg });
        }
        match alg {
            HashAlg::Sha1 => self.run::<Sha1>(alg),
            HashAlg::Sha256 => self.run::<Sha256>(alg),
            HashAlg::Sha384 => self.run::<Sha384>(alg),
            HashAlg::Sha512 => self.run::<Sha512>(alg),
            HashAlg::Sm3 => self.run::<Sm3>(alg),
        }
    }

    fn run<D: Digest>(&self, alg: HashAlg) -> Result<Replay, ReplayError> {
        let mut replay = Replay {
            alg,
            registers: self.registers,
            values: std::array::from_fn(|register| reset_value(self.registers, alg, register)),
            extended: 0,
            startup_locality: 0,
        };
        let mut locality_seen = false;
        for event in &self.events {
            if event.extends() {
                replay.hardware_start(event);
                replay.extend::<D>(event)?;
            } else if let Some(locality) =
                startup_locality(event).filter(|_| self.registers == Registers::Pcrs)
            {
                let late = locality_seen || replay.extended & 1 != 0;
                let Some(locality) = locality.filter(|_| !late) else {
                    return Err(ReplayError::StartupLocality { event: event.index });
                };
                locality_seen = true;
                replay.start(locality);
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
        for pcr in set.iter() {
            let quoted = quoted.get(pcr).ok_or(MatchError::NotQuoted { pcr })?;
            let replayed = replay.value(pcr.get().into()).unwrap_or_default();
            if replayed != quoted.0 {
                let replayed = replayed.try_into().map_or(Sha256Digest::ZERO, Sha256Digest);
                return Err(MatchError::Mismatch { pcr, quoted: *quoted, replayed });
            }
        }
        Ok(LogMatchesPcrs { log: self, set, replay })
    }
}

impl Replay {
    fn extend<D: Digest>(&mut self, event: &Event<'_>) -> Result<(), ReplayError> {
        let alg = self.alg;
        let digest = event.digest(alg).ok_or(ReplayError::NoDigest { event: event.index, alg })?;
        let register = usize::try_from(event.register).ok();
        if let Some(value) = register.and_then(|r| self.values.get_mut(r)) {
            value.extend::<D>(digest);
            self.extended |= 1 << event.register;
        }
        Ok(())
    }

    /// What the hardware root of trust measures before TPM2_Startup leaves PCR 0 at 4 first, from whatever locality the TPM is
    /// started afterwards (TPM library, part 1, section 34.3).
    fn hardware_start(&mut self, event: &Event<'_>) {
        let hardware = event.event_type == EV_EFI_HCRTM_EVENT && event.register == 0;
        if hardware && self.registers == Registers::Pcrs && self.extended & 1 == 0 {
            self.start(HCRTM_LOCALITY);
        }
    }

    fn start(&mut self, locality: u8) {
        self.startup_locality = locality;
        if let Some(last) = self.values.first_mut().and_then(Value::last_mut) {
            *last = locality;
        }
    }
}

fn reset_value(registers: Registers, alg: HashAlg, register: usize) -> Value {
    let ones = registers == Registers::Pcrs && DRTM_PCRS.contains(&register);
    Value::filled(alg, if ones { 0xff } else { 0 })
}

/// `None`: another EV_NO_ACTION event. `Some(None)`: a StartupLocality event that is not valid.
fn startup_locality(event: &Event<'_>) -> Option<Option<u8>> {
    let locality = event.data.strip_prefix(STARTUP_LOCALITY)?;
    Some(match locality {
        [l @ (0 | 3 | 4)] if event.register == 0 => Some(*l),
        _ => None,
    })
}
