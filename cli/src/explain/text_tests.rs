use super::*;
use crate::explain::report::Report;
use crate::explain::subject::Subject;

const GOOD: &[u8] = include_bytes!("../../tests/explain/good.log");
const TAMPERED: &[u8] = include_bytes!("../../tests/explain/tampered.log");
const HOSTILE: &[u8] = include_bytes!("../../tests/explain/hostile.log");
const GOOD_CCEL: &[u8] = include_bytes!("../../tests/explain/good.ccel");
const OTHER_CCEL: &[u8] = include_bytes!("../../tests/explain/other.ccel");

fn alone(bytes: &[u8]) -> Report<'_> {
    Report::alone(Subject::parse("one", bytes).unwrap()).unwrap()
}

fn two<'a>(a: &'a [u8], b: &'a [u8]) -> Report<'a> {
    Report::compare(Subject::parse("a", a).unwrap(), Subject::parse("b", b).unwrap(), None).unwrap()
}

#[test]
fn lines_fit_the_page() {
    for width in [30, 60, 79, 80, 100, 200] {
        for report in [alone(GOOD), alone(HOSTILE), two(GOOD, TAMPERED), two(GOOD_CCEL, OTHER_CCEL)] {
            for page in [Page::terminal(width, false), Page { width, ..Page::PLAIN }] {
                for line in render(&report, page).lines() {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                    assert_eq!(line.trim_end(), line);
                }
            }
        }
    }
}

#[test]
fn a_wide_terminal_has_both_sides_beside_each_other() {
    let text = render(&two(GOOD_CCEL, OTHER_CCEL), Page::terminal(100, false));
    let row =
        "    A #3 c00854e86c17 kernel command line `quiet`  | B #3 9a155fed80d4 kernel command line `quiet\n";
    assert!(text.contains(row), "{text}");
    let narrow = render(&two(GOOD_CCEL, OTHER_CCEL), Page::terminal(79, false));
    assert!(
        narrow.contains("    A #3 c00854e86c17 kernel command line `quiet`  (claimed)\n    B #3"),
        "{narrow}"
    );
    assert_eq!(narrow, render(&two(GOOD_CCEL, OTHER_CCEL), Page { width: 79, ..Page::PLAIN }));
}

#[test]
fn colours_change_nothing_else() {
    let report = two(GOOD, TAMPERED);
    let coloured = render(&report, Page::terminal(100, true));
    let mut bare = coloured.replace("\u{1b}[0m", "");
    for code in ["1;31", "1", "2", "32", "31"] {
        bare = bare.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_ne!(bare, coloured);
    assert_eq!(bare, render(&report, Page::terminal(100, false)));
}

#[test]
fn foreign_text_reaches_no_terminal_raw() {
    for report in [alone(HOSTILE), two(GOOD, HOSTILE), two(HOSTILE, GOOD)] {
        let text = render(&report, Page::terminal(100, false));
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
        assert!(text.contains("\\u{1b}]0;owned"), "{text}");
    }
}
