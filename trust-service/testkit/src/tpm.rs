//! The TPM: two keys that anybody can read, PCRs of a [`Boot`], credential activation, quotes, and lies on demand.

use crate::marshal::{self, Attest};
use crate::{AkKind, Boot, EkKind, EkProfile, MakerCa};
use ccnode_evidence::{
    Absent, Activated, Ek, EventLogs, EvidenceSource, ExtraData, Identity, PcrSet, PcrValues, QuoteParts,
    Secret, Sha256Digest, TpmSource,
};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha256, Sha384};
use std::sync::{Mutex, MutexGuard};

/// What an attestation key's attributes should be: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
pub const AK_ATTRIBUTES: u32 = 0x0005_0072;

/// Which of the fixed key pairs a TPM has; two TPMs of one seat are clones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the seats differ in nothing but their keys")]
pub enum Seat {
    A,
    B,
    C,
}

impl Seat {
    pub(crate) fn ek(self) -> RsaPrivateKey {
        key(match self {
            Self::A => include_bytes!("../keys/ek-a.der"),
            Self::B => include_bytes!("../keys/ek-b.der"),
            Self::C => include_bytes!("../keys/ek-c.der"),
        })
    }

    pub(crate) fn ak(self) -> RsaPrivateKey {
        key(match self {
            Self::A => include_bytes!("../keys/ak-a.der"),
            Self::B => include_bytes!("../keys/ak-b.der"),
            Self::C => include_bytes!("../keys/ak-c.der"),
        })
    }
}

fn key(der: &[u8]) -> RsaPrivateKey {
    RsaPrivateKey::from_pkcs1_der(der).expect("a key")
}

/// How the TPM deviates from the truth; the default is an honest one.
#[derive(Clone, Default, Debug)]
pub struct Lies {
    /// Attributes of the attestation key instead of [`AK_ATTRIBUTES`].
    pub ak_attributes: Option<u32>,
    /// Bytes to send as the attestation key's TPMT_PUBLIC.
    pub ak_public: Option<Vec<u8>>,
    /// Bytes to send as the EK certificate: another TPM's, say.
    pub ek_cert: Option<Vec<u8>>,
    /// What activation returns instead of the credential's secret: a guess.
    pub activated: Option<[u8; 32]>,
    /// extraData instead of what was asked for.
    pub qualifying: Option<Vec<u8>>,
    /// Magic instead of TPM_GENERATED_VALUE.
    pub magic: Option<u32>,
    /// Structure tag instead of a quote's.
    pub tag: Option<u16>,
    /// Selections (bank, bitmap) instead of sha256:0-15.
    pub selections: Option<Vec<(u16, Vec<u8>)>>,
    /// PCR digest instead of the composite of the PCRs.
    pub pcr_digest: Option<Vec<u8>>,
    /// The quote is signed by the attestation key of this seat.
    pub signer: Option<Seat>,
    /// PCR values sent beside the quote instead of the real ones.
    pub sent_pcrs: Option<PcrValues>,
    /// The attestation key sent beside the quote is of this seat.
    pub sent_ak: Option<Seat>,
    /// Logs sent instead of the boot's.
    pub logs: Option<EventLogs>,
}

#[derive(Debug)]
struct State {
    boot: Boot,
    lies: Lies,
    clock: u64,
    resets: u32,
    restarts: u32,
}

/// A TPM in software with a booted machine around it.
#[derive(Debug)]
pub struct SoftTpm {
    ek: EkKind,
    seat: Seat,
    ak: AkKind,
    ek_cert: Vec<u8>,
    certified: bool,
    state: Mutex<State>,
}

/// What a TPM answers to a command that it refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SoftTpmError {
    /// TPM2_ActivateCredential: not for this EK, or not for this attestation key.
    #[error("TPM2_ActivateCredential: integrity check failed")]
    ActivateCredential,
}

