//! Makes hostile text safe for consoles and logs: escaped and cut short.

const MAX: usize = 120;

/// `text` with control and non-ASCII characters escaped, cut after 120 characters.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for piece in text.chars().map(char::escape_default) {
        if out.len() + piece.len() > MAX {
            out.push('…');
            return out;
        }
        // A quote needs no escape where no quotes stand around the text.
        match piece.clone().eq("\\\"".chars()) {
            true => out.push('"'),
            false => out.extend(piece),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_reach_a_console() {
        assert_eq!(escape("a\x1b[2Jb\n\u{202e}"), "a\\u{1b}[2Jb\\n\\u{202e}");
        assert_eq!(escape("{\"a\":1}"), "{\"a\":1}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(escape(&"x".repeat(500)).chars().count(), MAX + 1);
    }
}
