//! Endorsement keys and the templates that they are made by (TCG EK Credential Profile, section B).

use crate::public_key::{Curve, KeyError, PublicKey};
use crate::reader::{ReadError, Reader};
use crate::tpm::{ALG_AES, ALG_CFB, ALG_ECC, ALG_NULL, ALG_RSA, is_tpm12_key};
use ccnode_evidence::HashAlg;
use ccnode_protocol::limits;
use sha2::{Digest as _, Sha256, Sha384};

/// PolicySecret(TPM_RH_ENDORSEMENT), SHA-256: PolicyA (section B.6.2).
const POLICY_A: &[u8] = &[
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// PolicyB with SHA-384 (section B.6.5).
const POLICY_B_SHA384: &[u8] = &[
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07,
    0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47,
    0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// What a template says of a key beside the key itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Template {
    /// Of the Name, and of all that MakeCredential derives.
    pub(crate) name_alg: HashAlg,
    /// Key size of the symmetric algorithm, AES-CFB.
    pub(crate) aes_bits: u16,
    /// TPMA_OBJECT.
    attributes: u32,
    policy: &'static [u8],
}

/// L-1 and L-2: fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const LOW: Template =
    Template { name_alg: HashAlg::Sha256, aes_bits: 128, attributes: 0x0003_00b2, policy: POLICY_A };
/// H-3 and H-6: userWithAuth besides.
const HIGH: Template =
    Template { name_alg: HashAlg::Sha384, aes_bits: 256, attributes: 0x0003_00f2, policy: POLICY_B_SHA384 };

/// Why bytes are no endorsement key that credentials are made for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EkPublicError {
    /// Longer than any that is read.
    #[error("{0} bytes of TPMT_PUBLIC are too many")]
    Size(usize),
    /// The structure ends inside a field.
    #[error("the TPMT_PUBLIC ends early")]
    Short,
    /// TPM_PUBKEY or TPM_KEY.
    #[error("this is a key of a TPM 1.2; TPM 2.0 is appraised")]
    Tpm12,
    /// Its key is none: of another type, too short, no point of its curve.
    #[error("its key is none of an EK template: {0}")]
    Key(#[source] KeyError),
    /// A field that is not its template's.
    #[error("{field} is {seen}; the EK template of its kind of key has {wanted}")]
    Template {
        /// By its name in the specification: `objectAttributes`.
        field: &'static str,
        /// Its value, hexadecimal.
        seen: String,
        /// The template's, hexadecimal.
        wanted: String,
    },
    /// A key of a size that no template has.
    #[error("its key is {0}; EK templates have RSA of 2048 or 3072 bits, P-256 and P-384")]
    KeySize(String),
    /// Bytes follow the structure.
    #[error("the TPMT_PUBLIC has {0} bytes too many")]
    Trailing(usize),
}

/// The key of an EK certificate: RSA-2048 (template L-1), P-256 (L-2), P-384 (H-3) or RSA-3072 (H-6).
///
/// A certificate does not say by which template its key was made; of RSA-2048 and P-256 there are high ones, too. They have the same
/// algorithms, so a credential opens all the same; the Name that a node is known by is the low template's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EkKey {
    key: PublicKey,
    template: Template,
    /// Asked for again and again: it is whom the service knows.
    name: Vec<u8>,
}

impl EkKey {
    /// The key again, if no template has one like it.
    pub(crate) fn new(key: PublicKey) -> Result<Self, PublicKey> {
        let template = match &key {
            PublicKey::Rsa { modulus } if modulus.len() == 256 => LOW,
            PublicKey::Rsa { modulus } if modulus.len() == 384 => HIGH,
            PublicKey::Ecc { curve: Curve::P256, .. } => LOW,
            PublicKey::Ecc { curve: Curve::P384, .. } => HIGH,
            PublicKey::Rsa { .. } => return Err(key),
        };
        let ek = Self { key, template, name: Vec::new() };
        let name = name(template.name_alg, &ek.public());
        Ok(Self { name, ..ek })
    }

