//! TPMT_PUBLIC of a signing key (TPM 2.0 Library, part 2, section 12.2.4).

use super::legacy::is_tpm12_key;
use super::scheme::SchemeFault;
use super::{ALG_ECC, ALG_NULL, ALG_RSA, PublicError, Scheme, SchemeKind};
use crate::ek_key::name;
use crate::public_key::{Curve, PublicKey};
use crate::reader::Reader;
use ccnode_evidence::HashAlg;
use ccnode_protocol::limits;

/// The exponent that 0 stands for, and the only one that is accepted.
const EXPONENT: u32 = 65537;
/// Bits of TPMA_OBJECT that mean something (section 8.3, with firmwareLimited and svnLimited).
const ATTRIBUTES: u32 = 0x000f_0ff6;

/// TPMT_PUBLIC of a signing key that is appraised: RSA of 2048 to 4096 bits, exponent 65537, with RSASSA or RSAPSS; or ECDSA on
/// P-256 with SHA-256 or on P-384 with SHA-384.
#[derive(Clone, Debug)]
pub(crate) struct SigningKey {
    /// TPMA_OBJECT.
    pub(crate) attributes: u32,
    /// Its Name: the name algorithm, SHA-256 or SHA-384, and that hash of these bytes.
    pub(crate) name: Vec<u8>,
    pub(crate) scheme: Scheme,
    pub(crate) key: PublicKey,
}

impl SigningKey {
    /// Reads a TPMT_PUBLIC to its end.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, PublicError> {
        if bytes.len() > limits::AK_PUBLIC {
            return Err(PublicError::Size(bytes.len()));
        }
        if is_tpm12_key(bytes) {
            return Err(PublicError::Tpm12);
        }
        let mut r = Reader::new(bytes);
        let kind = match r.u16()? {
            kind @ (ALG_RSA | ALG_ECC) => kind,
            other => return Err(PublicError::Type(other)),
        };
        let name_alg = r.u16()?;
        let name_alg = match HashAlg::from_id(name_alg) {
            Some(alg @ (HashAlg::Sha256 | HashAlg::Sha384)) => alg,
            _ => return Err(PublicError::NameAlg(name_alg)),
        };
        let attributes = r.u32()?;
        if attributes & !ATTRIBUTES != 0 {
            return Err(PublicError::Reserved(attributes & !ATTRIBUTES));
        }
        let policy = r.sized()?.len();
        if policy != 0 && policy != name_alg.size() {
            return Err(PublicError::AuthPolicy(policy));
        }
        match r.u16()? {
            ALG_NULL => {}
            other => return Err(PublicError::Symmetric(other)),
        }
        let scheme = Scheme::read(&mut r).map_err(|fault| match fault {
            SchemeFault::Short => PublicError::Short,
            SchemeFault::Sha1(kind) => PublicError::Sha1Scheme(kind),
            SchemeFault::Unknown { scheme, hash } => PublicError::Scheme { scheme, hash },
        })?;
        if (scheme.kind == SchemeKind::Ecdsa) != (kind == ALG_ECC) {
            return Err(PublicError::Scheme { scheme: scheme.kind.id(), hash: scheme.hash.id() });
        }
        let key = if kind == ALG_RSA { rsa(r)? } else { ecc(r, scheme)? };
        Ok(Self { attributes, name: name(name_alg, bytes), scheme, key })
    }
}

/// The rest of an RSA key: keyBits, exponent, modulus.
fn rsa(mut r: Reader<'_>) -> Result<PublicKey, PublicError> {
    let bits = r.u16()?;
    let exponent = match r.u32()? {
        0 => EXPONENT,
        other => other,
    };
    let modulus = r.sized()?;
    r.end()?;
    if exponent != EXPONENT {
        return Err(PublicError::Exponent(exponent));
    }
    Ok(PublicKey::rsa(bits, modulus)?)
}

/// The rest of an ECC key: curve, key derivation, point.
fn ecc(mut r: Reader<'_>, scheme: Scheme) -> Result<PublicKey, PublicError> {
    let id = r.u16()?;
    let curve = Curve::from_id(id).ok_or(PublicError::Curve(id))?;
    if scheme.hash != curve.hash() {
        return Err(PublicError::CurveHash { curve, scheme });
    }
    match r.u16()? {
        ALG_NULL => {}
        other => return Err(PublicError::Kdf(other)),
    }
    let (x, y) = (r.sized()?, r.sized()?);
    r.end()?;
    Ok(PublicKey::ecc(curve, x, y)?)
}
