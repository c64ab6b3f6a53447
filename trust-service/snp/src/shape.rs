//! What of a certificate or a revocation list no signature covers, byte for byte: the parser would take sloppier ones.

use crate::reader::Reader;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// What stands before the algorithm in a TBSCertificate: version and serial number.
pub(crate) const CERTIFICATE: &[u8] = &[0xa0, 0x02];
/// What stands before it in a TBSCertList: the version.
pub(crate) const LIST: &[u8] = &[0x02];

/// Whether it is exactly SEQUENCE { signed part, algorithm, BIT STRING of whole bytes } in DER, with the same algorithm inside, byte for
/// byte, behind elements of the tags `before`.
pub(crate) fn is_exact(der: &[u8], before: &[u8]) -> bool {
    exact(der, before).is_some()
}

fn exact(der: &[u8], before: &[u8]) -> Option<()> {
    let mut outer = Reader::new(der);
    let mut parts = Reader::new(element(&mut outer, SEQUENCE)?);
    let mut signed = Reader::new(element(&mut parts, SEQUENCE)?);
    let algorithm = element(&mut parts, SEQUENCE)?;
    let signature = element(&mut parts, BIT_STRING)?;
    for tag in before {
        element(&mut signed, *tag)?;
    }
    let same = element(&mut signed, SEQUENCE)? == algorithm;
    (same && signature.first() == Some(&0) && parts.is_empty() && outer.is_empty()).then_some(())
}

/// Content of one element of this tag, its length in the one form that DER has for it.
fn element<'a>(r: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    let [seen, first] = r.array()?;
    if seen != tag {
        return None;
    }
    let len = match first {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(r.array::<1>().map(|[len]| len).filter(|len| *len >= 0x80)?),
        0x82 => usize::from(r.array().map(u16::from_be_bytes).filter(|len| *len >= 0x100)?),
        0x83 => {
            let [a, b, c] = r.array::<3>().filter(|[a, ..]| *a != 0)?;
            usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?
        }
        _ => return None,
    };
    r.take(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form() {
        let of = |bytes: &[u8]| element(&mut Reader::new(bytes), 4).map(<[u8]>::len);
        assert_eq!(of(&[4, 1, 7]), Some(1));
        assert_eq!(of(&[5, 1, 7]), None);
        assert_eq!(of(&[4, 0x81, 1, 7]), None);
        assert_eq!(of(&[4, 0x82, 0, 1, 7]), None);
        assert_eq!(of(&[4, 0x80, 0, 0]), None);
        for (head, len) in
            [(&[4, 0x81, 0x80][..], 0x80), (&[4, 0x82, 1, 0], 0x100), (&[4, 0x83, 1, 0, 0], 0x1_0000)]
        {
            assert_eq!(of(&[head, &vec![0; len]].concat()), Some(len));
            assert_eq!(of(&[head, &vec![0; len - 1]].concat()), None);
        }
        assert_eq!(of(&[&[4, 0x83, 0, 1, 0][..], &[0; 0x100]].concat()), None);
    }
}
