//! A log arranged for people: register by register, with replayed values and events in words. All text is safe to print.

use crate::event::{Event, EventLog, Format, NO_REGISTER, Proof, Registers};
use crate::payload::Payload;
use crate::text::printable;
use ccnode_evidence::HashAlg;

/// A log as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// One line on the log as a whole: its form, banks and number of events.
    pub summary: String,
    /// The bank of which values and digests are shown: the log's strongest.
    pub alg: Option<HashAlg>,
    /// The registers that have events, in order; last those that belong to none.
    pub registers: Vec<RegisterView>,
}

/// One register and its events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterView {
    /// Its number in the log.
    pub register: u32,
    /// "PCR 11", "RTMR0".
    pub label: String,
    /// The replayed value in hex; `None` where the log does not replay.
    pub value: Option<String>,
    /// Its events in the log's order.
    pub events: Vec<EventView>,
}

/// One event in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventView {
    /// Position in the log.
    pub index: usize,
    /// "EV_IPL".
    pub kind: String,
    /// The component.
    pub component: String,
    /// How far the digest covers that; `None` for an event that extends nothing.
    pub proof: Option<Proof>,
    /// The digest in hex; `None` for an event that extends nothing.
    pub digest: Option<String>,
    /// More about it: a line a partition of a partition table.
    pub details: Vec<String>,
}

impl View {
    /// Arranges a log.
    pub fn of(log: &EventLog<'_>) -> Self {
        let alg = log.best_alg();
        let replay = alg.and_then(|a| log.replay(a).ok());
        let registers = (0..=log.registers.max()).chain([NO_REGISTER]).filter_map(|register| {
            let events: Vec<EventView> =
                log.events.iter().filter(|e| e.register == register).map(|e| EventView::of(e, alg)).collect();
            let value = replay.as_ref().and_then(|r| r.value(register)).map(hex::encode);
            let label = log.registers.label(register);
            (!events.is_empty()).then_some(RegisterView { register, label, value, events })
        });
        Self { summary: summary(log), alg, registers: registers.collect() }
    }
}

impl EventView {
    fn of(event: &Event<'_>, alg: Option<HashAlg>) -> Self {
        let description = event.describe();
        let digest = alg.and_then(|a| event.digest(a)).filter(|_| event.extends()).map(hex::encode);
        let details = match event.payload() {
            Payload::Gpt(gpt) => gpt
                .partitions
                .iter()
                .map(|p| format!("`{}` sectors {} to {}", printable(&p.name), p.first, p.last))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            index: event.index,
            kind: description.kind,
            component: description.component,
            proof: event.extends().then_some(description.proof),
            digest,
            details,
        }
    }

    /// What is to be said of the proof, in a word or two; `None` where all is proven or nothing is extended.
    pub fn remark(&self) -> Option<&'static str> {
        match self.proof? {
            Proof::Data | Proof::DataWithoutNul => None,
            Proof::TextAfterLabel => Some("text proven, label claimed"),
            Proof::VariableContents => Some("contents proven, name claimed"),
            Proof::None => Some("claimed"),
        }
    }
}

/// One line on the log as a whole: its form, banks and number of events.
pub fn summary(log: &EventLog<'_>) -> String {
    let banks: Vec<&str> = log.algs.iter().map(|a| a.name()).collect();
    let form = match (log.format, log.registers) {
        (Format::Sha1Only, _) => "old event log (SHA-1 only: for reading, not for trust)",
        (Format::Own, _) => "the node's own event log",
        (Format::CryptoAgile, Registers::Pcrs) => "TPM event log",
        (Format::CryptoAgile, Registers::Ccel) => "CCEL event log",
    };
    let events = match log.events.len() {
        1 => "1 event".to_owned(),
        n => format!("{n} events"),
    };
    format!("{form}, {events}, banks: {}", banks.join(" "))
}
