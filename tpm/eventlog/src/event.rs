//! A log and its events as they were read, before anything is believed.

use ccnode_evidence::{HashAlg, Sha256Digest};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

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

impl Registers {
    /// The highest register that an event may name.
    pub fn max(self) -> u32 {
        match self {
            Self::Pcrs => 23,
            Self::Ccel => 4,
        }
    }

    /// "PCR 11" or "RTMR0".
    pub fn label(self, register: u32) -> String {
        match (self, register) {
            (Self::Pcrs, n) => format!("PCR {n}"),
            (Self::Ccel, 0) => "MRTD".to_owned(),
            (Self::Ccel, n) => format!("RTMR{}", n - 1),
        }
    }
}

/// A parsed event log. Nothing in it is proven yet: see [`EventLog::matches`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventLog {
    /// The form it was read from.
    pub format: Format,
    /// What its register numbers count.
    pub registers: Registers,
    /// The banks that its header names, as far as they are known here.
    pub algs: Vec<HashAlg>,
    /// All events in order, the Spec ID header among them (as position 0).
    pub events: Vec<Event>,
}

impl EventLog {
    /// This log followed by `own`, whose events keep their order and continue the positions.
    ///
    /// The firmware's log and the node's own cover different times, so what the node extended comes last.
    #[must_use]
    pub fn followed_by(&self, own: &Self) -> Self {
        let mut joined = self.clone();
        for event in &own.events {
            joined.events.push(Event { index: joined.events.len(), ..event.clone() });
        }
        joined
    }
}

/// One event: what a register was extended with, and what the log says about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Position in the log, from 0.
    pub index: usize,
    /// The register it extends.
    pub register: u32,
    /// TCG event type; a hint, since nothing covers it.
    pub event_type: u32,
    /// One digest for each bank, in the log's order.
    pub digests: Vec<(HashAlg, Vec<u8>)>,
    /// What the log says was measured; see [`Event::proof`] for whether that is so.
    pub data: Vec<u8>,
}

/// How far an event's digest covers its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The digest is the hash of all the data.
    Data,
    /// The digest is the hash of the data without the NUL that ends its text.
    DataWithoutNul,
    /// The digest is the hash of the variable's contents; its name and GUID are claims.
    VariableContents,
    /// The digest covers something that is not in the log: the data are a claim.
    None,
}

impl Event {
    /// The digest for one bank.
    pub fn digest(&self, alg: HashAlg) -> Option<&[u8]> {
        self.digests.iter().find(|(a, _)| *a == alg).map(|(_, d)| d.as_slice())
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
        let is = |bytes: &[u8]| hash(alg, &[bytes]).is_some_and(|h| h == digest);
        if is(&self.data) {
            return Proof::Data;
        }
        if let Some(text) = without_nul(&self.data)
            && is(text)
        {
            return Proof::DataWithoutNul;
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

    /// The strongest bank of this event that can be computed here.
    pub(crate) fn best_alg(&self) -> Option<HashAlg> {
        [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512].into_iter().find(|a| self.digest(*a).is_some())
    }
}

/// The data without one closing NUL, UTF-16 or ASCII; `None` where there is none.
fn without_nul(data: &[u8]) -> Option<&[u8]> {
    let wide = data.len().is_multiple_of(2) && data.get(1) == Some(&0);
    if wide { data.strip_suffix(&[0, 0]) } else { data.strip_suffix(&[0]) }
}

/// The hash of the concatenated parts; `None` for an algorithm that is carried and not computed.
pub(crate) fn hash(alg: HashAlg, parts: &[&[u8]]) -> Option<Vec<u8>> {
    fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
        let mut hasher = D::new();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().to_vec()
    }
    Some(match alg {
        HashAlg::Sha1 => run::<Sha1>(parts),
        HashAlg::Sha256 => run::<Sha256>(parts),
        HashAlg::Sha384 => run::<Sha384>(parts),
        HashAlg::Sha512 => run::<Sha512>(parts),
        HashAlg::Sm3 => return None,
    })
}