    /// The key in a TPMT_PUBLIC, which must be exactly what its template gives with this key.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, EkPublicError> {
        if bytes.len() > limits::AK_PUBLIC {
            return Err(EkPublicError::Size(bytes.len()));
        }
        if is_tpm12_key(bytes) {
            return Err(EkPublicError::Tpm12);
        }
        let short = |_: ReadError| EkPublicError::Short;
        let mut r = Reader::new(bytes);
        let kind = r.u16().map_err(short)?;
        // nameAlg and attributes, the policy, then the symmetric algorithm with key size and mode, and no scheme.
        r.take(2 + 4).map_err(short)?;
        r.sized().map_err(short)?;
        r.take(4 * 2).map_err(short)?;
        let key = match kind {
            ALG_RSA => {
                r.take(2 + 4).map_err(short)?;
                PublicKey::from_rsa_numbers(r.sized().map_err(short)?, &[1, 0, 1])
            }
            ALG_ECC => {
                let curve = r.u16().map_err(short)?;
                r.take(2).map_err(short)?;
                let (x, y) = (r.sized().map_err(short)?, r.sized().map_err(short)?);
                let curve = Curve::from_id(curve).ok_or(EkPublicError::Key(KeyError::Algorithm))?;
                PublicKey::ecc(curve, x, y).map_err(KeyError::from)
            }
            _ => Err(KeyError::Algorithm),
        };
        let ek = Self::new(key.map_err(EkPublicError::Key)?)
            .map_err(|key| EkPublicError::KeySize(key.describe()))?;
        let mut r = Reader::new(bytes);
        for (field, wanted) in ek.fields() {
            let seen = r.take(wanted.len()).map_err(short)?;
            if seen != wanted {
                let hex = |bytes| data_encoding::HEXLOWER.encode(bytes);
                return Err(EkPublicError::Template { field, seen: hex(seen), wanted: hex(&wanted) });
            }
        }
        match r.end() {
            Err(ReadError::Trailing(extra)) => Err(EkPublicError::Trailing(extra)),
            _ => Ok(ek),
        }
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(crate) fn template(&self) -> Template {
        self.template
    }

    /// The key's Name by its template.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// TPMT_PUBLIC by its template.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.fields().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    /// The fields of TPMT_PUBLIC in their order, by their names in the specification (TPM 2.0 Library, part 2, section 12.2.4).
    fn fields(&self) -> Vec<(&'static str, Vec<u8>)> {
        let Template { name_alg, aes_bits, attributes, policy } = self.template;
        let word = |field, value: u16| (field, value.to_be_bytes().to_vec());
        let kind = if matches!(self.key, PublicKey::Rsa { .. }) { ALG_RSA } else { ALG_ECC };
        let mut out = vec![
            word("type", kind),
            word("nameAlg", name_alg.id()),
            ("objectAttributes", attributes.to_be_bytes().to_vec()),
            word("authPolicy.size", len16(policy)),
            ("authPolicy", policy.to_vec()),
            word("symmetric", ALG_AES),
            word("symmetric.keyBits", aes_bits),
            word("symmetric.mode", ALG_CFB),
            word("scheme", ALG_NULL),
        ];
        match &self.key {
            PublicKey::Rsa { modulus } => {
                let bits = u16::try_from(modulus.len().saturating_mul(8)).unwrap_or(u16::MAX);
                out.push(word("keyBits", bits));
                out.push(("exponent", 0u32.to_be_bytes().to_vec()));
                out.push(word("unique.size", len16(modulus)));
                out.push(("unique", modulus.clone()));
            }
            PublicKey::Ecc { curve, point } => {
                let (x, y) = coordinates(*curve, point);
                out.extend([word("curveID", curve.id()), word("kdf", ALG_NULL)]);
                out.extend([word("x.size", len16(x)), ("x", x.to_vec())]);
                out.extend([word("y.size", len16(y)), ("y", y.to_vec())]);
            }
        }
        out
    }
}

/// x and y of an uncompressed point.
pub(crate) fn coordinates(curve: Curve, point: &[u8]) -> (&[u8], &[u8]) {
    let both = point.strip_prefix(&[4]).unwrap_or_default();
    both.split_at(curve.size().min(both.len()))
}

/// The Name of an object (TPM 2.0 Library, part 1, section 16); `alg` is SHA-256 or SHA-384.
pub(crate) fn name(alg: HashAlg, public: &[u8]) -> Vec<u8> {
    let hash = match alg {
        HashAlg::Sha384 => Sha384::digest(public).to_vec(),
        _ => Sha256::digest(public).to_vec(),
    };
    [&alg.id().to_be_bytes()[..], &hash].concat()
}

/// A TPM2B; every part here is shorter than 2^16 bytes.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&len16(bytes).to_be_bytes(), bytes].concat()
}

fn len16(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}
