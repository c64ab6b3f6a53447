//! The report as one page for a browser: no script, nothing loaded from elsewhere, all text escaped, light and dark.

use super::report::Report;
use super::subject::Subject;
use ccnode_tpm_eventlog::{EventLog, EventView, RegisterView, Side, View};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

pub(crate) fn page(report: &Report<'_>) -> String {
    let title = match &report.b {
        Some(b) => format!("{} and {}", report.a.name, b.name),
        None => report.a.name.clone(),
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Event log</h1>\n",
        escaped(&title)
    );
    header(&mut out, report);
    differences(&mut out, report);
    for (side, subject) in [("A", Some(&report.a)), ("B", report.b.as_ref())] {
        if let Some((subject, log)) = subject.and_then(|s| Some((s, s.log()?))) {
            let name = if report.b.is_some() { format!("Events of {side}") } else { "Events".to_owned() };
            tree(&mut out, &name, subject, log, report);
        }
    }
    if !report.proven {
        out.push_str(
            "<p class=\"note\">Nothing here is proven: a log says what happened, and only a quote or report can prove it.</p>\n",
        );
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn header(out: &mut String, report: &Report<'_>) {
    out.push_str("<dl class=\"subjects\">\n");
    let sides = if report.b.is_some() { ["A", "B"] } else { ["Log", ""] };
    for (side, subject) in sides.into_iter().zip([Some(&report.a), report.b.as_ref()]) {
        let Some(subject) = subject else { continue };
        let (name, what) = (escaped(&subject.name), escaped(&subject.summary()));
        let _ = writeln!(out, "<dt>{side}</dt><dd><b>{name}</b><br>{what}</dd>");
    }
    out.push_str("</dl>\n");
}

fn differences(out: &mut String, report: &Report<'_>) {
    if report.b.is_none() {
        return;
    }
    let Some(first) = report.differences.first() else {
        out.push_str("<p class=\"fault none\">No difference</p>\n");
        return;
    };
    let _ = writeln!(out, "<p class=\"fault\">{}</p>", escaped(&first.sentence));
    let values = report.values();
    let equal: Vec<String> =
        values.iter().filter(|v| v.equal()).map(|v| report.a.registers().label(v.register)).collect();
    let bank = report.alg.map_or("", |alg| alg.name());
    if !equal.is_empty() {
        let _ = writeln!(out, "<p class=\"equal\">Equal in the {bank} bank: {}</p>", equal.join(", "));
    }
    out.push_str("<h2>Differences</h2>\n<table class=\"differences\">\n<thead><tr><th></th><th>A</th><th>B</th></tr></thead>\n<tbody>\n");
    let mut last = None;
    for difference in &report.differences {
        if last != Some(difference.register) {
            last = Some(difference.register);
            let value = values.iter().find(|v| v.register == difference.register);
            let shown = |value: Option<&String>| value.map_or("not extended", |v| v.as_str()).to_owned();
            let (a, b) = (value.and_then(|v| v.a.as_ref()), value.and_then(|v| v.b.as_ref()));
            let label = difference.registers.label(difference.register);
            let _ = writeln!(
                out,
                "<tr class=\"register\"><th scope=\"row\">{label}</th><td><code>{}</code></td><td><code>{}</code></td></tr>",
                shown(a),
                shown(b)
            );
        }
        let (a, b) = report.sides(difference);
        let kind = difference.kind.name();
        let _ = writeln!(
            out,
            "<tr class=\"sentence\"><td class=\"{kind}\">{kind}</td><td colspan=\"2\">{}</td></tr>",
            escaped(&difference.sentence)
        );
        if a.is_some() || b.is_some() {
            let (left, right) =
                if report.a_is_expected { ("expected", "found") } else { ("found", "expected") };
            let _ = writeln!(
                out,
                "<tr><td></td><td class=\"{left}\">{}</td><td class=\"{right}\">{}</td></tr>",
                side(a),
                side(b)
            );
        }
    }
    out.push_str("</tbody>\n</table>\n");
}

fn side(side: Option<&Side>) -> String {
    let Some(side) = side else { return "none".to_owned() };
    let number =
        side.event.map(|event| format!("<span class=\"index\">#{event}</span> ")).unwrap_or_default();
    let claim = if side.claimed { " <span class=\"remark\">claimed</span>" } else { "" };
    format!("{number}{}{claim}<br><code>{}</code>", escaped(&side.component), hex::encode(&side.digest))
}

fn tree(out: &mut String, name: &str, subject: &Subject<'_>, log: &EventLog<'_>, report: &Report<'_>) {
    let view = View::of(log);
    let _ = writeln!(out, "<h2>{name}</h2>");
    for register in &view.registers {
        let at_fault = report.differences.iter().any(|d| d.register == register.register);
        // Alone, all is open to read; in a comparison, what differs.
        let open = if report.b.is_none() || at_fault { " open" } else { "" };
        let _ = writeln!(
            out,
            "<details{open}>\n<summary>{} <span class=\"count\">{}</span></summary>",
            register.label,
            count(register.events.len())
        );
        banks(out, subject, log, register);
        out.push_str("<table class=\"events\">\n<tbody>\n");
        for event in &register.events {
            row(out, event);
        }
        out.push_str("</tbody>\n</table>\n</details>\n");
    }
}

fn count(events: usize) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{events} events") }
}

/// The register's value in every bank.
fn banks(out: &mut String, subject: &Subject<'_>, log: &EventLog<'_>, register: &RegisterView) {
    out.push_str("<dl class=\"banks\">\n");
    for alg in &log.algs {
        let values = subject.values(*alg);
        if let Some((_, value)) = values.iter().find(|(r, _)| *r == register.register) {
            let _ = writeln!(out, "<dt>{}</dt><dd><code>{value}</code></dd>", alg.name());
        }
    }
    out.push_str("</dl>\n");
}

fn row(out: &mut String, event: &EventView) {
    let remark = event.remark().map(|r| format!(" <span class=\"remark\">{r}</span>")).unwrap_or_default();
    let digest = event.digest.as_deref().map_or("not extended".to_owned(), |d| format!("<code>{d}</code>"));
    let details: String = event.details.iter().map(|d| format!("<br>{}", escaped(d))).collect();
    let details = if details.is_empty() {
        details
    } else {
        format!("<div class=\"details\">{}</div>", details.trim_start_matches("<br>"))
    };
    let _ = writeln!(
        out,
        "<tr><td class=\"index\">#{}</td><td>{}{remark}{details}<div class=\"measured\">{} · {digest}</div></td></tr>",
        event.index,
        escaped(&event.component),
        escaped(&event.kind)
    );
}

/// Text of others in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if ccnode_evidence::is_obeyed(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
