//! The node's own log: what it extends after the firmware is gone, as TCG_PCR_EVENT2 records of the SHA-256 bank without a header.

use crate::error::LogError;
use crate::event::{EventLog, Format, Registers};
use crate::event_type::EV_IPL;
use crate::parse::{Bank, event2};
use ccnode_evidence::{HashAlg, PcrIndex, Reader, Sha256Digest};

/// Where a node keeps this log.
pub const PATH: &str = "/run/ccnode/eventlog";
/// The data of the event that caps PCR 15; its digest is the SHA-256 of them.
pub const CAP: &str = "ccnode:cap";
/// The longest data of one event, in bytes.
pub const MAX_DATA: usize = 4096;

/// The digest that caps PCR 15: SHA-256 of [`CAP`].
pub fn cap_digest() -> Sha256Digest {
    Sha256Digest::of(CAP.as_bytes())
}

/// Appends the record of one extension: EV_IPL, one SHA-256 digest, `data` as ASCII without a NUL.
///
/// The digest need not be the hash of the data (for a volume it is an HMAC). Data that are not printable ASCII of at most
/// [`MAX_DATA`] bytes are [`LogError::OwnData`], and nothing is appended.
pub fn append(out: &mut Vec<u8>, pcr: PcrIndex, digest: &Sha256Digest, data: &str) -> Result<(), LogError> {
    let len = u32::try_from(data.len())
        .ok()
        .filter(|_| fits(data.as_bytes()))
        .ok_or(LogError::OwnData { event: 0 })?;
    out.extend_from_slice(&u32::from(pcr.get()).to_le_bytes());
    out.extend_from_slice(&EV_IPL.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&HashAlg::Sha256.id().to_le_bytes());
    out.extend_from_slice(&digest.0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(data.as_bytes());
    Ok(())
}

/// Parses such a log; no bytes at all are a log without events. Every byte must belong to an event.
pub fn parse(bytes: &[u8]) -> Result<EventLog<'_>, LogError> {
    let banks = [Bank::of(HashAlg::Sha256)];
    let mut r = Reader::new(bytes);
    let mut events = Vec::new();
    while !r.is_empty() {
        let event = event2(&mut r, events.len(), Registers::Pcrs, &banks)?;
        if event.event_type != EV_IPL {
            return Err(LogError::OwnType { event: event.index, event_type: event.event_type });
        }
        if !fits(event.data) {
            return Err(LogError::OwnData { event: event.index });
        }
        events.push(event);
    }
    Ok(EventLog { format: Format::Own, registers: Registers::Pcrs, algs: vec![HashAlg::Sha256], events })
}

/// Whether the bytes begin as such a log does: EV_IPL with one SHA-256 digest. No other log does: its digest would have to.
pub(crate) fn looks_own(bytes: &[u8]) -> bool {
    const HEAD: [u8; 10] = [EV_IPL as u8, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0];
    bytes.get(4..).is_some_and(|rest| rest.starts_with(&HEAD))
}

fn fits(data: &[u8]) -> bool {
    data.len() <= MAX_DATA && data.iter().all(|b| b.is_ascii_graphic() || *b == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcr(i: u32) -> PcrIndex {
        PcrIndex::new(i).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut log = Vec::new();
        append(&mut log, pcr(15), &cap_digest(), CAP).unwrap();
        append(&mut log, pcr(15), &Sha256Digest([7; 32]), "cryptsetup:root:0b1c").unwrap();
        let read = parse(&log).unwrap();
        assert_eq!(read.events.len(), 2);
        assert!(read.events[0].data_is_proven(HashAlg::Sha256));
        assert!(!read.events[1].data_is_proven(HashAlg::Sha256));
        let values = read.replay(HashAlg::Sha256).unwrap().pcrs();
        let want = Sha256Digest::ZERO.extend(&cap_digest()).extend(&Sha256Digest([7; 32]));
        assert_eq!(values.get(pcr(15)), Some(&want));
        assert_eq!(parse(&[]).unwrap().events, []);
    }

    #[test]
    fn record_is_tcg_pcr_event2() {
        let mut log = Vec::new();
        append(&mut log, pcr(15), &Sha256Digest([0xaa; 32]), "x").unwrap();
        let want = format!("0f0000000d000000010000000b00{}0100000078", "aa".repeat(32));
        assert_eq!(hex::encode(&log), want);
    }

    #[test]
    fn other_records_are_refused() {
        let mut log = Vec::new();
        assert_eq!(append(&mut log, pcr(15), &cap_digest(), "a\nb"), Err(LogError::OwnData { event: 0 }));
        assert_eq!(
            append(&mut log, pcr(15), &cap_digest(), &"x".repeat(4097)),
            Err(LogError::OwnData { event: 0 })
        );
        assert!(log.is_empty());

        append(&mut log, pcr(15), &cap_digest(), CAP).unwrap();
        let mut other = log.clone();
        other[4] = 6;
        assert_eq!(parse(&other), Err(LogError::OwnType { event: 0, event_type: 6 }));
        let mut other = log.clone();
        *other.last_mut().unwrap() = 0x1b;
        assert_eq!(parse(&other), Err(LogError::OwnData { event: 0 }));
        let mut other = log.clone();
        other[12] = 4;
        assert_eq!(parse(&other), Err(LogError::UnnamedBank { event: 0, id: 4 }));
        for len in 1..log.len() {
            assert!(matches!(parse(&log[..len]), Err(LogError::Truncated { .. })), "{len}");
        }
    }
}
