//! `attest.Attestation` of go-tpm-tools: a protocol buffer, read by a bounded reader of its own.

use super::{AkChain, PcrBank, QuoteEvidence, QuoteKey, QuoteReport, SignatureForm};
use ccnode_evidence::{Code, HashAlg, PcrIndex};
use std::collections::BTreeMap;

/// The longest message that is read: a firmware log of 1 MiB and the rest.
const LIMIT: usize = 2 * 1024 * 1024;
/// Quotes and certificates that one message has at most.
const MAX_ITEMS: usize = 16;

/// Why bytes are no attestation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AttestationError {
    /// Longer than any that is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// Not a protocol buffer.
    #[error("not a protocol buffer: it ends, or goes wrong, in {0}")]
    Wire(&'static str),
    /// A field of another type than it should have.
    #[error("{message} has field {field} of another type")]
    Type {
        /// The message.
        message: &'static str,
        /// The field's number.
        field: u32,
    },
    /// A field twice that may be there once.
    #[error("{message} has field {field} twice")]
    Twice {
        /// The message.
        message: &'static str,
        /// The field's number.
        field: u32,
    },
    /// More of something than any attestation has.
    #[error("more than {MAX_ITEMS} {0}")]
    TooMany(&'static str),
    /// Nothing that is an attestation: no key, or no quote.
    #[error("no `{0}`: not an attestation")]
    Missing(&'static str),
    /// PCRs that don't exist, a bank that is not known, or values of another length.
    #[error("quote {0} has PCR values that are none of a bank")]
    Pcrs(usize),
}

impl AttestationError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Pcrs(_) => Code::PcrValuesMalformed,
            _ => Code::AttestationMalformed,
        }
    }
}

/// `attest.Attestation`, with what is judged of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Attestation {
    /// TPMT_PUBLIC of the attestation key.
    pub ak_pub: Vec<u8>,
    /// One for each bank.
    pub quotes: Vec<QuoteMessage>,
    /// The firmware's event log; empty where there is none.
    pub event_log: Vec<u8>,
    /// Where the machine says that it runs: a claim.
    pub instance: Option<InstanceInfo>,
    /// The attestation key's certificate, DER; empty where there is none.
    pub ak_cert: Vec<u8>,
    /// Certificates above it, DER.
    pub intermediate_certs: Vec<Vec<u8>>,
    /// Whether a confidential VM's report or quote came along, which is not judged here.
    pub has_tee_report: bool,
}

/// `tpm.Quote`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteMessage {
    /// TPMS_ATTEST.
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub raw_sig: Vec<u8>,
    /// Values of the bank's PCRs.
    pub pcrs: PcrBank,
}

/// `attest.GCEInstanceInfo`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct InstanceInfo {
    /// Zone.
    pub zone: String,
    /// Project, by name.
    pub project_id: String,
    /// Project, by number.
    pub project_number: u64,
    /// Instance, by name.
    pub instance_name: String,
    /// Instance, by number.
    pub instance_id: u64,
}

impl Attestation {
    /// Reads a message to its end; fields that are not known are passed over, as protocol buffers want it.
    pub fn parse(bytes: &[u8]) -> Result<Self, AttestationError> {
        const NAME: &str = "Attestation";
        if bytes.len() > LIMIT {
            return Err(AttestationError::Size(bytes.len()));
        }
        let mut out = Self::default();
        let mut once = Once::new(NAME);
        for field in Fields::of(bytes, NAME) {
            let field = field?;
            match field.number {
                1 => out.ak_pub = once.bytes(&field)?.to_vec(),
                2 => {
                    let quote = quote(field.bytes(NAME)?, out.quotes.len())?;
                    push(&mut out.quotes, quote, "quotes")?;
                }
                3 => out.event_log = once.bytes(&field)?.to_vec(),
                4 => out.instance = Some(instance(once.bytes(&field)?)?),
                6 => out.ak_cert = once.bytes(&field)?.to_vec(),
                7 => push(&mut out.intermediate_certs, field.bytes(NAME)?.to_vec(), "certificates")?,
                8 | 9 => out.has_tee_report = true,
                _ => {}
            }
        }
        match (out.ak_pub.is_empty(), out.quotes.is_empty()) {
            (true, _) => Err(AttestationError::Missing("ak_pub")),
            (_, true) => Err(AttestationError::Missing("quotes")),
            _ => Ok(out),
        }
    }

    /// Judges each of its quotes, for a nonce and under roots where they are at hand. The key is the one that it carries.
    pub fn verify(
        &self,
        key: &QuoteKey,
        nonce: Option<&[u8]>,
        chain: Option<AkChain<'_>>,
    ) -> Vec<QuoteReport> {
        let intermediates: Vec<Vec<u8>> = chain
            .iter()
            .flat_map(|chain| chain.intermediates)
            .chain(&self.intermediate_certs)
            .cloned()
            .collect();
        let chain = chain.map(|chain| AkChain { intermediates: &intermediates, ..chain });
        let one = |quote: &QuoteMessage| {
            let evidence = QuoteEvidence {
                message: &quote.quote,
                signature: Some(SignatureForm::Tpmt(&quote.raw_sig)),
                key: Some(key),
                certificate: Some(self.ak_cert.as_slice()).filter(|der| !der.is_empty()),
                chain,
                pcrs: std::slice::from_ref(&quote.pcrs),
                nonce,
                log: Some(self.event_log.as_slice()).filter(|log| !log.is_empty()),
            };
            evidence.verify()
        };
        self.quotes.iter().map(one).collect()
    }
}

