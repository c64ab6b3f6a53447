//! The parser of TCG event logs: bounded, strict, and silent about nothing. It copies no event.

use crate::digests::Digests;
use crate::error::{LogError, MAX_DIGEST};
use crate::event::{Event, EventLog, Format, NO_REGISTER, Registers};
use crate::event_type::EV_NO_ACTION;
use ccnode_evidence::{HashAlg, Reader};

/// What a Spec ID Event03 begins with (PC Client Platform Firmware Profile, section 10.4.5.1).
const SPEC_ID_03: &[u8; 16] = b"Spec ID Event03\0";
/// More banks than any TPM has; a header that names more is not one.
const MAX_ALGS: u32 = 16;
/// How long an event of a firmware's log is on average at least, in bytes; the list of events has room for that many.
const USUAL_EVENT: usize = 256;

/// A bank as the header names it; hashes that are not known here are skipped by their size.
#[derive(Clone, Copy)]
pub(crate) struct Bank {
    id: u16,
    size: u16,
    alg: Option<HashAlg>,
}

impl Bank {
    pub(crate) fn of(alg: HashAlg) -> Self {
        Self { id: alg.id(), size: u16::try_from(alg.size()).unwrap_or(u16::MAX), alg: Some(alg) }
    }
}

impl<'a> EventLog<'a> {
    /// Parses a log of whatever kind it is by its first event: the node's own, one of PCRs, or a CCEL.
    pub fn parse_any(bytes: &'a [u8]) -> Result<Self, LogError> {
        if crate::own::looks_own(bytes) {
            return crate::own::parse(bytes);
        }
        match Self::parse(bytes) {
            // The first event of a CCEL belongs to RTMR0, and that number is 1.
            Err(LogError::HeaderRegister { register: 1 }) => Self::parse_ccel(bytes),
            other => other,
        }
    }

    /// Parses the log of a TPM's firmware, as `/sys/kernel/security/tpm0/binary_bios_measurements` has it: crypto-agile or
    /// SHA-1 only ([`Format`]). Every byte must belong to an event.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LogError> {
        read(bytes, Registers::Pcrs)
    }

    /// Parses a CCEL log; padding by zero or 0xff bytes at its end is accepted.
    pub fn parse_ccel(bytes: &'a [u8]) -> Result<Self, LogError> {
        read(bytes, Registers::Ccel)
    }
}

fn read(bytes: &[u8], registers: Registers) -> Result<EventLog<'_>, LogError> {
    if bytes.is_empty() {
        return Err(LogError::Empty);
    }
    if let Some(signature) = acpi_table(bytes) {
        return Err(LogError::AcpiTable { signature });
    }
    let mut r = Reader::new(bytes);
    let first = old_event(&mut r, 0, registers)?;
    let agile = first.event_type == EV_NO_ACTION && first.data.starts_with(SPEC_ID_03);
    let banks = if agile { header(&first, registers)? } else { vec![Bank::of(HashAlg::Sha1)] };
    let mut events = Vec::with_capacity(bytes.len() / USUAL_EVENT + 1);
    events.push(first);
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
        algs: banks.iter().filter_map(|b| b.alg).collect(),
        events,
    })
}

/// The tables that point to logs (TCG ACPI specification; UEFI, confidential computing): signature, then their own length.
fn acpi_table(bytes: &[u8]) -> Option<&'static str> {
    let signature = ["CCEL", "TPM2", "TCPA"].into_iter().find(|s| bytes.starts_with(s.as_bytes()))?;
    let length = bytes.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    (usize::try_from(length) == Ok(bytes.len())).then_some(signature)
}

/// Whether only padding is left: bytes that are all zero or all 0xff.
fn padding(r: &Reader<'_>) -> Result<bool, LogError> {
    let rest = r.rest();
    let Some(fill) = rest.first().copied().filter(|b| *b == 0 || *b == 0xff) else { return Ok(false) };
    if rest.iter().all(|b| *b == fill) {
        return Ok(true);
    }
    // A register and a type of all ones end the log (TCG ACPI, CCEL); whatever follows must be of the same kind.
    if rest.iter().take(8).all(|b| *b == 0xff) {
        return Err(LogError::Padding { offset: r.offset() });
    }
    Ok(false)
}

