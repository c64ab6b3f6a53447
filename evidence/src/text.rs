//! Text of others on its way to terminals and logs: which characters are obeyed there, or hide, and are never shown.

/// Format characters of Unicode 16 (general category Cf), first and last of each run; they print nothing, and turn or join what
/// stands around them.
const FORMAT: [(u32, u32); 21] = [
    (0x00ad, 0x00ad),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x180e, 0x180e),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x2064),
    (0x2066, 0x206f),
    (0xfeff, 0xfeff),
    (0xfff9, 0xfffb),
    (0x1_10bd, 0x1_10bd),
    (0x1_10cd, 0x1_10cd),
    (0x1_3430, 0x1_343f),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0001, 0xe_0001),
    (0xe_0020, 0xe_007f),
];

/// Whether a terminal obeys `c` instead of printing it: control characters, Unicode's line and paragraph separators, and format
/// characters, by which text reads otherwise than it is (Unicode Standard Annex 9).
pub fn is_obeyed(c: char) -> bool {
    let n = u32::from(c);
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || (n >= 0xad && FORMAT.iter().any(|(first, last)| (*first..=*last).contains(&n)))
}

/// The first `most` characters of foreign text, fit for a terminal: `?` stands for what it would obey.
pub fn printable(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if is_obeyed(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_can_not_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b\u{200b}\u{feff}\u{2029}c é", 200), "a?[2J?b???c é");
        assert_eq!(printable("aé\u{202e}b", 3), "aé?");
    }

    #[test]
    fn what_turns_hides_or_breaks_text_is_obeyed() {
        let marks = [0x061c, 0x200e, 0x200f, 0x202a, 0x202e, 0x2066, 0x2069];
        let hidden =
            [0xad, 0x200b, 0x200d, 0x2060, 0x206a, 0x206f, 0xfeff, 0xfff9, 0xe_0001, 0xe_0041, 0xe_007f];
        let controls = [0, 0x07, 0x0a, 0x1b, 0x7f, 0x9b, 0x2028, 0x2029];
        for n in marks.into_iter().chain(hidden).chain(controls) {
            assert!(is_obeyed(char::from_u32(n).unwrap()), "{n:#x}");
        }
    }

    #[test]
    fn what_people_read_is_not() {
        let words = " ~aZ09äß\u{a0}\u{ac}\u{ae}Ωжשעال漢字ー한\u{2010}\u{2019}…€\u{fffd}\u{1f600}\u{10ffff}";
        assert!(!words.chars().any(is_obeyed), "{words}");
        // The characters beside each run.
        for (first, last) in FORMAT {
            for n in [first - 1, last + 1] {
                let c = char::from_u32(n).unwrap();
                let known = c.is_control() || FORMAT.iter().any(|(first, _)| *first == n);
                assert_eq!(is_obeyed(c), known || matches!(n, 0x2028 | 0x2029), "{n:#x}");
            }
        }
    }

    #[test]
    fn runs_are_in_order_and_apart() {
        assert!(FORMAT.iter().all(|(first, last)| first <= last));
        assert!(FORMAT.windows(2).all(|w| matches!(w, [(_, last), (first, _)] if last < first)));
    }
}
