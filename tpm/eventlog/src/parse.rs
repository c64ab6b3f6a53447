//! The parser of TCG event logs: bounded, strict, and silent about nothing.

use crate::event::{Event, EventLog, Format, Registers};
use crate::event_type::EV_NO_ACTION;
use crate::reader::Reader;
use ccnode_evidence::HashAlg;

/// What a Spec ID Event03 begins with (PC Client Platform Firmware Profile, section 10.4.5.1).
const SPEC_ID_03: &[u8; 16] = b"Spec ID Event03\0";
/// More banks than any TPM has; a header that names more is not one.
const MAX_ALGS: u32 = 16;

/// Why bytes are not an event log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogError {
    /// No bytes at all.
    #[error("the event log is empty")]
    Empty,
    /// The bytes end inside an event.
    #[error("the event log ends inside {what} at byte {offset}")]
    Truncated {
        /// Where the unreadable field begins.
        offset: usize,
        /// The field.
        what: &'static str,
    },
    /// The Spec ID header ends inside itself.
    #[error("the event log's header (Spec ID Event03) is too short")]
    HeaderShort,
    /// The Spec ID header goes on after its vendor information.
    #[error("the event log's header has {extra} bytes too many")]
    HeaderLong {
        /// How many.
        extra: usize,
    },
    /// The header names no bank, or more than any TPM has.
    #[error("the event log's header names {count} banks")]
    BankCount {
        /// How many.
        count: u32,
    },
    /// The header gives a known hash another length.
    #[error("the event log's header gives {} digests {size} bytes", alg.name())]
    DigestSize {
        /// The hash.
        alg: HashAlg,
        /// The length that the header gives.
        size: u16,
    },
    /// The header names a bank twice.
    #[error("the event log's header names bank {id:#06x} twice")]
    BankTwice {
        /// TPM_ALG_ID.
        id: u16,
    },
    /// A register that does not exist.
    #[error("event {event} extends register {register}, which does not exist")]
    Register {
        /// Position of the event.
        event: usize,
        /// The register that it names.
        register: u32,
    },
    /// An event without digests, or with more than the header names banks.
    #[error("event {event} has {count} digests where the header names {banks} banks")]
    DigestCount {
        /// Position of the event.
        event: usize,
        /// How many digests it says it has.
        count: u32,
        /// How many banks there are.
        banks: usize,
    },
    /// A digest of a bank that the header does not name.
    #[error("event {event} has a digest of bank {id:#06x}, which the header does not name")]
    UnnamedBank {
        /// Position of the event.
        event: usize,
        /// TPM_ALG_ID.
        id: u16,
    },
    /// Two digests of one bank.
    #[error("event {event} has two digests of bank {id:#06x}")]
    DigestTwice {
        /// Position of the event.
        event: usize,
        /// TPM_ALG_ID.
        id: u16,
    },
    /// After the padding of a CCEL log comes something else.
    #[error("the padding that begins at byte {offset} is followed by other data")]
    Padding {
        /// Where the padding begins.
        offset: usize,
    },
    /// An event of the node's own log is not EV_IPL.
    #[error("event {event} of the node's own log has type {event_type:#x}, not EV_IPL")]
    OwnType {
        /// Position of the event.
        event: usize,
        /// Its type.
        event_type: u32,
    },
    /// The data of an event of the node's own log are not short printable ASCII.
    #[error("event {event} of the node's own log is not a short ASCII string")]
    OwnData {
        /// Position of the event.
        event: usize,
    },
}

/// A bank as the header names it; hashes that are not known here are skipped by their size.
#[derive(Clone, Copy)]
pub(crate) struct Bank {
    id: u16,
    size: u16,
}

impl Bank {
    pub(crate) fn of(alg: HashAlg) -> Self {
        Self { id: alg.id(), size: u16::try_from(alg.size()).unwrap_or(u16::MAX) }
    }
}

impl EventLog {
    /// Parses the log of a TPM's firmware, as `/sys/kernel/security/tpm0/binary_bios_measurements` has it: crypto-agile or
    /// SHA-1 only ([`Format`]). Every byte must belong to an event.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        read(bytes, Registers::Pcrs)
    }

    /// Parses a CCEL log; padding by zero or 0xff bytes at its end is accepted.
    pub fn parse_ccel(bytes: &[u8]) -> Result<Self, LogError> {
        read(bytes, Registers::Ccel)
    }
}

fn read(bytes: &[u8], registers: Registers) -> Result<EventLog, LogError> {
    if bytes.is_empty() {
        return Err(LogError::Empty);
    }
    let mut r = Reader::new(bytes);
    let first = old_event(&mut r, 0, registers)?;
    let agile = first.event_type == EV_NO_ACTION && first.data.starts_with(SPEC_ID_03);
    let banks = if agile { header(&first.data)? } else { vec![Bank::of(HashAlg::Sha1)] };
    let mut events = vec![first];
    while !r.is_empty() {
        if registers == Registers::Ccel && padding(&r)? {
            break;
        }
        let index = events.len();
        events.push(if agile {
            event2(&mut r, index, registers, &banks)?
        } else {
            old_event(&mut r, index, registers)?
        });
    }
    Ok(EventLog {
        format: if agile { Format::CryptoAgile } else { Format::Sha1Only },
        registers,
        algs: banks.iter().filter_map(|b| HashAlg::from_id(b.id)).collect(),
        events,
    })
}

