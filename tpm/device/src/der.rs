//! The few DER forms that are needed: an RSA key out, the length of a certificate in.

/// rsaEncryption with NULL parameters (RFC 8017, A.1), as a whole AlgorithmIdentifier.
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// RSAPublicKey (RFC 8017, A.1.1) of a big-endian modulus.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: u32) -> Vec<u8> {
    tlv(0x30, &[integer(modulus), integer(&exponent.to_be_bytes())].concat())
}

/// SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) around an RSAPublicKey.
pub(crate) fn rsa_spki(public_key: &[u8]) -> Vec<u8> {
    let bits = tlv(0x03, &[&[0], public_key].concat());
    tlv(0x30, &[RSA_ENCRYPTION.as_slice(), &bits].concat())
}

/// Length of the DER SEQUENCE that `head` begins with, header included; `None` where it begins none with a two-byte
/// length in its only DER form (256 to 65535 bytes, the range of every certificate of a 2048-bit key).
pub(crate) fn sequence_len(head: [u8; 4]) -> Option<usize> {
    let [0x30, 0x82, high, low] = head else { return None };
    let len = usize::from(u16::from_be_bytes([high, low]));
    (len >= 0x100).then_some(len + 4)
}

fn integer(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|b| **b == 0).count();
    let digits: Vec<u8> = big_endian.iter().skip(zeros).copied().collect();
    let sign: &[u8] = match digits.first() {
        Some(first) if *first < 0x80 => &[],
        _ => &[0],
    };
    tlv(0x02, &[sign, &digits].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    let zeros = len.iter().take_while(|b| **b == 0).count();
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let digits = len.iter().skip(zeros).copied();
            out.push(0x80 | u8::try_from(len.len() - zeros).unwrap_or_default());
            out.extend(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs8::DecodePublicKey as _;
    use rsa::traits::PublicKeyParts as _;
    use rsa::{BigUint, RsaPublicKey};

    #[test]
    fn spki_is_read_by_another_reader() {
        for first in [0x80, 0xff] {
            let mut modulus = vec![0x5b; 256];
            modulus[0] = first;
            modulus[255] |= 1;
            let der = rsa_spki(&rsa_public_key(&modulus, 65537));
            let key = RsaPublicKey::from_public_key_der(&der).unwrap();
            assert_eq!(key.n(), &BigUint::from_bytes_be(&modulus));
            assert_eq!(key.e(), &BigUint::from(65537u32));
        }
    }

    #[test]
    fn integers_are_minimal() {
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }

    #[test]
    fn length_of_a_certificate() {
        assert_eq!(sequence_len([0x30, 0x82, 0x04, 0x10]), Some(0x414));
        for head in [[0x30, 0x82, 0, 0xff], [0x31, 0x82, 4, 0], [0x30, 0x81, 0xff, 0], [0xff; 4], [0; 4]] {
            assert_eq!(sequence_len(head), None, "{head:?}");
        }
    }
}
