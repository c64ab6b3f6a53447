//! Reads the console of a refused boot: what stands there that nobody of ours wrote, and how long the machine was on.

use anyhow::{Context as _, Result};

use crate::node::REFUSED;

/// The lines below a refusal.
const BELOW: [&str; 5] = ["  pcr: ", "  event: ", "  closest: ", "  next: ", "  id: "];

/// Lines, from ccnode-init's first one on, that are neither its own nor the kernel's nor the echo of `typed`: a prompt, a
/// shell, an answer.
#[must_use]
pub fn answers<'c>(console: &'c str, typed: &[&str]) -> Vec<&'c str> {
    let ours = console.find("ccnode [").and_then(|at| console.get(at..)).unwrap_or_default();
    ours.lines().filter(|line| !(is_expected(line) || is_expected(without_echo(line, typed)))).collect()
}

fn is_expected(line: &str) -> bool {
    let kernel = || line.strip_prefix('[').is_some_and(|rest| seconds(rest).is_some());
    line.is_empty() || line.starts_with("ccnode [") || kernel() || BELOW.iter().any(|b| line.starts_with(b))
}

/// What is echoed may stand before a line of somebody else's.
fn without_echo<'c>(line: &'c str, typed: &[&str]) -> &'c str {
    let words: Vec<&str> = typed.iter().copied().filter(|w| !w.is_empty()).chain(["^C", "^D"]).collect();
    let mut rest = line.trim_end();
    while let Some(less) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = less;
    }
    rest
}

/// Seconds of the guest's clock from the refusal to the kernel's power-off.
///
/// # Errors
/// When the console shows not both.
pub fn from_refusal_to_off(console: &str) -> Result<f64> {
    let time = |mark: &str| {
        let line = console.lines().find(|line| line.contains(mark))?;
        seconds(line.split('[').nth(1)?)
    };
    let refused = time(REFUSED).context("no refusal on the console")?;
    let off = time("reboot: Power down").context("no power-off on the console")?;
    Ok(off - refused)
}

/// `   12.345] …`
fn seconds(text: &str) -> Option<f64> {
    text.split_once(']')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "BdsDxe: loading\r\nccnode [   7.895] discover  ok  TPM (424 ms)\n^C\n\nb\nreboot\n\
        rootccnode [   7.902] measure  ok  log (0 ms)\nccnode [  37.963] refused network-no-carrier: no link\n  \
        next: Connect it.\n  id: 62cb\n[   38.938321] reboot: Power down\n";

    const TYPED: [&str; 5] = ["", "root", "id", "b", "reboot"];

    #[test]
    fn our_lines_the_kernels_and_the_echo_are_no_answers() {
        assert_eq!(answers(CONSOLE, &TYPED), [""; 0]);
        assert_eq!(answers("BdsDxe: nothing of ours", &[]), [""; 0]);
    }

    #[test]
    fn prompts_and_answers_are_seen() {
        for line in
            ["Press Enter", "sh-5.2# id", "uid=0(root)", "id: root", "login: ", "[sh] $", "  pcr?", "reboot?"]
        {
            let console = CONSOLE.replace("^C", line);
            assert_eq!(answers(&console, &TYPED), [line]);
        }
    }

    #[test]
    fn the_wait_is_of_the_guests_clock() {
        assert!((from_refusal_to_off(CONSOLE).unwrap() - 0.975).abs() < 0.01);
        assert!(from_refusal_to_off("ccnode [ 1.0] refused x").is_err());
    }
}