fn push<T>(list: &mut Vec<T>, item: T, what: &'static str) -> Result<(), AttestationError> {
    if list.len() >= MAX_ITEMS {
        return Err(AttestationError::TooMany(what));
    }
    list.push(item);
    Ok(())
}

fn quote(bytes: &[u8], index: usize) -> Result<QuoteMessage, AttestationError> {
    const NAME: &str = "Quote";
    let (mut quote, mut raw_sig, mut values) = (&[][..], &[][..], &[][..]);
    let mut once = Once::new(NAME);
    for field in Fields::of(bytes, NAME) {
        let field = field?;
        match field.number {
            1 => quote = once.bytes(&field)?,
            2 => raw_sig = once.bytes(&field)?,
            3 => values = once.bytes(&field)?,
            _ => {}
        }
    }
    let pcrs = pcrs(values, index)?;
    Ok(QuoteMessage { quote: quote.to_vec(), raw_sig: raw_sig.to_vec(), pcrs })
}

/// `tpm.PCRs`: the bank, and a map from index to value.
fn pcrs(bytes: &[u8], index: usize) -> Result<PcrBank, AttestationError> {
    const NAME: &str = "PCRs";
    const ENTRY: &str = "PCRs.pcrs";
    let wrong = || AttestationError::Pcrs(index);
    let (mut bank, mut values) = (0, BTreeMap::new());
    let mut once = Once::new(NAME);
    for field in Fields::of(bytes, NAME) {
        let field = field?;
        match field.number {
            1 => bank = once.number(&field)?,
            2 => {
                let (mut pcr, mut value) = (0, &[][..]);
                let mut once = Once::new(ENTRY);
                for field in Fields::of(field.bytes(NAME)?, ENTRY) {
                    let field = field?;
                    match field.number {
                        1 => pcr = once.number(&field)?,
                        2 => value = once.bytes(&field)?,
                        _ => {}
                    }
                }
                let pcr =
                    u32::try_from(pcr).ok().and_then(|pcr| PcrIndex::new(pcr).ok()).ok_or_else(wrong)?;
                if values.insert(pcr, value.to_vec()).is_some() {
                    return Err(wrong());
                }
            }
            _ => {}
        }
    }
    let alg = u16::try_from(bank).ok().and_then(HashAlg::from_id).ok_or_else(wrong)?;
    PcrBank::new(alg, values).map_err(|_| wrong())
}

fn instance(bytes: &[u8]) -> Result<InstanceInfo, AttestationError> {
    const NAME: &str = "GCEInstanceInfo";
    let mut out = InstanceInfo::default();
    let mut once = Once::new(NAME);
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes).map(crate::x509::printable).map_err(|_| AttestationError::Wire(NAME))
    };
    for field in Fields::of(bytes, NAME) {
        let field = field?;
        match field.number {
            1 => out.zone = text(once.bytes(&field)?)?,
            2 => out.project_id = text(once.bytes(&field)?)?,
            3 => out.project_number = once.number(&field)?,
            4 => out.instance_name = text(once.bytes(&field)?)?,
            5 => out.instance_id = once.number(&field)?,
            _ => {}
        }
    }
    Ok(out)
}

/// Fields that a message has at most once.
struct Once {
    message: &'static str,
    seen: Vec<u32>,
}

impl Once {
    fn new(message: &'static str) -> Self {
        Self { message, seen: Vec::new() }
    }

    fn check(&mut self, field: u32) -> Result<(), AttestationError> {
        if self.seen.contains(&field) {
            return Err(AttestationError::Twice { message: self.message, field });
        }
        self.seen.push(field);
        Ok(())
    }

    fn bytes<'a>(&mut self, field: &Field<'a>) -> Result<&'a [u8], AttestationError> {
        self.check(field.number)?;
        field.bytes(self.message)
    }

    fn number(&mut self, field: &Field<'_>) -> Result<u64, AttestationError> {
        self.check(field.number)?;
        match field.value {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) | Value::Fixed => {
                Err(AttestationError::Type { message: self.message, field: field.number })
            }
        }
    }
}

struct Field<'a> {
    number: u32,
    value: Value<'a>,
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Field<'a> {
    fn bytes(&self, message: &'static str) -> Result<&'a [u8], AttestationError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) | Value::Fixed => Err(AttestationError::Type { message, field: self.number }),
        }
    }
}

/// The fields of one message; after an error nothing more.
struct Fields<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8], message: &'static str) -> Self {
        Self { rest: bytes, message }
    }

    /// At most ten bytes, seven bits each, the low ones first.
    fn varint(&mut self) -> Option<u64> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = tail;
        Some(head)
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some(Field { number, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, AttestationError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(AttestationError::Wire(self.message)))
    }
}