/// Whether only padding is left: bytes that are all zero or all 0xff.
fn padding(r: &Reader<'_>) -> Result<bool, LogError> {
    let rest = r.rest();
    let Some(fill) = rest.first().copied().filter(|b| *b == 0 || *b == 0xff) else { return Ok(false) };
    if rest.iter().all(|b| *b == fill) {
        return Ok(true);
    }
    // A register of all ones ends the log (TCG ACPI, CCEL); whatever follows must be of the same kind.
    if rest.iter().take(4).all(|b| *b == 0xff) {
        return Err(LogError::Padding { offset: r.offset() });
    }
    Ok(false)
}

fn header(data: &[u8]) -> Result<Vec<Bank>, LogError> {
    let mut r = Reader::new(data);
    // Signature, platform class, version minor and major, errata, size of a UINTN.
    r.take(16 + 4 + 4).ok_or(LogError::HeaderShort)?;
    let count = r.u32().ok_or(LogError::HeaderShort)?;
    if count == 0 || count > MAX_ALGS {
        return Err(LogError::BankCount { count });
    }
    let mut banks: Vec<Bank> = Vec::new();
    for _ in 0..count {
        let (Some(id), Some(size)) = (r.u16(), r.u16()) else { return Err(LogError::HeaderShort) };
        if banks.iter().any(|b| b.id == id) {
            return Err(LogError::BankTwice { id });
        }
        if let Some(alg) = HashAlg::from_id(id).filter(|a| a.size() != usize::from(size)) {
            return Err(LogError::DigestSize { alg, size });
        }
        banks.push(Bank { id, size });
    }
    let vendor = r.u8().ok_or(LogError::HeaderShort)?;
    r.take(usize::from(vendor)).ok_or(LogError::HeaderShort)?;
    if r.is_empty() { Ok(banks) } else { Err(LogError::HeaderLong { extra: r.rest().len() }) }
}

fn register(value: u32, event: usize, registers: Registers) -> Result<u32, LogError> {
    if value > registers.max() {
        return Err(LogError::Register { event, register: value });
    }
    Ok(value)
}

/// TCG_PCR_EVENT: register, type, SHA-1, data.
fn old_event(r: &mut Reader<'_>, index: usize, registers: Registers) -> Result<Event, LogError> {
    let at = |r: &Reader<'_>, what| LogError::Truncated { offset: r.offset(), what };
    let (pcr, event_type) = start(r)?;
    let register = register(pcr, index, registers)?;
    let digest = r.take(20).ok_or_else(|| at(r, "a digest"))?.to_vec();
    let data = r.sized().ok_or_else(|| at(r, "an event's data"))?.to_vec();
    Ok(Event { index, register, event_type, digests: vec![(HashAlg::Sha1, digest)], data })
}

/// TCG_PCR_EVENT2: register, type, digests, data.
pub(crate) fn event2(
    r: &mut Reader<'_>,
    index: usize,
    registers: Registers,
    banks: &[Bank],
) -> Result<Event, LogError> {
    let at = |r: &Reader<'_>, what| LogError::Truncated { offset: r.offset(), what };
    let (pcr, event_type) = start(r)?;
    let register = register(pcr, index, registers)?;
    let count = r.u32().ok_or_else(|| at(r, "a digest count"))?;
    if count == 0 || usize::try_from(count).map_or(true, |c| c > banks.len()) {
        return Err(LogError::DigestCount { event: index, count, banks: banks.len() });
    }
    let mut seen: Vec<u16> = Vec::with_capacity(banks.len());
    let mut digests = Vec::new();
    for _ in 0..count {
        let id = r.u16().ok_or_else(|| at(r, "a digest"))?;
        let bank = banks.iter().find(|b| b.id == id).ok_or(LogError::UnnamedBank { event: index, id })?;
        if seen.contains(&id) {
            return Err(LogError::DigestTwice { event: index, id });
        }
        seen.push(id);
        let digest = r.take(usize::from(bank.size)).ok_or_else(|| at(r, "a digest"))?;
        if let Some(alg) = HashAlg::from_id(id) {
            digests.push((alg, digest.to_vec()));
        }
    }
    let data = r.sized().ok_or_else(|| at(r, "an event's data"))?.to_vec();
    Ok(Event { index, register, event_type, digests, data })
}

fn start(r: &mut Reader<'_>) -> Result<(u32, u32), LogError> {
    let offset = r.offset();
    match (r.u32(), r.u32()) {
        (Some(pcr), Some(event_type)) => Ok((pcr, event_type)),
        _ => Err(LogError::Truncated { offset, what: "an event's head" }),
    }
}
