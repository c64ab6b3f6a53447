//! What a verification found: a tree for people, reasons and claims for machines, one verdict from both.

use crate::output;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::IsTerminal as _;

/// What all of it comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// All that evidence of this kind can prove is proven.
    Valid,
    /// Nothing is wrong, but something that can be given is missing: certificates, collateral, a key.
    Incomplete,
    /// Something is wrong, or can't be read.
    Invalid,
}

impl Verdict {
    /// 0, 5 or 3.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Incomplete => 5,
            Self::Invalid => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Incomplete => "incomplete",
            Self::Invalid => "invalid",
        }
    }
}

/// How one statement stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// A check says so.
    Proven,
    /// Said by what is proven above it, or of no consequence.
    Plain,
    /// Nobody proves it; that is how evidence of this kind is.
    Unproven,
    /// What would prove it was not given.
    Missing,
    /// A check failed.
    Wrong,
}

/// A statement with what it rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Branch {
    standing: Standing,
    text: String,
    below: Vec<Branch>,
}

impl Branch {
    pub(crate) fn new(standing: Standing, text: impl Into<String>) -> Self {
        Self { standing, text: printable(&text.into()), below: Vec::new() }
    }

    pub(crate) fn proven(text: impl Into<String>) -> Self {
        Self::new(Standing::Proven, text)
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Standing::Plain, text)
    }

    /// With `branch` below it.
    pub(crate) fn with(mut self, branch: Self) -> Self {
        self.below.push(branch);
        self
    }

    pub(crate) fn push(&mut self, branch: Self) {
        self.below.push(branch);
    }
}

/// Foreign text, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    ccnode_evidence::printable(text, usize::MAX)
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Reason {
    code: String,
    detail: String,
}

/// A verification in the making.
#[derive(Debug)]
pub(crate) struct Report {
    kind: &'static str,
    title: String,
    branches: Vec<Branch>,
    reasons: Vec<Reason>,
    /// Reasons that leave the verdict alone: told after those that made it.
    weaknesses: Vec<Reason>,
    claims: Map<String, Value>,
    verdict: Verdict,
}

impl Report {
    /// Evidence of `kind`; valid until something says otherwise.
    pub(crate) fn new(kind: &'static str, title: impl Into<String>) -> Self {
        Self {
            kind,
            title: printable(&title.into()),
            branches: Vec::new(),
            reasons: Vec::new(),
            weaknesses: Vec::new(),
            claims: Map::new(),
            verdict: Verdict::Valid,
        }
    }

    pub(crate) fn title(&mut self, title: impl Into<String>) {
        self.title = printable(&title.into());
    }

    pub(crate) fn push(&mut self, branch: Branch) {
        self.branches.push(branch);
    }

    /// A check failed: the verdict is invalid.
    pub(crate) fn wrong(&mut self, code: impl ToString, detail: impl ToString) {
        self.because(Standing::Wrong, Verdict::Invalid, code, detail);
    }

    /// What would prove it was not given: the verdict is incomplete at best.
    pub(crate) fn missing(&mut self, code: impl ToString, detail: impl ToString) {
        self.because(Standing::Missing, Verdict::Incomplete, code, detail);
    }

    /// Nobody can prove it of evidence of this kind, or nobody asked: the verdict stays, and people are told.
    pub(crate) fn unproven(&mut self, text: impl Into<String>) {
        let text = printable(&text.into());
        if let Value::Array(list) = self.claims.entry("unproven").or_insert_with(|| json!([])) {
            list.push(json!(text));
        }
        self.branches.push(Branch::new(Standing::Unproven, text));
    }

    /// It holds, and is worth less than it looks: the verdict stays, and machines are told by a code as well.
    pub(crate) fn weak(&mut self, code: impl ToString, detail: impl ToString) {
        let reason = self.reason(Standing::Unproven, code, detail);
        self.weaknesses.push(reason);
    }

    fn because(&mut self, standing: Standing, verdict: Verdict, code: impl ToString, detail: impl ToString) {
        let reason = self.reason(standing, code, detail);
        self.reasons.push(reason);
        self.verdict = self.verdict.worse(verdict);
    }

    fn reason(&mut self, standing: Standing, code: impl ToString, detail: impl ToString) -> Reason {
        let (code, detail) = (code.to_string(), printable(&detail.to_string()));
        self.branches.push(Branch::new(standing, format!("{code}: {detail}")));
        Reason { code, detail }
    }

