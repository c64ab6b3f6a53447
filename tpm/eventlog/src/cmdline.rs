//! The kernel command line: when a text is believed, and what two of them differ in.

use crate::event::EventLog;
use crate::hash::hash;
use crate::text::{printable, to_utf16};
use ccnode_evidence::HashAlg;
use std::collections::HashMap;

/// How many words of each kind a sentence names.
const WORDS: usize = 6;

/// The section of a UKI that holds the command line.
const SECTION: &str = ".cmdline";

/// What a command line is called, alone or before what else is to say of it.
pub(crate) const COMPONENT: &str = "kernel command line";

/// The kernel command lines to compare.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cmdlines<'a> {
    /// What the node says /proc/cmdline holds; believed only where a measured digest covers it.
    pub found: Option<&'a str>,
    /// What the image's tuple says.
    pub expected: Option<&'a str>,
}

/// A command line that a digest of the log covers.
#[derive(Clone, Debug)]
pub(crate) struct Believed<'a> {
    /// The text without what ends it.
    pub(crate) text: &'a str,
    /// Position of PCR 9's load-options event, where its digest covers the text.
    pub(crate) load_options: Option<usize>,
    /// Position of PCR 11's event for the contents of `.cmdline`, where its digest covers the text.
    pub(crate) section: Option<usize>,
    /// Position of that event, covered or not.
    pub(crate) section_at: Option<usize>,
}

/// Believes `text` (as /proc/cmdline has it) only where a measurement of it is in the log: PCR 9's load options, which the
/// kernel's EFI stub hashes as UTF-16LE with what ends them, or the UKI section that sd-stub hashes as it is. Registers that
/// `trusted` refuses count for nothing.
pub(crate) fn believe<'a>(
    log: &EventLog<'_>,
    alg: HashAlg,
    text: &'a str,
    trusted: impl Fn(u32) -> bool,
) -> Option<Believed<'a>> {
    if alg == HashAlg::Sha1 {
        return None;
    }
    let text = text.strip_suffix('\n').unwrap_or(text);
    let ends = ["", "\0", "\n", "\n\0", " \0"];
    let is = |digest: Option<&[u8]>, encode: &dyn Fn(&str) -> Vec<u8>| {
        let one = |end: &&str| digest == Some(hash(alg, &[&encode(text), &encode(end)]).get());
        ends.iter().any(one)
    };
    let (stub, sections) = (log.registers.stub(), log.registers.sections());
    let load_options = log
        .extending(stub)
        .find(|e| trusted(stub) && e.is_load_options())
        .filter(|e| is(e.digest(alg), &to_utf16))
        .map(|e| e.index);
    let contents = section_event(log).filter(|_| trusted(sections));
    let section_at = contents.map(|e| e.index);
    let narrow = |s: &str| s.as_bytes().to_vec();
    let section = contents.filter(|e| is(e.digest(alg), &narrow)).map(|e| e.index);
    (load_options.is_some() || section.is_some()).then_some(Believed {
        text,
        load_options,
        section,
        section_at,
    })
}

/// The event that follows the measured name `.cmdline` among the sections of the UKI.
fn section_event<'a>(log: &'a EventLog<'_>) -> Option<&'a crate::Event<'a>> {
    let mut events = log.extending(log.registers.sections());
    events.find(|e| e.names_section().as_deref() == Some(SECTION))?;
    events.next()
}

/// What was added to and removed from a command line, in words: "`init=/bin/sh` added; `quiet` removed".
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let (expected, found) = (words(expected), words(found));
    let (added, removed) = (beyond(&found, &expected), beyond(&expected, &found));
    let part = |words: &[&str], what: &str| {
        let named: Vec<String> = words.iter().take(WORDS).map(|w| format!("`{}`", printable(w))).collect();
        let more = match words.len().saturating_sub(WORDS) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("{}{more} {what}", named.join(" "))
    };
    match (added.is_empty(), removed.is_empty()) {
        (false, false) => format!("{}; {}", part(&added, "added"), part(&removed, "removed")),
        (false, true) => part(&added, "added"),
        (true, false) => part(&removed, "removed"),
        (true, true) => "the same words, in another order or spacing".to_owned(),
    }
}

/// The words of `these` beyond those that `those` has, with repetitions counted.
fn beyond<'a>(these: &[&'a str], those: &[&str]) -> Vec<&'a str> {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in those {
        *left.entry(word).or_default() += 1;
    }
    let new = |word: &&str| match left.get_mut(*word) {
        Some(n) if *n > 0 => {
            *n -= 1;
            false
        }
        _ => true,
    };
    these.iter().copied().filter(new).collect()
}

/// Splits at white space outside double quotes, as the kernel does.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let split = line.split(move |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    });
    split.filter(|w| !w.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_changed() {
        assert_eq!(difference("a b", "a init=/bin/sh b"), "`init=/bin/sh` added");
        assert_eq!(difference("a b quiet", "a b c"), "`c` added; `quiet` removed");
        assert_eq!(difference("a a b", "a b"), "`a` removed");
        assert_eq!(difference("a b", "b  a"), "the same words, in another order or spacing");
        assert_eq!(difference("", "x=\"a b\" y"), "`x=\\u{22}a b\\u{22}` `y` added".replace("\\u{22}", "\""));
        assert_eq!(difference("", "1 2 3 4 5 6 7 8"), "`1` `2` `3` `4` `5` `6` and 2 more added");
    }

    #[test]
    fn foreign_words_cannot_move_the_cursor() {
        assert_eq!(difference("", "a\u{1b}[2J"), "`a\\u{1b}[2J` added");
    }
}
