//! The kernel command line: when a text is believed, and what two of them differ in.

use crate::event::EventLog;
use crate::text::{printable, to_utf16};
use ccnode_evidence::Sha256Digest;
use std::collections::HashMap;

/// How many words of each kind a sentence names.
const WORDS: usize = 6;

/// The section of a UKI that holds the command line.
const SECTION: &str = ".cmdline";

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
    log: &EventLog,
    text: &'a str,
    trusted: impl Fn(u32) -> bool,
) -> Option<Believed<'a>> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let ends = ["", "\0", "\n", "\n\0", " \0"];
    let hash_all = |encode: &dyn Fn(&str) -> Vec<u8>| -> Vec<Sha256Digest> {
        ends.iter().map(|end| Sha256Digest::of(&[encode(text), encode(end)].concat())).collect()
    };
    let wide = hash_all(&|s| to_utf16(s));
    let narrow = hash_all(&|s| s.as_bytes().to_vec());

    let is = |digest: Option<Sha256Digest>, of: &[Sha256Digest]| digest.is_some_and(|d| of.contains(&d));
    let load_options = log
        .events
        .iter()
        .find(|e| e.register == 9 && trusted(9) && e.extends() && e.is_load_options())
        .filter(|e| is(e.sha256(), &wide))
        .map(|e| e.index);
    let contents = section_event(log).filter(|_| trusted(11));
    let section_at = contents.map(|e| e.index);
    let section = contents.filter(|e| is(e.sha256(), &narrow)).map(|e| e.index);
    (load_options.is_some() || section.is_some()).then_some(Believed {
        text,
        load_options,
        section,
        section_at,
    })
}

/// The event that follows the measured name `.cmdline` in PCR 11.
fn section_event(log: &EventLog) -> Option<&crate::Event> {
    let mut events = log.events.iter().filter(|e| e.register == 11 && e.extends());
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
