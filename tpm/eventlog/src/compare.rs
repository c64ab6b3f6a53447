//! The comparison of what one register should hold with what it holds: event by event, in words.

use crate::align::{Step, align};
use crate::cmdline::{self, Believed, Cmdlines};
use crate::difference::{Difference, DifferenceKind, Side};
use crate::event::{Event, Registers};
use crate::hash::hash;
use crate::text::printable;
use ccnode_evidence::HashAlg;

/// Parts before wholes: what was handed to the stub, the UKI's sections, what the kernel's stub saw, the whole UKI; then the
/// firmware by its order; then the rest.
const PCR_ORDER: [u32; 16] = [12, 11, 9, 4, 0, 1, 2, 3, 6, 7, 13, 14, 8, 5, 15, 10];
/// The same for a confidential VM: RTMR2 (system), RTMR1 (loader), RTMR0 (firmware's settings), RTMR3 (run time), MRTD.
const CCEL_ORDER: [u32; 5] = [3, 2, 1, 4, 0];
/// The sections of a UKI (UAPI.5), whose names the stub measures.
const SECTIONS: [&str; 15] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids", ".uname",
    ".sbat", ".pcrsig", ".pcrpkey", ".profile", ".efifw",
];

/// Where a register comes in the order of naming.
pub(crate) fn rank(registers: Registers, register: u32) -> usize {
    let order: &[u32] = match registers {
        Registers::Pcrs => &PCR_ORDER,
        Registers::Ccel => &CCEL_ORDER,
    };
    let behind = order.len() + usize::try_from(register).unwrap_or(usize::MAX / 2);
    order.iter().position(|r| *r == register).unwrap_or(behind)
}

/// One event that is expected: out of a tuple, or of another log.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) event_type: u32,
    pub(crate) digest: &'a [u8],
    pub(crate) component: String,
    /// The event, where it is out of a log.
    pub(crate) event: Option<&'a Event<'a>>,
}

impl<'a> Expected<'a> {
    pub(crate) fn of(event: &'a Event<'a>, alg: HashAlg) -> Option<Self> {
        Some(Self {
            event_type: event.event_type,
            digest: event.digest(alg)?,
            component: event.describe().component,
            event: Some(event),
        })
    }

    fn side(&self) -> Side {
        Side {
            event: self.event.map(|event| event.index),
            event_type: self.event_type,
            digest: self.digest.to_vec(),
            component: self.component.clone(),
            claimed: self.event.is_some_and(|event| !event.describe().is_proven()),
        }
    }
}

/// One register whose value is not the expected one.
pub(crate) struct Register<'a> {
    pub(crate) registers: Registers,
    pub(crate) register: u32,
    pub(crate) alg: HashAlg,
    pub(crate) expected: Vec<Expected<'a>>,
    pub(crate) found: Vec<&'a Event<'a>>,
    pub(crate) startup_locality: u8,
    /// Whether the log was proven for this register.
    pub(crate) proven: bool,
    pub(crate) believed: &'a Option<Believed<'a>>,
    pub(crate) cmdlines: Cmdlines<'a>,
}

