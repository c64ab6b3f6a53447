//! The explanation of a log that is not the one a tuple expects: which event is at fault, in words.

use crate::align::{Step, align};
use crate::cmdline::{self, Believed};
use crate::event::{Event, EventLog, Proof};
use crate::replay::{LogMatchesPcrs, Replay, ReplayError};
use ccnode_evidence::{HashAlg, ImageTuple, PcrIndex, PcrSet, PlatformTuple, Sha256Digest, TupleEvent};
use serde::Serialize;
use std::collections::BTreeMap;

/// Parts before wholes: what was handed to the stub, the UKI's sections, what the kernel's stub saw, the whole UKI; then the
/// firmware by its order; then the rest.
const ORDER: [u8; 16] = [12, 11, 9, 4, 0, 1, 2, 3, 6, 7, 13, 14, 8, 5, 15, 10];
/// The sections of a UKI (UAPI.5), whose names the stub measures.
const SECTIONS: [&str; 15] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids", ".uname",
    ".sbat", ".pcrsig", ".pcrpkey", ".profile", ".efifw",
];
/// How many differences of one PCR are told apart.
const PER_PCR: usize = 32;

/// What one PCR should hold.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The PCR.
    pub pcr: PcrIndex,
    /// Its expected value.
    pub value: Sha256Digest,
    /// The expected events in order; none for a PCR that is never extended.
    pub events: &'a [TupleEvent],
}

impl<'a> Reference<'a> {
    /// The references of an image tuple.
    pub fn image(tuple: &'a ImageTuple) -> Vec<Self> {
        Self::all(&tuple.pcrs.0, &tuple.events)
    }

    /// The references of a platform tuple.
    pub fn platform(tuple: &'a PlatformTuple) -> Vec<Self> {
        Self::all(&tuple.pcrs.0, &tuple.events)
    }

    fn all(
        values: &BTreeMap<PcrIndex, Sha256Digest>,
        events: &'a BTreeMap<PcrIndex, Vec<TupleEvent>>,
    ) -> Vec<Self> {
        let one = |(pcr, value): (&PcrIndex, &Sha256Digest)| Self {
            pcr: *pcr,
            value: *value,
            events: events.get(pcr).map(Vec::as_slice).unwrap_or_default(),
        };
        values.iter().map(one).collect()
    }
}

/// The kernel command lines to compare.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cmdlines<'a> {
    /// What the node says /proc/cmdline holds; believed only where a measured digest covers it.
    pub found: Option<&'a str>,
    /// What the image's tuple says.
    pub expected: Option<&'a str>,
}

/// What is wrong about an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// It has another digest.
    Changed,
    /// The tuple has no such event.
    Added,
    /// The log has no such event.
    Missing,
    /// The events agree and the value does not: the PCR started elsewhere.
    Start,
}

/// One difference between a log and a tuple.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The PCR.
    pub pcr: PcrIndex,
    /// What is wrong.
    pub kind: DifferenceKind,
    /// Position of the event in the log; `None` where it is missing.
    pub event: Option<usize>,
    /// TCG event type: the log's claim, or the tuple's where the event is missing.
    pub event_type: Option<u32>,
    /// The component in words: the tuple's, or for an added event the log's.
    pub component: String,
    /// Whether `component` is only the log's claim.
    pub claimed: bool,
    /// The digest that the tuple expects.
    pub expected: Option<Sha256Digest>,
    /// The digest that was extended.
    pub found: Option<Sha256Digest>,
    /// Whether the log was proven for this PCR; if not, all of this is a claim.
    pub proven: bool,
    /// The difference in one sentence, safe to print.
    pub sentence: String,
}

