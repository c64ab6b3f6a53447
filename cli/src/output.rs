//! What people read (tables, times) and what machines read (JSON) on standard output.

use anyhow::Result;
use ccnode_evidence::is_obeyed;
use serde::Serialize;
use std::io::Write as _;

/// Prints a line of data.
pub(crate) fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints `value` as JSON, indented.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(&tame(&serde_json::to_string_pretty(value)?))
}

/// JSON without characters that a terminal obeys and serde_json leaves: they stand in strings alone, and are escaped there.
fn tame(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' => out.push(c),
            // JSON names characters by their UTF-16.
            c if is_obeyed(c) => {
                out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            c => out.push(c),
        }
    }
    out
}

/// Prints a table with a heading; columns are as wide as their widest cell.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<()> {
    let mut widths = head.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    line(&render(head.map(|h| h)).to_uppercase())?;
    for row in rows {
        line(&render(row.each_ref().map(String::as_str)))?;
    }
    Ok(())
}

/// Prints `key: value` lines, values aligned.
pub(crate) fn fields(pairs: &[(&str, String)]) -> Result<()> {
    let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in pairs {
        line(format!("{key:<width$}  {value}").trim_end())?;
    }
    Ok(())
}

/// Seconds since 1970 as RFC 3339 in UTC.
pub(crate) fn time(seconds: u64) -> String {
    ccnode_evidence::UnixTime(seconds).to_string()
}

/// A value's name as its JSON says it: `danger-host-is-trusted`.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// An optional value, or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |v| v.to_string())
}

/// The first twelve digits of an id, which every command takes.
pub(crate) fn short(id: &ccnode_evidence::Sha256Digest) -> String {
    id.hex().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_steer_the_terminal() {
        let value = serde_json::json!({ "a\u{9b}2J": ["\u{1b}[2J", "x\u{7f}\u{202e}y", "\u{e0041}\u{200b}\u{2028}", "é"] });
        let text = tame(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| c == '\n' || !is_obeyed(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
