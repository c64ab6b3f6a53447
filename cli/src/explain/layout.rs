//! Lines for a page of some width: wrapped, in colours where the page has them, in two columns where it is wide enough.

use std::io::IsTerminal as _;

/// The width where nothing says another.
const WIDTH: usize = 80;
/// The least width on which two columns can be read.
const TWO_COLUMNS: usize = 80;
/// The widest that lines get; longer ones are hard to read.
const WIDEST: usize = 200;

/// What lines are written for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) width: usize,
    pub(crate) colour: bool,
    pub(crate) two_columns: bool,
}

impl Page {
    /// Plain lines of 80 characters, as a pipe gets them.
    pub(crate) const PLAIN: Self = Self { width: WIDTH, colour: false, two_columns: false };

    /// What standard output is: a terminal has its width, two columns if they fit, and colours unless NO_COLOR says no.
    pub(crate) fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0));
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self::terminal(width, !unwanted)
    }

    pub(crate) fn terminal(width: usize, colour: bool) -> Self {
        Self { width: width.clamp(30, WIDEST), colour, two_columns: width >= TWO_COLUMNS }
    }

    /// `text` in a style, where the page has colours.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        match (self.colour, style.code()) {
            (true, Some(code)) if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// Appends `text`, wrapped, each line in `style`; the first line stands at `indent`, the others at `hang`.
    pub(crate) fn wrapped(self, out: &mut String, indent: usize, hang: usize, style: Style, text: &str) {
        let room = |at: usize| self.width.saturating_sub(at).max(10);
        for (n, line) in wrap(text, room(indent), room(hang)).iter().enumerate() {
            out.push_str(&" ".repeat(if n == 0 { indent } else { hang }));
            out.push_str(&self.paint(style, line));
            out.push('\n');
        }
    }

    /// Appends two texts side by side, each wrapped in its half, behind `indent`.
    pub(crate) fn columns(self, out: &mut String, indent: usize, left: (Style, &str), right: (Style, &str)) {
        let half = self.width.saturating_sub(indent + 3) / 2;
        let cell = |text| wrap(text, half, half.saturating_sub(2)).into_iter().enumerate();
        let hung = |(n, line): (usize, String)| if n == 0 { line } else { format!("  {line}") };
        let (lefts, rights): (Vec<_>, Vec<_>) =
            (cell(left.1).map(hung).collect(), cell(right.1).map(hung).collect());
        for n in 0..lefts.len().max(rights.len()) {
            let (l, r) = (lefts.get(n).map_or("", String::as_str), rights.get(n).map_or("", String::as_str));
            let pad = " ".repeat(half.saturating_sub(l.chars().count()));
            let line = format!(
                "{}{}{pad} {} {}",
                " ".repeat(indent),
                self.paint(left.0, l),
                self.paint(Style::Faint, "|"),
                self.paint(right.0, r)
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// How a text stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Plain,
    /// What to read first.
    Fault,
    /// Headings.
    Strong,
    /// Side remarks.
    Faint,
    /// On the expected side.
    Expected,
    /// On the side that was found.
    Found,
    /// Nothing wrong.
    Good,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain => return None,
            Self::Fault => "1;31",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Expected | Self::Good => "32",
            Self::Found => "31",
        })
    }
}

/// Breaks at spaces, and where there is none; the first line has `first` characters of room, the others `rest`.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        let room = if lines.len() == 1 { first } else { rest };
        // A word that no line has room for fills this one up.
        if used > 0 && used + 1 + len > room && len <= rest {
            lines.push(String::new());
            used = 0;
        } else if used > 0 {
            push(&mut lines, " ");
            used += 1;
        }
        for c in word.chars() {
            let room = if lines.len() == 1 { first } else { rest };
            if used >= room {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            used += 1;
        }
    }
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_and_within_long_words() {
        assert_eq!(wrap("a bc def", 4, 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefghij", 4, 3), ["abcd", "efg", "hij"]);
        assert_eq!(wrap("", 4, 4), [""]);
        assert_eq!(wrap("ab cdefgh", 4, 4), ["ab c", "defg", "h"]);
        assert_eq!(wrap("ab  cde", 4, 4), ["ab", "cde"]);
    }

    #[test]
    fn columns_keep_the_width() {
        let mut out = String::new();
        let page = Page::terminal(80, false);
        page.columns(&mut out, 2, (Style::Found, &"left ".repeat(20)), (Style::Expected, "right"));
        assert!(out.lines().count() > 2);
        assert!(out.lines().all(|l| l.chars().count() <= 80));
        assert!(out.lines().next().unwrap().ends_with("| right"));
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert_eq!(Page::PLAIN.paint(Style::Fault, "x"), "x");
        assert_eq!(Page::terminal(80, true).paint(Style::Fault, "x"), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Page::terminal(80, true).paint(Style::Plain, "x"), "x");
        assert!(!Page::terminal(79, true).two_columns);
    }
}
