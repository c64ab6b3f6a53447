//! One difference between what was measured and what was expected.

use crate::event::Registers;
use ccnode_evidence::PcrIndex;

/// What is wrong about an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DifferenceKind {
    /// It has another digest.
    Changed,
    /// Nothing expects such an event.
    Added,
    /// The log has no such event.
    Missing,
    /// The events agree and the value does not: the register started elsewhere.
    Start,
}

impl DifferenceKind {
    /// For machines: "changed", "added", "missing", "start".
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Missing => "missing",
            Self::Start => "start",
        }
    }
}

/// An event on one side of a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Side {
    /// Its position in the log; `None` in a tuple.
    pub event: Option<usize>,
    /// TCG event type, a hint.
    pub event_type: u32,
    /// What is extended, in the bank of the comparison.
    pub digest: Vec<u8>,
    /// The component in words, safe to print.
    pub component: String,
    /// Whether `component` is only the log's claim.
    pub claimed: bool,
}

/// One difference, register by register in the order of naming: the first is the one to name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What `register` counts.
    pub registers: Registers,
    /// The register.
    pub register: u32,
    /// What is wrong.
    pub kind: DifferenceKind,
    /// The event that is expected; `None` where one was added.
    pub expected: Option<Side>,
    /// The event that was extended; `None` where it is missing.
    pub found: Option<Side>,
    /// The component in words: the expected one's, or for an added event the log's.
    pub component: String,
    /// Whether `component` is only the log's claim.
    pub claimed: bool,
    /// Whether the log was proven for this register; if not, all of this is a claim.
    pub proven: bool,
    /// The difference in one sentence, safe to print.
    pub sentence: String,
}

impl Difference {
    /// The PCR; `None` for a register of a confidential VM.
    pub fn pcr(&self) -> Option<PcrIndex> {
        (self.registers == Registers::Pcrs).then(|| PcrIndex::new(self.register).ok()).flatten()
    }
}
