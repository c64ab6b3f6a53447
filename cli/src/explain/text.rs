//! The report as text: what is at fault first, then register by register; one log alone as a tree.

use super::layout::{Page, Style};
use super::report::{Compared, Report};
use super::subject::Subject;
use ccnode_tpm_eventlog::{Difference, DifferenceKind, Side, View};

/// How many characters of a digest tell events apart.
const SHORT: usize = 12;

pub(crate) fn render(report: &Report<'_>, page: Page) -> String {
    let mut out = String::new();
    match &report.b {
        None => {
            page.wrapped(&mut out, 0, 2, Style::Strong, &report.a.name);
            if let Some(log) = report.a.log() {
                tree(&mut out, page, &View::of(log));
                gaps(&mut out, page, &report.a);
            }
        }
        Some(b) => compared(&mut out, page, report, b),
    }
    if !report.proven {
        out.push('\n');
        let note =
            "Nothing here is proven: a log says what happened, and only a quote or report can prove it.";
        page.wrapped(&mut out, 0, 0, Style::Faint, note);
    }
    out
}

fn tree(out: &mut String, page: Page, view: &View) {
    page.wrapped(out, 0, 2, Style::Plain, &view.summary);
    // Components below each other, where there is room for them there.
    let hang = if page.width < 60 { 6 } else { 21 };
    for register in &view.registers {
        out.push('\n');
        let value = register.value.as_deref().unwrap_or("value unknown");
        page.wrapped(out, 0, 7, Style::Strong, &format!("{}  {value}", register.label));
        for event in &register.events {
            let digest = event.digest.as_deref().map_or("-".repeat(SHORT), short);
            let mark = event.remark().map(|remark| format!(", {remark}")).unwrap_or_default();
            let line = format!("#{:<3} {digest}  {}  ({}{mark})", event.index, event.component, event.kind);
            page.wrapped(out, 2, hang, Style::Plain, &line);
            for detail in &event.details {
                page.wrapped(out, hang, hang + 2, Style::Faint, detail);
            }
        }
    }
}

/// Banks that the log announces and does not have for every event.
fn gaps(out: &mut String, page: Page, subject: &Subject<'_>) {
    let Some(log) = subject.log() else { return };
    for alg in &log.algs {
        if let Err(error) = log.replay(*alg) {
            out.push('\n');
            page.wrapped(out, 0, 2, Style::Fault, &format!("bank {} does not replay: {error}", alg.name()));
        }
    }
}

fn compared(out: &mut String, page: Page, report: &Report<'_>, b: &Subject<'_>) {
    for (side, subject) in [("A", &report.a), ("B", b)] {
        page.wrapped(out, 0, 3, Style::Plain, &format!("{side}  {}: {}", subject.name, subject.summary()));
    }
    out.push('\n');
    match report.differences.first() {
        Some(first) => page.wrapped(out, 0, 2, Style::Fault, &first.sentence),
        None => page.wrapped(out, 0, 2, Style::Good, "no difference"),
    }
    let values = report.values();
    let bank = report.alg.map_or("", |alg| alg.name());
    let label = |v: &Compared| report.a.registers().label(v.register);
    let equal: Vec<String> = values.iter().filter(|v| v.equal()).map(label).collect();
    if !equal.is_empty() {
        out.push('\n');
        // "PCR 0, 1, 2"
        let list = equal.join(", ").replace(", PCR ", ", ");
        page.wrapped(out, 0, 2, Style::Good, &format!("equal in the {bank} bank: {list}"));
    }
    let mut rest = report.differences.as_slice();
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|d| d.register == first.register).count();
        let (here, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        out.push('\n');
        page.wrapped(out, 0, 2, Style::Strong, &first.registers.label(first.register));
        if let Some(value) = values.iter().find(|v| v.register == first.register) {
            value_lines(out, page, report, value);
        }
        for difference in here {
            one(out, page, report, difference);
        }
        rest = others;
    }
}

fn value_lines(out: &mut String, page: Page, report: &Report<'_>, value: &Compared) {
    for (side, value, is_a) in [("A", &value.a, true), ("B", &value.b, false)] {
        let value = value.as_deref().unwrap_or("not extended");
        page.wrapped(out, 2, 4, style(report, is_a), &format!("{side} {value}"));
    }
}

fn one(out: &mut String, page: Page, report: &Report<'_>, difference: &Difference) {
    let mark = match difference.kind {
        DifferenceKind::Changed => "~",
        DifferenceKind::Added => "+",
        DifferenceKind::Missing => "-",
        DifferenceKind::Start => "!",
    };
    let label = difference.registers.label(difference.register);
    let sentence = difference.sentence.strip_prefix(&format!("{label}: ")).unwrap_or(&difference.sentence);
    page.wrapped(out, 2, 4, Style::Fault, &format!("{mark} {sentence}"));
    let (a, b) = report.sides(difference);
    if a.is_none() && b.is_none() {
        return;
    }
    let (left, right) = (side_text("A", a), side_text("B", b));
    if page.two_columns {
        page.columns(out, 4, (style(report, true), &left), (style(report, false), &right));
        return;
    }
    for (event, text, is_a) in [(a, left, true), (b, right, false)] {
        if event.is_some() {
            page.wrapped(out, 4, 6, style(report, is_a), &text);
        }
    }
}

/// The expected side is green, what was found is red.
fn style(report: &Report<'_>, is_a: bool) -> Style {
    if report.a_is_expected == is_a { Style::Expected } else { Style::Found }
}

fn side_text(name: &str, side: Option<&Side>) -> String {
    let Some(side) = side else { return format!("{name} -") };
    let number = side.event.map(|event| format!("#{event} ")).unwrap_or_default();
    let claim = if side.claimed { "  (claimed)" } else { "" };
    format!("{name} {number}{} {}{claim}", short(&hex::encode(&side.digest)), side.component)
}

fn short(hex: &str) -> String {
    hex.chars().take(SHORT).collect()
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
