//! A log and its events as they were read, before anything is believed.

use crate::digests::Digests;
use crate::hash::hash;
use ccnode_evidence::{HashAlg, Sha256Digest};

/// The form that a log was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// TCG_PCR_EVENT throughout: SHA-1 alone. Readable for people, never a ground for trust.
    Sha1Only,
    /// A Spec ID Event03 header, then TCG_PCR_EVENT2.
    CryptoAgile,
    /// This project's own log: TCG_PCR_EVENT2 without a header ([`crate::own`]).
    Own,
}

/// What the register numbers of a log count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registers {
    /// PCRs 0 to 23 of a TPM.
    Pcrs,
    /// Measurement registers of a confidential VM: 0 = MRTD, 1 = RTMR0, … 4 = RTMR3.
    Ccel,
}

/// The register number of an event that belongs to none: EV_NO_ACTION alone may have it.
pub const NO_REGISTER: u32 = u32::MAX;

impl Registers {
    /// The highest register that an event may name.
    pub fn max(self) -> u32 {
        match self {
            Self::Pcrs => 23,
            Self::Ccel => 4,
        }
    }

    /// Where systemd-stub measures the sections of a UKI: PCR 11, or RTMR2.
    pub(crate) fn sections(self) -> u32 {
        match self {
            Self::Pcrs => 11,
            Self::Ccel => 3,
        }
    }

    /// Where the kernel's EFI stub measures initrd and load options: PCR 9, or RTMR2.
    pub(crate) fn stub(self) -> u32 {
        match self {
            Self::Pcrs => 9,
            Self::Ccel => 3,
        }
    }

    /// For people: "PCR 11" or "RTMR0".
    pub fn label(self, register: u32) -> String {
        match (self, register) {
            (_, NO_REGISTER) => "no register".to_owned(),
            (Self::Pcrs, n) => format!("PCR {n}"),
            (Self::Ccel, 0) => "MRTD".to_owned(),
            (Self::Ccel, n) => format!("RTMR{}", n - 1),
        }
    }

    /// For machines: "11" or "rtmr0"; "none" for an event that belongs to no register.
    pub fn key(self, register: u32) -> String {
        match (self, register) {
            (_, NO_REGISTER) => "none".to_owned(),
            (Self::Pcrs, n) => n.to_string(),
            (Self::Ccel, 0) => "mrtd".to_owned(),
            (Self::Ccel, n) => format!("rtmr{}", n - 1),
        }
    }
}

/// A parsed event log, which borrows the bytes it was read from. Nothing in it is proven yet: see [`EventLog::matches`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventLog<'a> {
    /// The form it was read from.
    pub format: Format,
    /// What its register numbers count.
    pub registers: Registers,
    /// The banks that its header names, as far as they are known here.
    pub algs: Vec<HashAlg>,
    /// All events in order, the Spec ID header among them (as position 0).
    pub events: Vec<Event<'a>>,
}

impl<'a> EventLog<'a> {
    /// This log followed by `own`, whose events keep their order and continue the positions.
    ///
    /// The firmware's log and the node's own cover different times, so what the node extended comes last.
    #[must_use]
    pub fn followed_by(&self, own: &Self) -> Self {
        let mut joined = self.clone();
        for event in &own.events {
            joined.events.push(Event { index: joined.events.len(), ..*event });
        }
        joined
    }

    /// The strongest bank of this log; SHA-1, which proves nothing, where there is nothing else.
    pub fn best_alg(&self) -> Option<HashAlg> {
        BEST.into_iter().find(|alg| self.algs.contains(alg))
    }

    /// The events that extend `register`, in order.
    pub fn extending(&self, register: u32) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| event.extends() && event.register == register)
    }
}

/// Banks by what they are worth here: SHA-256 is quoted, the others are read.
pub(crate) const BEST: [HashAlg; 5] =
    [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512, HashAlg::Sm3, HashAlg::Sha1];

/// One event: what a register was extended with, and what the log says about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// Position in the log, from 0.
    pub index: usize,
    /// The register it extends.
    pub register: u32,
    /// TCG event type; a hint, since nothing covers it.
    pub event_type: u32,
    /// One digest for each bank.
    pub digests: Digests<'a>,
    /// What the log says was measured; see [`Event::proof`] for whether that is so.
    pub data: &'a [u8],
}

/// How far an event's digest covers its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The digest is the hash of all the data.
    Data,
    /// The digest is the hash of the data without the NUL that ends its text.
    DataWithoutNul,
    /// The digest is the hash of the text after the label that GRUB puts before it (`kernel_cmdline: `); the label is a claim.
    TextAfterLabel,
    /// The digest is the hash of the variable's contents; its name and GUID are claims.
    VariableContents,
    /// The digest covers something that is not in the log: the data are a claim.
    None,
}

impl<'a> Event<'a> {
    /// The digest for one bank.
    pub fn digest(&self, alg: HashAlg) -> Option<&'a [u8]> {
        self.digests.get(alg)
    }

    /// The digest for the SHA-256 bank.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        self.digest(HashAlg::Sha256)?.try_into().ok().map(Sha256Digest)
    }

    /// Whether this event extends its register: EV_NO_ACTION never does.
    pub fn extends(&self) -> bool {
        self.event_type != crate::event_type::EV_NO_ACTION
    }

    /// How far the digest in bank `alg` covers the data. SHA-1 proves nothing.
    pub fn proof(&self, alg: HashAlg) -> Proof {
        let Some(digest) = self.digest(alg).filter(|_| self.extends() && alg != HashAlg::Sha1) else {
            return Proof::None;
        };
        let is = |bytes: &[u8]| hash(alg, &[bytes]).get() == digest;
        if is(self.data) {
            return Proof::Data;
        }
        let text = without_nul(self.data);
        if text.is_some_and(is) {
            return Proof::DataWithoutNul;
        }
        let labelled = crate::grub::labelled(self);
        if labelled.is_some_and(|l| is(l.text) || l.with_nul.is_some_and(is)) {
            return Proof::TextAfterLabel;
        }
        match crate::payload::variable_contents(self) {
            Some(contents) if is(contents) => Proof::VariableContents,
            _ => Proof::None,
        }
    }

    /// Whether the digest in bank `alg` covers all that the data say.
    pub fn data_is_proven(&self, alg: HashAlg) -> bool {
        matches!(self.proof(alg), Proof::Data | Proof::DataWithoutNul)
    }

    /// The strongest bank of this event that proves something, so never SHA-1.
    pub(crate) fn best_alg(&self) -> Option<HashAlg> {
        BEST.into_iter().find(|alg| *alg != HashAlg::Sha1 && self.digest(*alg).is_some())
    }
}

/// The data without one closing NUL, UTF-16 or ASCII; `None` where there is none.
fn without_nul(data: &[u8]) -> Option<&[u8]> {
    let wide = data.len().is_multiple_of(2) && data.get(1) == Some(&0);
    if wide { data.strip_suffix(&[0, 0]) } else { data.strip_suffix(&[0]) }
}
