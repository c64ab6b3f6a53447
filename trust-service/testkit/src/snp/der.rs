//! DER, as much as certificates and revocation lists of a test chain need.

/// One element: tag, length in the shortest form, content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(u8::try_from(len).expect("short")),
        0x80..0x100 => out.extend([0x81, u8::try_from(len).expect("a byte")]),
        _ => {
            out.push(0x82);
            out.extend(u16::try_from(len).expect("two bytes").to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

pub(super) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// OBJECT IDENTIFIER from its encoded arcs.
pub(super) fn oid(arcs: &[u8]) -> Vec<u8> {
    tlv(0x06, arcs)
}

/// A non-negative INTEGER.
pub(super) fn uint(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let from = bytes.iter().position(|b| *b != 0).unwrap_or(7);
    let mut content = bytes.get(from..).expect("within").to_vec();
    if content.first().is_some_and(|b| b & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// A BIT STRING of whole bytes.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

/// Midnight of January 1st: UTCTime before 2050, GeneralizedTime from then on (RFC 5280, section 4.1.2.5).
pub(super) fn new_year(year: u16) -> Vec<u8> {
    if (1950..2050).contains(&year) {
        tlv(0x17, format!("{:02}0101000000Z", year % 100).as_bytes())
    } else {
        tlv(0x18, format!("{year:04}0101000000Z").as_bytes())
    }
}

/// An X.509 extension.
pub(super) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![oid(id)];
    if critical {
        parts.push(tlv(0x01, &[0xff]));
    }
    parts.push(octets(value));
    seq(&parts)
}
