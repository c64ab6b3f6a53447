//! Text out of foreign bytes: recognised, clipped, and made safe for a console.

/// How many characters of foreign text are shown.
const SHOWN: usize = 160;

/// `text` with control characters, bidirectional marks and backticks escaped, clipped to a line's length.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == SHOWN {
            out.push('…');
            break;
        }
        if c == ' ' || c == '\\' || c.is_ascii_graphic() && c != '`' || c.is_alphanumeric() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// A component's words as a tuple has them: control characters and bidirectional marks escaped, backticks left.
pub(crate) fn tamed(text: &str) -> String {
    let part = |part: &str| printable(part);
    text.split('`').map(part).collect::<Vec<_>>().join("`")
}

/// UTF-16LE text up to a NUL or the end; `None` where it is no text.
pub(crate) fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let units = pairs.iter().map(|p| u16::from_le_bytes(*p)).take_while(|u| *u != 0);
    char::decode_utf16(units).collect::<Result<String, _>>().ok()
}

/// Text as firmware and boot loaders log it: UTF-16LE or ASCII, up to a NUL; `None` where it is neither.
pub(crate) fn any(bytes: &[u8]) -> Option<String> {
    let wide = bytes.len() >= 2 && bytes.get(1) == Some(&0);
    // Old versions of systemd-boot log a byte too many.
    let whole = bytes.get(..bytes.len() & !1).unwrap_or(bytes);
    if wide
        && (whole.len() == bytes.len() || whole.len() > 2)
        && let Some(text) = utf16(whole)
    {
        return shown(text);
    }
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    shown(std::str::from_utf8(bytes.get(..end)?).ok()?.to_owned())
}

/// Text has few control characters; one or the other must not hide the rest of it, since whoever shows it escapes them.
fn shown(text: String) -> Option<String> {
    let odd = text.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\t')).count();
    (odd == 0 || odd * 4 < text.chars().count()).then_some(text)
}

/// UTF-16LE bytes of `text`, without a NUL.
pub(crate) fn to_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_widths() {
        assert_eq!(any(b"MokList\0").as_deref(), Some("MokList"));
        assert_eq!(any(&to_utf16(".cmdline\0")).as_deref(), Some(".cmdline"));
        assert_eq!(any(&[0, 0]).as_deref(), Some(""));
        assert_eq!(any(&[0xff, 0xfe, 1]), None);
        assert_eq!(any(b"\x1b[2J, that is").as_deref(), Some("\x1b[2J, that is"));
        assert_eq!(any(b"\x1b\x02\x031234"), None);
    }

    #[test]
    fn escapes_what_a_console_would_obey() {
        assert_eq!(printable("a\x1b[2J`\u{202e}b\n"), "a\\u{1b}[2J\\u{60}\\u{202e}b\\u{a}");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), SHOWN + 1);
        assert_eq!(printable("\\EFI\\BOOT\\BOOTX64.EFI"), "\\EFI\\BOOT\\BOOTX64.EFI");
    }
}
