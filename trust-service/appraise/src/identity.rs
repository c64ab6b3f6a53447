//! Who a TPM is: its endorsement key by certificate, and the attestation key that it offers.

use crate::ek_key::EkKey;
use crate::tpm::SigningKey;
use crate::{EkCertError, Rejection, credential, ek_cert};
use ccnode_evidence::{Secret, Sha256Digest};
use ccnode_protocol::{NodeName, PoolName};
use data_encoding::BASE32_NOPAD;
use rand_core::CryptoRngCore;

/// Characters of the digest in a default name: 50 bits.
const NAME_CHARS: usize = 10;

/// A parsed EK certificate and attestation key, as the auth request offers them. Nothing is proven of them yet.
#[derive(Clone, Debug)]
pub struct TpmIdentity {
    ek_cert: Option<Vec<u8>>,
    ek: EkKey,
    node_id: Sha256Digest,
    ak_public: Vec<u8>,
    ak: SigningKey,
}

impl TpmIdentity {
    /// Reads both strictly; [`Rejection::EkCertMalformed`] or [`Rejection::AkMalformed`] if one is none.
    pub fn parse(ek_cert_der: &[u8], ak_tpmt_public: &[u8]) -> Result<Self, Rejection> {
        let ek = ek_cert::parse(ek_cert_der).map_err(Rejection::EkCertMalformed)?;
        Self::new(Some(ek_cert_der.to_vec()), ek, ak_tpmt_public)
    }

    /// The same of a TPM without a certificate, by its endorsement key's TPMT_PUBLIC: [`Rejection::EkMalformed`] unless it is made by
    /// the EK template of its kind. Good for nothing until a report vouches for this key.
    pub fn from_ek_public(ek_tpmt_public: &[u8], ak_tpmt_public: &[u8]) -> Result<Self, Rejection> {
        let ek = EkKey::parse(ek_tpmt_public).map_err(Rejection::EkMalformed)?;
        Self::new(None, ek, ak_tpmt_public)
    }

    fn new(ek_cert: Option<Vec<u8>>, ek: EkKey, ak_tpmt_public: &[u8]) -> Result<Self, Rejection> {
        let ak = SigningKey::parse(ak_tpmt_public).map_err(Rejection::AkMalformed)?;
        let node_id = Sha256Digest::of(&ek.name());
        Ok(Self { ek_cert, node_id, ek, ak_public: ak_tpmt_public.to_vec(), ak })
    }

    /// What the store keys nodes by: SHA-256 of the EK's Name, the EK being the certificate's key in the template of its kind.
    pub fn node_id(&self) -> Sha256Digest {
        self.node_id
    }

    /// The attestation key's Name: its name algorithm and that hash of its TPMT_PUBLIC, 34 bytes for SHA-256 and 50 for SHA-384.
    pub fn ak_name(&self) -> Vec<u8> {
        self.ak.name.clone()
    }

    /// The EK certificate, DER; `None` for a TPM without one.
    pub fn ek_cert(&self) -> Option<&[u8]> {
        self.ek_cert.as_deref()
    }

    /// The endorsement key's TPMT_PUBLIC, by the template of its kind.
    pub fn ek_public(&self) -> Vec<u8> {
        self.ek.public()
    }

    /// Modulus and exponent of the endorsement key, big-endian; `None` for an ECC key.
    pub fn ek_rsa(&self) -> Option<(&[u8], &[u8])> {
        self.ek.key().rsa_numbers()
    }

    /// Modulus and exponent of the attestation key, big-endian; `None` for an ECC key.
    pub fn ak_rsa(&self) -> Option<(&[u8], &[u8])> {
        self.ak.key.rsa_numbers()
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
            .map_err(|_| Rejection::EkCertMalformed(EkCertError::Template(self.ek.key().describe())))
    }

    pub(crate) fn ak(&self) -> &SigningKey {
        &self.ak
    }
}
