//! The report for machines: a versioned contract.

use super::report::Report;
use super::subject::Subject;
use ccnode_evidence::HashAlg;
use ccnode_tpm_eventlog::{Difference, Event, EventLog, NO_REGISTER, Registers, Side, event_type};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// The document. `replay` and `events` are the first log's; a second log's stand in `compared-with`.
#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Document {
    version: u32,
    #[serde(flatten)]
    log: Log,
    differences: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared_with: Option<Other>,
    proven: bool,
}

/// A log.
#[derive(serde::Serialize)]
struct Log {
    replay: Pairs<Pairs<String>>,
    events: Vec<EventEntry>,
}

/// The other side of a comparison.
#[derive(serde::Serialize)]
struct Other {
    kind: &'static str,
    name: String,
    #[serde(flatten)]
    log: Option<Log>,
}

#[derive(serde::Serialize)]
struct EventEntry {
    index: usize,
    pcr: Register,
    #[serde(rename = "type")]
    event_type: String,
    digests: Pairs<String>,
    component: String,
    proof: &'static str,
}

/// A difference; `a` and `b` are the event on each side.
#[derive(serde::Serialize)]
struct Entry {
    pcr: Register,
    kind: &'static str,
    #[serde(rename = "type")]
    event_type: Option<String>,
    component: String,
    claimed: bool,
    a: Option<SideEntry>,
    b: Option<SideEntry>,
    sentence: String,
}

#[derive(serde::Serialize)]
struct SideEntry {
    index: Option<usize>,
    digest: String,
    component: String,
}

/// A PCR is a number, a register of a confidential VM its name, none at all null.
struct Register(Registers, u32);

impl Serialize for Register {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self(_, NO_REGISTER) => s.serialize_none(),
            Self(Registers::Pcrs, pcr) => s.serialize_u32(pcr),
            Self(registers, register) => s.serialize_str(&registers.key(register)),
        }
    }
}

/// A map that keeps its order.
struct Pairs<T>(Vec<(String, T)>);

impl<T: Serialize> Serialize for Pairs<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Document {
    pub(crate) fn of(report: &Report<'_>) -> Self {
        let other = |subject: &Subject<'_>, log: bool| Other {
            kind: subject.kind(),
            name: subject.name.clone(),
            log: subject.log().filter(|_| log).map(|l| Log::of(subject, l)),
        };
        let b = report.b.as_ref();
        let (log, compared_with) = match (report.a.log(), b.and_then(|b| Some((b, b.log()?)))) {
            (Some(log), _) => (Log::of(&report.a, log), b.map(|b| other(b, true))),
            // The tuple came first.
            (None, Some((b, log))) => (Log::of(b, log), Some(other(&report.a, false))),
            (None, None) => (Log { replay: Pairs(Vec::new()), events: Vec::new() }, None),
        };
        let differences = report.differences.iter().map(|d| Entry::of(report, d)).collect();
        Self { version: 1, log, differences, compared_with, proven: report.proven }
    }
}

impl Log {
    fn of(subject: &Subject<'_>, log: &EventLog<'_>) -> Self {
        let bank = |alg: &HashAlg| {
            let values = subject.values(*alg).into_iter();
            let named = values.map(|(register, value)| (log.registers.key(register), value));
            (alg.name().to_owned(), Pairs(named.collect()))
        };
        Self {
            replay: Pairs(log.algs.iter().map(bank).collect()),
            events: log.events.iter().map(|event| EventEntry::of(log.registers, event)).collect(),
        }
    }
}

impl EventEntry {
    fn of(registers: Registers, event: &Event<'_>) -> Self {
        use ccnode_tpm_eventlog::Proof;
        let described = event.describe();
        let digests = event.digests.iter().map(|(alg, digest)| (alg.name().to_owned(), hex::encode(digest)));
        Self {
            index: event.index,
            pcr: Register(registers, event.register),
            event_type: kind(event.event_type),
            digests: Pairs(digests.collect()),
            component: described.component,
            proof: match described.proof {
                Proof::Data | Proof::DataWithoutNul => "data",
                Proof::TextAfterLabel => "text",
                Proof::VariableContents => "contents",
                Proof::None => "none",
            },
        }
    }
}

impl Entry {
    fn of(report: &Report<'_>, difference: &Difference) -> Self {
        let side = |side: &Side| SideEntry {
            index: side.event,
            digest: hex::encode(&side.digest),
            component: side.component.clone(),
        };
        let (a, b) = report.sides(difference);
        let about = difference.found.as_ref().or(difference.expected.as_ref());
        Self {
            pcr: Register(difference.registers, difference.register),
            kind: difference.kind.name(),
            event_type: about.map(|side| kind(side.event_type)),
            component: difference.component.clone(),
            claimed: difference.claimed,
            a: a.map(side),
            b: b.map(side),
            sentence: difference.sentence.clone(),
        }
    }
}

/// "EV_IPL", or the number in hex of a type without a name.
fn kind(event_type: u32) -> String {
    event_type::name(event_type).map_or_else(|| format!("{event_type:#x}"), str::to_owned)
}