/// Compares a proven log with references, PCR by PCR; the first difference is the one to name. Empty when all values agree.
pub fn explain(
    proof: &LogMatchesPcrs<'_>,
    references: &[Reference<'_>],
    cmdlines: Cmdlines<'_>,
) -> Vec<Difference> {
    compare(proof.log(), proof.replay(), proof.set(), references, cmdlines)
}

/// The same for a log that nothing proves, for people to look at: every difference says `proven: false`.
pub fn explain_unproven(
    log: &EventLog,
    references: &[Reference<'_>],
    cmdlines: Cmdlines<'_>,
) -> Result<Vec<Difference>, ReplayError> {
    Ok(compare(log, &log.replay(HashAlg::Sha256)?, PcrSet::default(), references, cmdlines))
}

fn compare(
    log: &EventLog,
    replay: &Replay,
    proven: PcrSet,
    references: &[Reference<'_>],
    cmdlines: Cmdlines<'_>,
) -> Vec<Difference> {
    let unproven = proven == PcrSet::default();
    let trusted = |pcr: u32| unproven || PcrIndex::new(pcr).is_ok_and(|p| proven.contains(p));
    let believed = cmdlines.found.and_then(|text| cmdline::believe(log, text, trusted));
    let mut references = references.to_vec();
    references.sort_by_key(|r| rank(r.pcr));
    let mut out = Vec::new();
    for reference in references {
        if replay.value(reference.pcr.get().into()) == Some(reference.value.0.as_slice()) {
            continue;
        }
        let found: Vec<&Event> = log
            .events
            .iter()
            .filter(|e| e.extends() && e.register == u32::from(reference.pcr.get()))
            .collect();
        let one =
            Pcr { reference, found, proven: proven.contains(reference.pcr), believed: &believed, cmdlines };
        out.extend(one.differences(replay));
    }
    out
}

fn rank(pcr: PcrIndex) -> usize {
    ORDER.iter().position(|p| *p == pcr.get()).unwrap_or(ORDER.len() + usize::from(pcr.get()))
}

/// One PCR under comparison.
struct Pcr<'a> {
    reference: Reference<'a>,
    found: Vec<&'a Event>,
    proven: bool,
    believed: &'a Option<Believed<'a>>,
    cmdlines: Cmdlines<'a>,
}

impl Pcr<'_> {
    fn differences(&self, replay: &Replay) -> Vec<Difference> {
        let expected: Vec<Sha256Digest> = self.reference.events.iter().map(|e| e.digest).collect();
        let found: Vec<Sha256Digest> = self.found.iter().filter_map(|e| e.sha256()).collect();
        let steps = align(&expected, &found);
        if steps.is_empty() {
            return vec![self.start(replay)];
        }
        let told = |(n, step): (usize, &Step)| match (step, steps.get(n + 1)) {
            // A section's name and contents come in pairs: one sentence for both.
            (Step::Added(j), Some(Step::Added(k))) if j + 1 == *k && self.found_name(*j).is_some() => None,
            (Step::Missing(i), Some(Step::Missing(k))) if i + 1 == *k && self.expects_name(*i) => None,
            _ => self.difference(*step),
        };
        steps.iter().enumerate().filter_map(told).take(PER_PCR).collect()
    }

    fn difference(&self, step: Step) -> Option<Difference> {
        Some(match step {
            Step::Changed(i, j) => {
                let (want, event) = (self.reference.events.get(i)?, *self.found.get(j)?);
                let component = want.component.clone();
                let sentence =
                    self.command_line(event, &component).unwrap_or_else(|| format!("{component} changed"));
                self.build(DifferenceKind::Changed, Some(event), Some(want), component, false, sentence)
            }
            Step::Missing(i) => {
                let want = self.reference.events.get(i)?;
                let component = want.component.clone();
                let sentence = format!("{component} is missing");
                self.build(DifferenceKind::Missing, None, Some(want), component, false, sentence)
            }
            Step::Added(j) => {
                let event = *self.found.get(j)?;
                let (component, claimed) = self.added(j, event);
                let sentence = match claimed {
                    true => format!("an event was added, which the log calls: {component}"),
                    false => format!("{component} added"),
                };
                self.build(DifferenceKind::Added, Some(event), None, component, claimed, sentence)
            }
        })
    }

    /// What to call an event that the tuple doesn't know, and whether that is only a claim.
    fn added(&self, j: usize, event: &Event) -> (String, bool) {
        if let Some(section) = j.checked_sub(1).and_then(|name| self.found_name(name)) {
            return (format!("section {section} of the UKI"), false);
        }
        let description = event.describe();
        let claimed = !matches!(description.proof, Proof::Data | Proof::DataWithoutNul);
        (description.component, claimed)
    }

    /// The section whose name an event of PCR 11 measures, proven by its digest.
    fn found_name(&self, j: usize) -> Option<String> {
        self.found.get(j).filter(|_| self.reference.pcr.get() == 11)?.names_section()
    }

    /// Whether the tuple expects a section's name here.
    fn expects_name(&self, i: usize) -> bool {
        let digest =
            self.reference.events.get(i).filter(|_| self.reference.pcr.get() == 11).map(|e| e.digest);
        digest.is_some_and(|d| {
            SECTIONS.iter().any(|name| Sha256Digest::of(&[name.as_bytes(), &[0]].concat()) == d)
        })
    }

    /// The sentence on the command line, where `event` measures it and the text is believed.
    fn command_line(&self, event: &Event, component: &str) -> Option<String> {
        let believed = self.believed.as_ref()?;
        let index = Some(event.index);
        let words = match self.cmdlines.expected {
            Some(expected) => {
                format!("kernel command line: {}", cmdline::difference(expected, believed.text))
            }
            None => format!("kernel command line is `{}`", crate::text::printable(believed.text)),
        };
        if index == believed.load_options || index == believed.section {
            return Some(words);
        }
        // The section holds more than the text, but PCR 9 proves what the kernel made of it.
        (index == believed.section_at).then(|| format!("{component} changed; {words}"))
    }

    fn start(&self, replay: &Replay) -> Difference {
        let (component, sentence) = match (self.reference.pcr.get(), replay.startup_locality()) {
            (0, locality) => (
                "startup locality",
                format!("the TPM was started from locality {locality}, unlike the tuple's"),
            ),
            _ => ("value", "all events agree and the value does not".to_owned()),
        };
        self.build(DifferenceKind::Start, None, None, component.to_owned(), false, sentence)
    }

    fn build(
        &self,
        kind: DifferenceKind,
        event: Option<&Event>,
        want: Option<&TupleEvent>,
        component: String,
        claimed: bool,
        sentence: String,
    ) -> Difference {
        let pcr = self.reference.pcr;
        Difference {
            pcr,
            kind,
            event: event.map(|e| e.index),
            event_type: event.map(|e| e.event_type).or(want.map(|w| w.event_type)),
            component,
            claimed,
            expected: want.map(|w| w.digest),
            found: event.and_then(Event::sha256),
            proven: self.proven,
            sentence: format!("PCR {pcr}: {sentence}"),
        }
    }
}
