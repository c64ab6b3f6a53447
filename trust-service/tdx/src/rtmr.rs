//! The CCEL of a TD against its proven RTMRs.

use crate::{Measurement, TdxProven};
use ccnode_evidence::{Code, HashAlg};
use ccnode_tpm_eventlog::{EventLog, Registers, Replay, ReplayError};
use std::collections::BTreeSet;
use std::fmt;

/// A run-time measurement register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rtmr {
    /// Firmware configuration.
    Rtmr0,
    /// What the firmware loaded.
    Rtmr1,
    /// What the boot loader measured.
    Rtmr2,
    /// What was extended at run time.
    Rtmr3,
}

impl Rtmr {
    /// All four, ascending.
    pub const ALL: [Self; 4] = [Self::Rtmr0, Self::Rtmr1, Self::Rtmr2, Self::Rtmr3];

    /// Its number in a CCEL, where 0 is MRTD.
    pub fn register(self) -> u32 {
        match self {
            Self::Rtmr0 => 1,
            Self::Rtmr1 => 2,
            Self::Rtmr2 => 3,
            Self::Rtmr3 => 4,
        }
    }
}

impl fmt::Display for Rtmr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RTMR{}", self.register() - 1)
    }
}

/// Why a log is not the log of a quote.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RtmrError {
    /// A log of a TPM.
    #[error("the event log is not a CCEL")]
    NotCcel,
    /// The log can't be replayed.
    #[error("the CCEL cannot be replayed: {0}")]
    Replay(#[source] ReplayError),
    /// An event that extends MRTD, which is complete before anything runs that could log.
    #[error("event {event} of the CCEL extends MRTD, which nothing can")]
    Mrtd {
        /// Position of the event.
        event: usize,
    },
    /// The replayed value is not the quoted one.
    #[error("{rtmr}: the CCEL replays to {replayed}, the quote has {quoted}")]
    Mismatch {
        /// The first register that differs.
        rtmr: Rtmr,
        /// The TD's value.
        quoted: Measurement,
        /// The log's value.
        replayed: Measurement,
    },
}

impl RtmrError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotCcel => Code::EventLogMalformed,
            Self::Replay(_) | Self::Mrtd { .. } | Self::Mismatch { .. } => Code::EventLogMismatch,
        }
    }
}

/// Proof that a CCEL replays to proven RTMRs; [`TdxProven::matches_log`] alone makes it.
///
/// It holds for the registers of [`set`](Self::set): their digests and the order of them are fact. Event types, data and
/// names stay claims but where a digest covers them ([`ccnode_tpm_eventlog::Event::proof`], SHA-384 bank).
#[derive(Clone, Debug)]
pub struct LogMatchesRtmrs<'a> {
    log: &'a EventLog<'a>,
    set: BTreeSet<Rtmr>,
    replay: Replay,
}

impl<'a> LogMatchesRtmrs<'a> {
    /// The log that was proven.
    pub fn log(&self) -> &'a EventLog<'a> {
        self.log
    }

    /// The registers that were compared.
    pub fn set(&self) -> &BTreeSet<Rtmr> {
        &self.set
    }

    /// All values; those outside [`set`](Self::set) are the log's claim.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }
}

impl TdxProven {
    /// Compares the SHA-384 replay of a CCEL with the quote, in ascending order, over exactly the registers of `set`.
    pub fn matches_log<'a>(
        &self,
        log: &'a EventLog<'a>,
        set: &[Rtmr],
    ) -> Result<LogMatchesRtmrs<'a>, RtmrError> {
        if log.registers != Registers::Ccel {
            return Err(RtmrError::NotCcel);
        }
        if let Some(event) = log.events.iter().find(|event| event.register == 0 && event.extends()) {
            return Err(RtmrError::Mrtd { event: event.index });
        }
        let replay = log.replay(HashAlg::Sha384).map_err(RtmrError::Replay)?;
        let set: BTreeSet<Rtmr> = set.iter().copied().collect();
        for (rtmr, quoted) in Rtmr::ALL.into_iter().zip(self.body().rtmr).filter(|(r, _)| set.contains(r)) {
            let replayed = replay.value(rtmr.register()).and_then(|value| value.try_into().ok());
            let replayed = Measurement(replayed.unwrap_or([0; 48]));
            if replayed != quoted {
                return Err(RtmrError::Mismatch { rtmr, quoted, replayed });
            }
        }
        Ok(LogMatchesRtmrs { log, set, replay })
    }
}
