//! A maker, a TPM, a pool that allows what it booted, and one challenge.

use ccnode_appraise::appraise;
use ccnode_appraise::{
    EkRoot, Hardware, References, Refused, Rejection, Session, Shelf, TpmIdentity, TrustLevel, UnixTime,
    Verdict,
};
use ccnode_evidence::{ImageTuple, Nonce, PlatformTuple, Secret, Sha256Digest};
use ccnode_protocol::{Attestation, NodeName, jwe::EphemeralKey};
use ccnode_testkit::{Answer, Boot, MakerCa, NOW, Seat, SoftTpm, attest, kubelet_csr};
use rsa::rand_core::OsRng;

pub(crate) const VERITY: Sha256Digest = Sha256Digest([0xee; 32]);

pub(crate) struct World {
    pub(crate) maker: MakerCa,
    pub(crate) tpm: SoftTpm,
    pub(crate) roots: Vec<EkRoot>,
    pub(crate) platforms: Vec<PlatformTuple>,
    pub(crate) images: Vec<ImageTuple>,
    pub(crate) pairs: Vec<(Sha256Digest, Sha256Digest)>,
    pub(crate) allow_init_data: bool,
    pub(crate) hardware: Hardware,
    pub(crate) shelf: Shelf,
    pub(crate) nonce: Nonce,
    pub(crate) secret: Secret<32>,
    pub(crate) key: EphemeralKey,
    pub(crate) csr: Option<Vec<u8>>,
    pub(crate) now: UnixTime,
}

impl World {
    pub(crate) fn new() -> Self {
        let maker = MakerCa::new("Test Maker");
        let tpm = SoftTpm::new(&maker, Seat::A);
        Self::of(maker, tpm)
    }

    /// A pool that knows the standard boot, whatever `tpm` booted.
    pub(crate) fn of(maker: MakerCa, tpm: SoftTpm) -> Self {
        let platform = Boot::standard().platform_tuple("q35");
        let image = Boot::standard().image_tuple("worker", "1", VERITY);
        let name: NodeName = "workers-aaaaaaaaaa".parse().unwrap();
        Self {
            roots: roots(&maker, TrustLevel::HypervisorVtpm),
            pairs: vec![(platform.id(), image.id())],
            platforms: vec![platform],
            images: vec![image],
            allow_init_data: false,
            hardware: Hardware::default(),
            shelf: Shelf::default(),
            nonce: Nonce([7; 32]),
            secret: Secret::new([9; 32]),
            key: EphemeralKey::generate(),
            csr: Some(kubelet_csr(&name).0),
            now: UnixTime(NOW),
            maker,
            tpm,
        }
    }

    pub(crate) fn identity(&self) -> Result<TpmIdentity, Rejection> {
        let offer = self.tpm.offer();
        TpmIdentity::parse(offer.ek_cert().unwrap(), &offer.ak_public)
    }

    /// Challenge, activation, answer: what an honest node sends.
    pub(crate) fn answer(&self) -> Attestation {
        let identity = self.identity().unwrap();
        let (credential, secret) = identity.make_credential(&self.secret, &mut OsRng).unwrap();
        let secret = self.tpm.open(&credential, &secret).unwrap();
        self.answer_with(&secret)
    }

    pub(crate) fn answer_with(&self, secret: &Secret<32>) -> Attestation {
        let answer = Answer { nonce: &self.nonce, secret, key: &self.key, csr: self.csr.clone() };
        attest(&self.tpm, &answer)
    }

    pub(crate) fn judge(&self, attestation: &Attestation) -> Result<Verdict, Box<Refused>> {
        let identity = self.identity().unwrap();
        let session = Session::of_tpm(&self.nonce, &identity, &self.secret);
        let references = References {
            platforms: &self.platforms,
            images: &self.images,
            pairs: &self.pairs,
            ek_roots: &self.roots,
            allow_init_data: self.allow_init_data,
            hardware: &self.hardware,
            collateral: &self.shelf,
        };
        appraise(&session, attestation, &references, self.now)
    }

    pub(crate) fn run(&self) -> Result<Verdict, Box<Refused>> {
        self.judge(&self.answer())
    }

    /// The refusal of a whole session.
    pub(crate) fn refused(&self) -> Box<Refused> {
        self.run().unwrap_err()
    }
}

pub(crate) fn roots(maker: &MakerCa, level: TrustLevel) -> Vec<EkRoot> {
    [maker.root(), maker.intermediate()].map(|cert_der| EkRoot::parse(cert_der, level).unwrap()).into()
}

/// Changes a member of the primary evidence.
pub(crate) fn with_evidence(
    mut attestation: Attestation,
    f: impl FnOnce(&mut serde_json::Value),
) -> Attestation {
    f(&mut attestation.tee_evidence.primary_evidence);
    attestation
}
