//! Who a TPM is: its endorsement key by certificate, and the attestation key that it offers.

use crate::tpm_types::{ALG_AES, ALG_CFB, ALG_NULL, ALG_RSA, ALG_SHA256, SigningKey};
use crate::{EkCertError, Rejection, credential, ek};
use ccnode_evidence::{Secret, Sha256Digest};
use ccnode_protocol::{NodeName, PoolName};
use data_encoding::BASE32_NOPAD;
use rand_core::CryptoRngCore;
use rsa::RsaPublicKey;
use rsa::traits::PublicKeyParts as _;

/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const L1_ATTRIBUTES: u32 = 0x0003_00b2;
/// PolicySecret(TPM_RH_ENDORSEMENT), SHA-256 (TCG EK Credential Profile, section B.3.2).
const L1_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// Characters of the digest in a default name: 50 bits.
const NAME_CHARS: usize = 10;

/// A parsed EK certificate and attestation key, as the auth request offers them. Nothing is proven of them yet.
#[derive(Clone, Debug)]
pub struct TpmIdentity {
    ek_cert: Vec<u8>,
    ek: RsaPublicKey,
    node_id: Sha256Digest,
    ak_public: Vec<u8>,
    ak: SigningKey,
}

impl TpmIdentity {
    /// Reads both strictly; [`Rejection::EkCertMalformed`] or [`Rejection::AkMalformed`] if one is none.
    pub fn parse(ek_cert_der: &[u8], ak_tpmt_public: &[u8]) -> Result<Self, Rejection> {
        let ek = ek::parse(ek_cert_der).map_err(Rejection::EkCertMalformed)?;
        let ak = SigningKey::parse(ak_tpmt_public).map_err(Rejection::AkMalformed)?;
        Ok(Self {
            ek_cert: ek_cert_der.to_vec(),
            node_id: Sha256Digest::of(&name(&l1_public(&ek))),
            ek,
            ak_public: ak_tpmt_public.to_vec(),
            ak,
        })
    }

    /// What the store keys nodes by: SHA-256 of the EK's Name, the EK being the certificate's key in template L-1.
    pub fn node_id(&self) -> Sha256Digest {
        self.node_id
    }

    /// The attestation key's Name: 0x000b ‖ SHA-256 of its TPMT_PUBLIC, 34 bytes.
    pub fn ak_name(&self) -> Vec<u8> {
        name(&self.ak_public)
    }

    /// The EK certificate, DER.
    pub fn ek_cert(&self) -> &[u8] {
        &self.ek_cert
    }

    /// The attestation key's TPMT_PUBLIC.
    pub fn ak_public(&self) -> &[u8] {
        &self.ak_public
    }

    /// The name of a node that nobody named: the pool's, a hyphen, ten characters of base32 of [`node_id`](Self::node_id).
    pub fn default_name(&self, pool: &PoolName) -> NodeName {
        let mut tail = BASE32_NOPAD.encode(&self.node_id.0).to_lowercase();
        tail.truncate(NAME_CHARS);
        #[expect(
            clippy::expect_used,
            reason = "a pool's name of at most 40 characters, a hyphen and base32 are a DNS label"
        )]
        format!("{pool}-{tail}").parse().expect("a label")
    }

    /// A credential that only this TPM activates, and only for this attestation key: TPM2B_ID_OBJECT and
    /// TPM2B_ENCRYPTED_SECRET, both marshalled with their size.
    pub fn make_credential(
        &self,
        secret: &Secret<32>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Vec<u8>, Vec<u8>), Rejection> {
        credential::make(&self.ek, &self.ak_name(), secret, rng)
            .map_err(|_| Rejection::EkCertMalformed(EkCertError::Key))
    }

    pub(crate) fn ak(&self) -> &SigningKey {
        &self.ak
    }
}

/// The Name of an object with nameAlg SHA-256.
fn name(public: &[u8]) -> Vec<u8> {
    [&ALG_SHA256.to_be_bytes()[..], &Sha256Digest::of(public).0].concat()
}

/// TPMT_PUBLIC of the default EK template L-1 with this key.
fn l1_public(ek: &RsaPublicKey) -> Vec<u8> {
    let modulus = ek.n().to_bytes_be();
    let mut out = Vec::with_capacity(64 + modulus.len());
    out.extend(ALG_RSA.to_be_bytes());
    out.extend(ALG_SHA256.to_be_bytes());
    out.extend(L1_ATTRIBUTES.to_be_bytes());
    out.extend(32u16.to_be_bytes());
    out.extend(L1_POLICY);
    for field in [ALG_AES, 128, ALG_CFB, ALG_NULL, 2048] {
        out.extend(field.to_be_bytes());
    }
    out.extend(0u32.to_be_bytes());
    out.extend(256u16.to_be_bytes());
    out.extend(modulus);
    out
}