    pub(crate) fn claim(&mut self, name: &str, value: impl Serialize) {
        self.claims.insert(name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
    }

    /// Takes in what was found of a part: its reasons and verdict count here, its claims lie under `name`.
    pub(crate) fn absorb(&mut self, name: &str, part: Self) {
        let mut branch = Branch::plain(part.title);
        branch.below = part.branches;
        self.branches.push(branch);
        self.reasons.extend(part.reasons);
        self.weaknesses.extend(part.weaknesses);
        self.verdict = self.verdict.worse(part.verdict);
        self.claims.insert(name.to_owned(), Value::Object(part.claims));
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether a reason has this code.
    #[cfg(test)]
    pub(crate) fn has(&self, code: &str) -> bool {
        self.reasons.iter().any(|reason| reason.code == code)
    }

    /// The machines' form, version 1.
    pub(crate) fn json(&self) -> Value {
        let reasons: Vec<&Reason> = self.reasons.iter().chain(&self.weaknesses).collect();
        json!({
            "version": 1, "kind": self.kind, "verdict": self.verdict, "reasons": reasons, "claims": self.claims,
        })
    }

    /// The people's form; `colour` marks how each statement stands beyond its sign.
    pub(crate) fn tree(&self, colour: bool) -> String {
        let mut text =
            format!("{}: {}\n", self.title, paint(colour, self.verdict.paint(), self.verdict.word()));
        draw(&mut text, &self.branches, "", colour);
        text
    }

    pub(crate) fn print(&self, as_json: bool) -> Result<()> {
        if as_json {
            return output::json(&self.json());
        }
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        output::line(self.tree(colour).trim_end())
    }
}

impl Verdict {
    fn worse(self, other: Self) -> Self {
        if self.exit_rank() >= other.exit_rank() { self } else { other }
    }

    fn exit_rank(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Incomplete => 1,
            Self::Invalid => 2,
        }
    }

    fn paint(self) -> &'static str {
        match self {
            Self::Valid => GREEN,
            Self::Incomplete => YELLOW,
            Self::Invalid => RED,
        }
    }
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";

fn paint(colour: bool, with: &str, text: &str) -> String {
    if colour { format!("{with}{text}\x1b[0m") } else { text.to_owned() }
}

fn draw(text: &mut String, branches: &[Branch], indent: &str, colour: bool) {
    for (n, branch) in branches.iter().enumerate() {
        let last = n + 1 == branches.len();
        let (arm, further) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (sign, with) = match branch.standing {
            Standing::Proven => ("✓ ", GREEN),
            Standing::Plain => ("", ""),
            Standing::Unproven => ("? not proven: ", YELLOW),
            Standing::Missing => ("? missing: ", YELLOW),
            Standing::Wrong => ("✗ ", RED),
        };
        let line = match with {
            "" => branch.text.clone(),
            with => paint(colour, with, &format!("{sign}{}", branch.text)),
        };
        text.push_str(&format!("{indent}{arm}{line}\n"));
        draw(text, &branch.below, &format!("{indent}{further}"), colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        let mut report = Report::new("snp", "a report");
        assert_eq!(report.verdict(), Verdict::Valid);
        report.unproven("freshness");
        assert_eq!(report.verdict(), Verdict::Valid);
        report.missing("snp-certs-missing", "no certificates");
        assert_eq!((report.verdict(), report.verdict().exit_code()), (Verdict::Incomplete, 5));
        report.wrong("snp-signature", "no");
        report.missing("snp-certs-missing", "none");
        assert_eq!((report.verdict(), report.verdict().exit_code()), (Verdict::Invalid, 3));
        let mut whole = Report::new("az-snp-vtpm", "Azure");
        whole.absorb("snp", report);
        assert!(whole.has("snp-signature") && whole.verdict() == Verdict::Invalid);
    }

    #[test]
    fn foreign_text_does_not_reach_the_terminal_raw() {
        let mut report = Report::new("snp", "a \x1b[31mreport");
        report.push(Branch::proven("by \x1b]0;x\x07").with(Branch::plain("a\nb")));
        report.wrong("code", "\x1b[2\u{202e}");
        let text = report.tree(false);
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
        assert_eq!(text, "a ?[31mreport: invalid\n├─ ✓ by ?]0;x?\n│  └─ a?b\n└─ ✗ code: ?[2?\n");
        assert!(report.tree(true).contains("\x1b[31m✗ code"));
    }

    #[test]
    fn json_has_its_form() {
        let mut report = Report::new("tpm-quote", "a quote");
        report.missing("key", "none");
        report.claim("bank", "sha256");
        let want = json!({
            "version": 1, "kind": "tpm-quote", "verdict": "incomplete",
            "reasons": [{"code": "key", "detail": "none"}], "claims": {"bank": "sha256"},
        });
        assert_eq!(report.json(), want);
    }
}
