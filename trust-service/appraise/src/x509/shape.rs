//! What of a certificate no signature covers, byte for byte: the parser would take sloppier ones.

use crate::reader::Reader;

/// `None` unless the certificate is exactly SEQUENCE { signed part, algorithm, BIT STRING of whole bytes } in DER, with the same
/// algorithm inside, byte for byte.
pub(super) fn same_algorithm(der: &[u8]) -> Option<()> {
    let mut outer = Reader::new(der);
    let mut certificate = Reader::new(element(&mut outer, 0x30)?);
    outer.end().ok()?;
    let mut signed = Reader::new(element(&mut certificate, 0x30)?);
    let algorithm = element(&mut certificate, 0x30)?;
    let signature = element(&mut certificate, 0x03)?;
    certificate.end().ok()?;
    let _version = element(&mut signed, 0xa0)?;
    let _serial = element(&mut signed, 0x02)?;
    let same = element(&mut signed, 0x30)? == algorithm;
    (same && signature.first() == Some(&0)).then_some(())
}

/// Content of one element of this tag, its length in the one form that DER has for it.
fn element<'a>(r: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    if r.u8() != Ok(tag) {
        return None;
    }
    let len = match r.u8().ok()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => r.u8().ok().filter(|len| *len >= 0x80)?.into(),
        0x82 => r.u16().ok().filter(|len| *len >= 0x100)?.into(),
        _ => return None,
    };
    r.take(len).ok()
}