/// The Spec ID event: TCG_EfiSpecIdEvent.
fn header(event: &Event<'_>, registers: Registers) -> Result<Vec<Bank>, LogError> {
    let first = match registers {
        Registers::Pcrs => 0,
        Registers::Ccel => 1,
    };
    if event.register > first {
        return Err(LogError::HeaderRegister { register: event.register });
    }
    if event.digest(HashAlg::Sha1).is_some_and(|d| d.iter().any(|b| *b != 0)) {
        return Err(LogError::HeaderDigest);
    }
    let mut r = Reader::new(event.data);
    r.take(SPEC_ID_03.len()).ok_or(LogError::HeaderShort)?;
    let class = r.u32().ok_or(LogError::HeaderShort)?;
    let (Some(minor), Some(major), Some(_errata), Some(uintn)) = (r.u8(), r.u8(), r.u8(), r.u8()) else {
        return Err(LogError::HeaderShort);
    };
    let count = r.u32().ok_or(LogError::HeaderShort)?;
    if class > 1 {
        return Err(LogError::HeaderClass { class });
    }
    if (major, minor) != (2, 0) {
        return Err(LogError::HeaderVersion { major, minor });
    }
    if !(1..=2).contains(&uintn) {
        return Err(LogError::HeaderUintn { size: uintn });
    }
    if count == 0 || count > MAX_ALGS {
        return Err(LogError::BankCount { count });
    }
    let mut banks: Vec<Bank> = Vec::new();
    for _ in 0..count {
        let bank = bank(&mut r)?;
        if banks.iter().any(|b| b.id == bank.id) {
            return Err(LogError::BankTwice { id: bank.id });
        }
        banks.push(bank);
    }
    let vendor = r.u8().ok_or(LogError::HeaderShort)?;
    r.take(usize::from(vendor)).ok_or(LogError::HeaderShort)?;
    if r.is_empty() { Ok(banks) } else { Err(LogError::HeaderLong { extra: r.rest().len() }) }
}

fn bank(r: &mut Reader<'_>) -> Result<Bank, LogError> {
    let (Some(id), Some(size)) = (r.u16(), r.u16()) else { return Err(LogError::HeaderShort) };
    let alg = HashAlg::from_id(id);
    match alg {
        Some(alg) if alg.size() != usize::from(size) => Err(LogError::DigestSize { alg, size }),
        None if size == 0 || size > MAX_DIGEST => Err(LogError::BankSize { id, size }),
        alg => Ok(Bank { id, size, alg }),
    }
}

/// Register and event type. Only an event that extends nothing may belong to no register (section 10.4.5.2).
fn start(r: &mut Reader<'_>, event: usize, registers: Registers) -> Result<(u32, u32), LogError> {
    let offset = r.offset();
    let (Some(register), Some(event_type)) = (r.u32(), r.u32()) else {
        return Err(LogError::Truncated { offset, what: "an event's head" });
    };
    let none = register == NO_REGISTER && event_type == EV_NO_ACTION;
    if register > registers.max() && !none {
        return Err(LogError::Register { event, register });
    }
    Ok((register, event_type))
}

/// TCG_PCR_EVENT: register, type, SHA-1, data.
fn old_event<'a>(r: &mut Reader<'a>, index: usize, registers: Registers) -> Result<Event<'a>, LogError> {
    let (register, event_type) = start(r, index, registers)?;
    let at = |r: &Reader<'_>, what| LogError::Truncated { offset: r.offset(), what };
    let digest = r.take(20).ok_or_else(|| at(r, "a digest"))?;
    let data = r.sized_u32().ok_or_else(|| at(r, "an event's data"))?;
    Ok(Event { index, register, event_type, digests: Digests::one(HashAlg::Sha1, digest), data })
}

/// TCG_PCR_EVENT2: register, type, digests, data.
pub(crate) fn event2<'a>(
    r: &mut Reader<'a>,
    index: usize,
    registers: Registers,
    banks: &[Bank],
) -> Result<Event<'a>, LogError> {
    let (register, event_type) = start(r, index, registers)?;
    let digests = digests(r, index, banks)?;
    let offset = r.offset();
    let data = r.sized_u32().ok_or(LogError::Truncated { offset, what: "an event's data" })?;
    Ok(Event { index, register, event_type, digests, data })
}

/// TPML_DIGEST_VALUES: at most one digest of each bank that the header names.
fn digests<'a>(r: &mut Reader<'a>, event: usize, banks: &[Bank]) -> Result<Digests<'a>, LogError> {
    let at = |r: &Reader<'_>, what| LogError::Truncated { offset: r.offset(), what };
    let count = r.u32().ok_or_else(|| at(r, "a digest count"))?;
    if count == 0 || usize::try_from(count).map_or(true, |c| c > banks.len()) {
        return Err(LogError::DigestCount { event, count, banks: banks.len() });
    }
    let (area, begin) = (r.rest(), r.offset());
    let mut digests = Digests::new(area);
    // One bit a bank, by its position in the header; there are at most 16.
    let mut seen = 0u32;
    for _ in 0..count {
        let id = r.u16().ok_or_else(|| at(r, "a digest"))?;
        let position = banks.iter().position(|b| b.id == id);
        let (position, bank) =
            position.and_then(|p| Some((p, banks.get(p)?))).ok_or(LogError::UnnamedBank { event, id })?;
        if seen & (1 << position) != 0 {
            return Err(LogError::DigestTwice { event, id });
        }
        seen |= 1 << position;
        let offset = u16::try_from(r.offset() - begin).ok();
        r.take(usize::from(bank.size)).ok_or_else(|| at(r, "a digest"))?;
        if let (Some(alg), Some(offset)) = (bank.alg, offset) {
            digests.found(alg, offset);
        }
    }
    Ok(digests.over(area.get(..r.offset() - begin).unwrap_or_default()))
}
