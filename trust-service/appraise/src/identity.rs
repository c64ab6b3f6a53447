//! Who a TPM is: its endorsement key, by certificate or bare, and the attestation key that it offers.

use crate::ek_key::EkKey;
use crate::tpm::SigningKey;
use crate::{EkCertError, Rejection, credential, ek_cert};
use ccnode_evidence::{Ek, EvidenceKind, Identity, Secret, Sha256Digest};
use ccnode_protocol::{NodeName, PoolName};
use data_encoding::BASE32_NOPAD;
use rand_core::CryptoRngCore;

/// Characters of the digest in a default name: 50 bits.
const NAME_CHARS: usize = 10;

/// A parsed endorsement key and attestation key, as the auth request offers them. Nothing is proven of them yet.
#[derive(Clone, Debug)]
pub struct TpmIdentity {
    ek_cert: Option<Vec<u8>>,
    ek: EkKey,
    ak_public: Vec<u8>,
    ak: SigningKey,
}

/// The name of a node that nobody named: the pool's, a hyphen, ten characters of base32 of its identity.
pub fn default_name(pool: &PoolName, identity: &Sha256Digest) -> NodeName {
    let mut tail = BASE32_NOPAD.encode(&identity.0).to_lowercase();
    tail.truncate(NAME_CHARS);
    #[expect(
        clippy::expect_used,
        reason = "a pool's name of at most 40 characters, a hyphen and base32 are a DNS label"
    )]
    format!("{pool}-{tail}").parse().expect("a label")
}

impl TpmIdentity {
    /// Reads both strictly; [`Rejection::EkCertMalformed`], [`Rejection::EkMalformed`] or [`Rejection::AkMalformed`] if one is none.
    ///
    /// An endorsement key without a certificate must be made by the EK template of its kind, and is good for nothing until a report
    /// vouches for it.
    pub fn of(offered: &Identity) -> Result<Self, Rejection> {
        let (ek_cert, ek) = match &offered.ek {
            Ek::Certificate(der) => {
                (Some(der.clone()), ek_cert::parse(der).map_err(Rejection::EkCertMalformed)?)
            }
            Ek::Public(public) => (None, EkKey::parse(public).map_err(Rejection::EkMalformed)?),
        };
        let ak = SigningKey::parse(&offered.ak_public).map_err(Rejection::AkMalformed)?;
        Ok(Self { ek_cert, ek, ak_public: offered.ak_public.clone(), ak })
    }

    /// [`TpmIdentity::of`] a TPM with an EK certificate.
    pub fn parse(ek_cert_der: &[u8], ak_tpmt_public: &[u8]) -> Result<Self, Rejection> {
        Self::of(&Identity { ek: Ek::Certificate(ek_cert_der.to_vec()), ak_public: ak_tpmt_public.to_vec() })
    }

    /// [`TpmIdentity::of`] a TPM without one, by its endorsement key's TPMT_PUBLIC.
    pub fn from_ek_public(ek_tpmt_public: &[u8], ak_tpmt_public: &[u8]) -> Result<Self, Rejection> {
        Self::of(&Identity { ek: Ek::Public(ek_tpmt_public.to_vec()), ak_public: ak_tpmt_public.to_vec() })
    }

    /// What the store keys nodes by: SHA-256 of the EK's Name, the EK being the key in the template of its kind; on Azure, where
    /// the hardware report names the attestation key, SHA-256 of that key's Name.
    pub fn node_id(&self, kind: EvidenceKind) -> Sha256Digest {
        match kind {
            EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm => Sha256Digest::of(&self.ak_name()),
            EvidenceKind::Tpm | EvidenceKind::Snp | EvidenceKind::Tdx => Sha256Digest::of(self.ek.name()),
        }
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

    /// [`default_name`] of this TPM's node.
    pub fn default_name(&self, kind: EvidenceKind, pool: &PoolName) -> NodeName {
        default_name(pool, &self.node_id(kind))
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