impl SoftTpm {
    /// A TPM of `maker` in a machine that booted [`Boot::standard`].
    pub fn new(maker: &MakerCa, seat: Seat) -> Self {
        Self::with(maker, seat, &EkProfile::default(), Boot::standard())
    }

    /// A TPM with such an EK certificate in a machine that booted so.
    pub fn with(maker: &MakerCa, seat: Seat, profile: &EkProfile, boot: Boot) -> Self {
        let ek = EkKind::default();
        let ek_cert = maker.certify_spki(&ek.spki(seat), profile);
        let state = State { boot, lies: Lies::default(), clock: 1_000, resets: 1, restarts: 0 };
        Self { ek, seat, ak: AkKind::default(), ek_cert, certified: true, state: Mutex::new(state) }
    }

    /// The same with an attestation key of another kind.
    #[must_use]
    pub fn with_ak(mut self, kind: AkKind) -> Self {
        self.ak = kind;
        self
    }

    /// The same with an endorsement key of another kind, certified by `maker`.
    #[must_use]
    pub fn with_ek(mut self, kind: EkKind, maker: &MakerCa, profile: &EkProfile) -> Self {
        self.ek = kind;
        self.ek_cert = maker.certify_spki(&kind.spki(self.seat), profile);
        self
    }

    /// The same that has no certificate in its memory, and offers the endorsement key bare.
    #[must_use]
    pub fn without_certificate(mut self) -> Self {
        self.certified = false;
        self
    }

    /// Which keys it has.
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// TPMT_PUBLIC of the endorsement key, an RSA-2048 one, in the default template: what an SVSM's manifest is.
    pub fn ek_public(&self) -> Vec<u8> {
        marshal::endorsement_key(&self.seat.ek().n().to_bytes_be())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked here")
    }

    /// The EK certificate, DER; never a lie.
    pub fn ek_cert(&self) -> Vec<u8> {
        self.ek_cert.clone()
    }

    /// Makes it lie from now on.
    pub fn lie(&self, lies: Lies) {
        self.state().lies = lies;
    }

    /// The machine boots anew: resetCount and clock grow, PCRs are those of `boot`.
    pub fn reboot(&self, boot: Boot) {
        let mut state = self.state();
        state.boot = boot;
        state.resets += 1;
        state.restarts = 0;
        state.clock += 60_000;
    }

    /// Sets clock (milliseconds), resetCount and restartCount, as a restored copy would.
    pub fn set_counters(&self, clock: u64, resets: u32, restarts: u32) {
        let mut state = self.state();
        (state.clock, state.resets, state.restarts) = (clock, resets, restarts);
    }

    /// The boot as it stands.
    pub fn boot(&self) -> Boot {
        self.state().boot.clone()
    }

    /// ccnode-init caps PCR 15.
    pub fn cap(&self) {
        self.state().boot.cap();
    }

    /// What the auth request offers.
    pub fn offer(&self) -> Identity {
        let state = self.state();
        let attributes = state.lies.ak_attributes.unwrap_or(AK_ATTRIBUTES);
        let real = self.ak.public(self.seat, attributes);
        let ek = match (&state.lies.ek_cert, self.certified) {
            (Some(lie), _) => Ek::Certificate(lie.clone()),
            (None, true) => Ek::Certificate(self.ek_cert.clone()),
            (None, false) => Ek::Public(self.ek_public()),
        };
        Identity { ek, ak_public: state.lies.ak_public.clone().unwrap_or(real) }
    }

    /// TPM2_ActivateCredential; both buffers with their size.
    pub fn open(&self, credential: &[u8], secret: &[u8]) -> Result<Activated, SoftTpmError> {
        if let Some(guess) = self.state().lies.activated {
            return Ok(Secret::new(guess));
        }
        self.unwrap(credential, secret).ok_or(SoftTpmError::ActivateCredential)
    }

    fn unwrap(&self, credential: &[u8], secret: &[u8]) -> Option<Activated> {
        let name = name(&self.offer().ak_public);
        let plain = self.ek.open(self.seat, &name, credential, secret)?;
        Secret::try_from(plain.as_slice()).ok()
    }