impl Register<'_> {
    /// At most `limit` differences, in the order of the events.
    pub(crate) fn differences(&self, limit: usize) -> Vec<Difference> {
        let expected: Vec<&[u8]> = self.expected.iter().map(|e| e.digest).collect();
        let found: Vec<&[u8]> = self.found.iter().filter_map(|e| e.digest(self.alg)).collect();
        let steps = align(&expected, &found);
        if steps.is_empty() {
            return vec![self.start()];
        }
        let told = |(n, step): (usize, &Step)| match (step, steps.get(n + 1)) {
            // A section's name and contents come in pairs: one sentence for both.
            (Step::Added(j), Some(Step::Added(k))) if j + 1 == *k && self.found_name(*j).is_some() => None,
            (Step::Missing(i), Some(Step::Missing(k))) if i + 1 == *k && self.expects_name(*i) => None,
            _ => self.difference(*step),
        };
        steps.iter().enumerate().filter_map(told).take(limit).collect()
    }

    fn difference(&self, step: Step) -> Option<Difference> {
        Some(match step {
            Step::Changed(i, j) => {
                let (want, event) = (self.expected.get(i)?, *self.found.get(j)?);
                let sentence = self.changed(want, event);
                let (want, found) = (want.side(), self.found_side(event, None)?);
                let component = want.component.clone();
                self.build(DifferenceKind::Changed, Some(want), Some(found), component, false, sentence)
            }
            Step::Missing(i) => {
                let want = self.expected.get(i)?.side();
                let component = want.component.clone();
                let sentence = format!("{component} is missing");
                self.build(DifferenceKind::Missing, Some(want), None, component, false, sentence)
            }
            Step::Added(j) => {
                let found = self.found_side(self.found.get(j)?, Some(j))?;
                let (component, claimed) = (found.component.clone(), found.claimed);
                let sentence = match claimed {
                    true => format!("an event was added, which the log calls: {component}"),
                    false => format!("{component} added"),
                };
                self.build(DifferenceKind::Added, None, Some(found), component, claimed, sentence)
            }
        })
    }

    /// What to say of an event that has another digest than the expected one. The name is the expected one's.
    fn changed(&self, want: &Expected<'_>, event: &Event<'_>) -> String {
        if let Some(words) = self.command_line(event, &want.component) {
            return words;
        }
        let described = event.describe();
        if let Some(words) = want.event.and_then(|old| self.texts(old, event, want)) {
            return words;
        }
        match described.is_proven() && described.component != want.component {
            true => format!("{} became {}", want.component, described.component),
            false => format!("{} changed", want.component),
        }
    }

    /// What two texts differ in that their events' digests cover: command lines, and what else is too long to be shown whole.
    fn texts(&self, old: &Event<'_>, new: &Event<'_>, want: &Expected<'_>) -> Option<String> {
        let (before, after) = (old.measured_text()?, new.measured_text()?);
        let (name, _) = want.component.split_once(" `")?;
        if name.starts_with(cmdline::COMPONENT) {
            return Some(format!("{}: {}", cmdline::COMPONENT, cmdline::difference(&before, &after)));
        }
        let described = new.describe();
        let same_label = described.component.starts_with(&format!("{name} `"));
        let clipped = described.component.ends_with("…`") || want.component.ends_with("…`");
        match (same_label, clipped) {
            (false, _) => None,
            (true, true) => Some(format!("{name}: {}", cmdline::difference(&before, &after))),
            (true, false) => Some(format!("{} became `{}`", want.component, printable(&after))),
        }
    }

    /// An event of the log; for one that was added, the name before it says which section of the UKI it is.
    fn found_side(&self, event: &Event<'_>, added: Option<usize>) -> Option<Side> {
        let described = event.describe();
        let claimed = !described.is_proven();
        let section = added.and_then(|j| self.found_name(j.checked_sub(1)?));
        let (component, claimed) = match section {
            Some(section) => (format!("section {section} of the UKI"), false),
            None => (described.component, claimed),
        };
        let digest = event.digest(self.alg)?.to_vec();
        Some(Side { event: Some(event.index), event_type: event.event_type, digest, component, claimed })
    }

    /// Whether this register has the sections of a UKI.
    fn has_sections(&self) -> bool {
        self.register == self.registers.sections()
    }

    /// The section whose name an event measures, proven by its digest.
    fn found_name(&self, j: usize) -> Option<String> {
        self.found.get(j).filter(|_| self.has_sections())?.names_section()
    }

    /// Whether a section's name is expected here.
    fn expects_name(&self, i: usize) -> bool {
        let digest = self.expected.get(i).filter(|_| self.has_sections()).map(|e| e.digest);
        let is = |name: &&str| Some(hash(self.alg, &[name.as_bytes(), &[0]]).get()) == digest;
        digest.is_some() && SECTIONS.iter().any(is)
    }

    /// The sentence on the command line, where `event` measures it and the text is believed.
    fn command_line(&self, event: &Event<'_>, component: &str) -> Option<String> {
        let believed = self.believed.as_ref()?;
        let index = Some(event.index);
        let words = match self.cmdlines.expected {
            Some(expected) => {
                format!("{}: {}", cmdline::COMPONENT, cmdline::difference(expected, believed.text))
            }
            None => format!("{} is `{}`", cmdline::COMPONENT, printable(believed.text)),
        };
        if index == believed.load_options || index == believed.section {
            return Some(words);
        }
        // The section holds more than the text, but PCR 9 proves what the kernel made of it.
        (index == believed.section_at).then(|| format!("{component} changed; {words}"))
    }

    fn start(&self) -> Difference {
        let (component, sentence) = match (self.registers, self.register) {
            (Registers::Pcrs, 0) => {
                let locality = self.startup_locality;
                ("startup locality", format!("the TPM was started from locality {locality}, unlike expected"))
            }
            _ => ("value", "all events agree and the value does not".to_owned()),
        };
        self.build(DifferenceKind::Start, None, None, component.to_owned(), false, sentence)
    }

    fn build(
        &self,
        kind: DifferenceKind,
        expected: Option<Side>,
        found: Option<Side>,
        component: String,
        claimed: bool,
        sentence: String,
    ) -> Difference {
        let sentence = format!("{}: {sentence}", self.registers.label(self.register));
        Difference {
            registers: self.registers,
            register: self.register,
            kind,
            expected,
            found,
            component,
            claimed,
            proven: self.proven,
            sentence,
        }
    }
}
