//! Files and the text forms of bytes in them.

use crate::error::Usage;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ccnode_evidence::UnixTime;
use std::io::Read as _;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The largest file that is read, bytes.
pub(crate) const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A file's content; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(what)?;
    } else {
        let file = std::fs::File::open(path).with_context(what)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(what)?;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        bail!(Usage::new(
            format!("{} has more than {MAX_FILE} bytes", path.display()),
            "no evidence is that large"
        ));
    }
    Ok(bytes)
}

/// Bytes written as hex digits, white space aside; `None` where it is something else.
pub(crate) fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let digits = text.strip_prefix(b"0x").unwrap_or(&text);
    if digits.is_empty() { None } else { hex::decode(digits).ok() }
}

/// Bytes written as base64 of either alphabet, white space aside; `None` where it is something else.
pub(crate) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    if text.is_empty() {
        return None;
    }
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(&text).ok())
}

/// A nonce as people write it: hex, or @FILE with its bytes.
pub(crate) fn nonce(text: &str) -> Result<Vec<u8>> {
    if let Some(file) = text.strip_prefix('@') {
        let bytes = read(Path::new(file))?;
        if bytes.is_empty() {
            bail!(Usage::new(format!("--nonce {text}: no bytes"), "an empty nonce binds nothing"));
        }
        return Ok(bytes);
    }
    match decode_hex(text.as_bytes()) {
        Some(bytes) => Ok(bytes),
        None => bail!(Usage::new(format!("--nonce {text}"), "write hex digits, or @FILE with the bytes")),
    }
}

/// A time as people write it: RFC 3339, a date (its midnight, UTC), or seconds since 1970.
pub(crate) fn time(text: &str) -> Result<UnixTime, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(UnixTime(seconds));
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let parsed = OffsetDateTime::parse(&whole, &Rfc3339).ok();
    parsed.and_then(|time| u64::try_from(time.unix_timestamp()).ok()).map(UnixTime).ok_or_else(|| {
        format!("`{text}` is no time: write 2026-05-01, 2026-05-01T12:00:00Z, or seconds since 1970")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_of_bytes() {
        assert_eq!(decode_hex(b"0x00 ff\n"), Some(vec![0, 255]));
        assert_eq!(decode_hex(b""), None);
        assert_eq!(decode_hex(b"0"), None);
        assert_eq!(decode_base64(b"AP8=\n"), Some(vec![0, 255]));
        assert_eq!(decode_base64(b"AP8"), Some(vec![0, 255]));
        assert_eq!(decode_base64(b"_w"), Some(vec![255]));
        assert_eq!(decode_base64(b"!"), None);
        assert_eq!(nonce("9009").unwrap(), [0x90, 0x09]);
        assert!(nonce("challenge").unwrap_err().is::<Usage>());
        assert!(nonce("@/dev/null").unwrap_err().is::<Usage>());
    }

    #[test]
    fn times() {
        for text in ["1970-01-02", "1970-01-02T00:00:00Z", "1970-01-02T01:00:00+01:00", "86400"] {
            assert_eq!(time(text), Ok(UnixTime(86400)), "{text}");
        }
        assert!(time("tomorrow").is_err() && time("1969-12-31").is_err());
    }
}