    /// TPM2_Quote over sha256:0-15.
    pub fn sign_quote(&self, qualifying: impl AsRef<[u8]>) -> QuoteParts {
        self.sign_quote_of(PcrSet::CCNODE, qualifying)
    }

    /// TPM2_Quote over `set` of the SHA-256 bank; PCRs that the boot says nothing of are zero.
    pub fn sign_quote_of(&self, set: PcrSet, qualifying: impl AsRef<[u8]>) -> QuoteParts {
        let state = self.state();
        let lies = &state.lies;
        let all = state.boot.pcrs();
        let value = |i| (i, all.get(i).copied().unwrap_or(Sha256Digest::ZERO));
        let pcrs = PcrValues(set.iter().map(value).collect());
        let values: Vec<u8> = pcrs.0.values().flat_map(|value| value.0).collect();
        let composite = self.ak.digest(&values);
        let signer = name(&self.ak.public(self.seat, AK_ATTRIBUTES));
        let selections = vec![(marshal::SHA256, set.to_bitmap().to_vec())];
        let message = Attest {
            magic: lies.magic.unwrap_or(0xff54_4347),
            tag: lies.tag.unwrap_or(0x8018),
            signer: &signer,
            extra: lies.qualifying.as_deref().unwrap_or(qualifying.as_ref()),
            clock: (state.clock, state.resets, state.restarts, 1),
            selections: lies.selections.as_deref().unwrap_or(&selections),
            pcr_digest: lies.pcr_digest.as_deref().unwrap_or(&composite),
        }
        .marshal();
        QuoteParts {
            signature: self.ak.sign(lies.signer.unwrap_or(self.seat), &message),
            message,
            pcrs: lies.sent_pcrs.clone().unwrap_or(pcrs),
            ak_public: self.ak.spki(lies.sent_ak.unwrap_or(self.seat)),
        }
    }

    /// SubjectPublicKeyInfo of the attestation key, DER.
    pub fn ak_spki(&self) -> Vec<u8> {
        self.ak.spki(self.seat)
    }

    /// The attestation key's TPMT_SIGNATURE over anything, which no TPM makes with a restricted key.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.ak.sign(self.seat, message)
    }

    /// The logs as they travel.
    pub fn read_logs(&self) -> EventLogs {
        let state = self.state();
        state.lies.logs.clone().unwrap_or_else(|| state.boot.logs())
    }
}

impl TpmSource for SoftTpm {
    type Error = SoftTpmError;

    async fn identity(&self) -> Result<Identity, SoftTpmError> {
        Ok(self.offer())
    }

    async fn activate(&self, credential: Vec<u8>, secret: Vec<u8>) -> Result<Activated, SoftTpmError> {
        self.open(&credential, &secret)
    }

    async fn quote_pcrs(&self, set: PcrSet, extra: ExtraData) -> Result<QuoteParts, SoftTpmError> {
        Ok(self.sign_quote_of(set, extra.bytes()))
    }
}

impl EvidenceSource for SoftTpm {
    type Error = SoftTpmError;
    type Tpm = Self;
    type Report = Absent<SoftTpmError>;

    fn supports_tpm(&self) -> Option<&Self> {
        Some(self)
    }

    fn supports_report(&self) -> Option<&Self::Report> {
        None
    }

    async fn logs(&self) -> Result<EventLogs, SoftTpmError> {
        Ok(self.read_logs())
    }
}

/// The Name of an object: its nameAlg, and that hash of its TPMT_PUBLIC. A stand-in where a test sends garbage.
pub(crate) fn name(public: &[u8]) -> Vec<u8> {
    let hash = match public.get(2..4) {
        Some([0, 0x0c]) => Sha384::digest(public).to_vec(),
        _ => Sha256::digest(public).to_vec(),
    };
    let alg = if hash.len() == 48 { marshal::SHA384 } else { marshal::SHA256 };
    [&alg.to_be_bytes()[..], &hash].concat()
}
