//! Error bodies: the stock `type` and `detail`, and what ours adds.

use ccnode_evidence::Code;
use serde::{Deserialize, Serialize};

/// Every `type` of the protocol starts with this.
pub const PROBLEM_TYPE_BASE: &str = "https://github.com/confidential-containers/kbs/errors/";

/// The body of every error. A client decides on `type` and `code`, never on the status alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// [`PROBLEM_TYPE_BASE`] and the stock variant's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence for people.
    pub detail: String,
    /// Our stable code; absent from a stock service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Finds the decision in the service's log and audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// After a successful activation alone: the PCR at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcr: Option<u8>,
    /// After a successful activation alone: the event at fault, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// After a successful activation alone: the closest known image or platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closest: Option<String>,
    /// After a successful activation alone: every difference from the closest, one sentence each, the event at fault first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

/// Differences that a refusal's text spells out; of the others it gives the number.
const SPELLED_OUT: usize = 20;

/// A refusal as people read it: on the node's console and in the service's audit record alike.
#[derive(Clone, Copy, Debug)]
pub struct RefusalText<'a> {
    /// The stable code.
    pub code: Code,
    /// The sentence.
    pub detail: &'a str,
    /// The PCR at fault.
    pub pcr: Option<u8>,
    /// The event at fault, in words.
    pub event: Option<&'a str>,
    /// The closest known image or platform.
    pub closest: Option<&'a str>,
    /// Every difference from it, the event at fault first.
    pub differences: &'a [String],
    /// The correlation id.
    pub id: &'a str,
}

impl RefusalText<'_> {
    /// What follows the first line, each with its name: `pcr`, `event`, `closest`, `differs`, `next`, `id`.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut line = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
        line("pcr", self.pcr.map(|pcr| pcr.to_string()));
        line("event", self.event.map(str::to_owned));
        line("closest", self.closest.map(str::to_owned));
        // The event at fault was told.
        let told = usize::from(self.event.is_some());
        let others = self.differences.get(told..).unwrap_or_default();
        others.iter().take(SPELLED_OUT).for_each(|difference| line("differs", Some(difference.clone())));
        if let Some(more @ 1..) = others.len().checked_sub(SPELLED_OUT) {
            line("differs", Some(format!("and {more} more")));
        }
        line("next", Some(self.code.action().to_owned()));
        line("id", Some(self.id.to_owned()));
        lines
    }
}

impl std::fmt::Display for RefusalText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused {}: {}", self.code, self.detail)?;
        self.lines().iter().try_for_each(|(name, value)| write!(f, "\n  {name}: {value}"))
    }
}

/// Body of `POST /ccnode/v1/refusals`: a refusal that the node decided itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeRefusal {
    /// What the node's console says.
    pub code: Code,
    /// The sentence beside it, [`crate::limits::REFUSAL_DETAIL`] bytes at most.
    pub detail: String,
    /// The node's own correlation id, printed on its console.
    pub correlation_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_alike_everywhere() {
        let differences: Vec<String> = (0..23).map(|n| format!("PCR 9: event {n}")).collect();
        let text = RefusalText {
            code: Code::ImageUnknown,
            detail: "unlike image a 1, PCR 9: event 0",
            pcr: Some(9),
            event: Some("PCR 9: event 0"),
            closest: Some("image a 1"),
            differences: &differences,
            id: "c-1",
        };
        let all = text.to_string();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "refused image-unknown: unlike image a 1, PCR 9: event 0",
                "  pcr: 9",
                "  event: PCR 9: event 0",
                "  closest: image a 1",
            ]
        );
        assert_eq!((lines[4], lines[23]), ("  differs: PCR 9: event 1", "  differs: PCR 9: event 20"));
        assert_eq!(lines[24], "  differs: and 2 more");
        assert_eq!(lines[25], format!("  next: {}", Code::ImageUnknown.action()));
        assert_eq!(lines[26..], ["  id: c-1"]);
        let bare = RefusalText { pcr: None, event: None, closest: None, differences: &[], ..text };
        assert_eq!(bare.lines().len(), 2);
    }
}
