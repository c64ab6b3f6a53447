//! Platform tuples out of a firmware's recorded event log.

use ccnode_evidence::{HashAlg, PLATFORM_PCRS, PcrIndex, PcrValues, PlatformTuple, TupleEvent};
use ccnode_tpm_eventlog::{EventLog, Format, LogError, ReplayError};
use std::collections::BTreeMap;

/// Why a log makes no platform tuple.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// It can't be read.
    #[error("the event log can't be read: {0}")]
    Log(#[source] LogError),
    /// It does not replay.
    #[error("the event log can't be replayed: {0}")]
    Replay(#[source] ReplayError),
    /// It has no SHA-256 bank.
    #[error("the event log has no SHA-256 digests: turn the SHA-256 bank of the TPM on")]
    NoSha256,
    /// Firmware that measures itself nowhere is no platform to trust.
    #[error("the event log measures nothing into PCR 0: this firmware does not measure itself")]
    NoFirmware,
}

/// The tuple of the platform that wrote `log` (the bytes of `binary_bios_measurements`): PCR 0–3, 6 and 7 by replay, with
/// each event in words.
pub fn platform_tuple_from_log(log: &[u8], name: &str) -> Result<PlatformTuple, PlatformError> {
    let log = EventLog::parse(log).map_err(PlatformError::Log)?;
    if log.format != Format::CryptoAgile || !log.algs.contains(&HashAlg::Sha256) {
        return Err(PlatformError::NoSha256);
    }
    let replay = log.replay(HashAlg::Sha256).map_err(PlatformError::Replay)?;
    let values = replay.pcrs();
    let mut pcrs = PcrValues::default();
    let mut events: BTreeMap<PcrIndex, Vec<TupleEvent>> = BTreeMap::new();
    for pcr in PLATFORM_PCRS.iter().filter_map(|i| PcrIndex::new((*i).into()).ok()) {
        let value = values.get(pcr).copied().unwrap_or(ccnode_evidence::Sha256Digest::ZERO);
        pcrs.0.insert(pcr, value);
        let own = log.events.iter().filter(|e| e.extends() && e.register == u32::from(pcr.get()));
        let list: Vec<TupleEvent> = own
            .filter_map(|event| {
                let component = event.describe().component;
                Some(TupleEvent { event_type: event.event_type, digest: event.sha256()?, component })
            })
            .collect();
        if list.is_empty() && pcr.get() == 0 {
            return Err(PlatformError::NoFirmware);
        }
        if !list.is_empty() {
            events.insert(pcr, list);
        }
    }
    Ok(PlatformTuple {
        format: 1,
        name: name.to_owned(),
        pcrs,
        events,
        startup_locality: replay.startup_locality(),
    })
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
