//! Logs and differences as text for people: a tree by register, and one sentence.

use crate::difference::Difference;
use crate::event::{EventLog, Registers};
use crate::view::View;
use std::fmt::Write as _;

/// The log as a tree: a line a register with its replayed value, below it a line an event. What no digest covers is marked `claimed`.
pub fn tree(log: &EventLog<'_>) -> String {
    let view = View::of(log);
    let mut out = view.summary;
    out.push('\n');
    for register in view.registers {
        let value = register.value.as_deref().unwrap_or("value unknown");
        let _ = writeln!(out, "{}  {value}", register.label);
        for event in register.events {
            let digest = event.digest.as_deref().and_then(|d| d.get(..12)).unwrap_or("------------");
            let mark = event.remark().map(|remark| format!("  ({remark})")).unwrap_or_default();
            let _ = writeln!(out, "  #{:<3} {digest} {}: {}{mark}", event.index, event.kind, event.component);
            for detail in event.details {
                let _ = writeln!(out, "         {detail}");
            }
        }
    }
    out
}

/// The first difference's sentence, and in which PCRs there are more; `None` when there is none.
pub fn sentence(differences: &[Difference]) -> Option<String> {
    let (first, rest) = differences.split_first()?;
    let kind = if first.registers == Registers::Pcrs { "PCR " } else { "" };
    let name = |d: &Difference| d.registers.label(d.register).trim_start_matches("PCR ").to_owned();
    let mut more: Vec<String> = rest.iter().map(name).collect();
    more.dedup();
    Some(match rest.len() {
        0 => first.sentence.clone(),
        n => format!("{} ({n} more in {kind}{})", first.sentence, more.join(", ")),
    })
}

/// All differences, a line each in the order of naming.
pub fn differences(differences: &[Difference]) -> String {
    let mut out = String::new();
    for difference in differences {
        let event = difference.found.as_ref().and_then(|side| side.event);
        let at = event.map(|e| format!(" (event {e})")).unwrap_or_default();
        let claim = if difference.proven { "" } else { " [log not proven]" };
        let _ = writeln!(out, "{}{at}{claim}", difference.sentence);
    }
    out
}
