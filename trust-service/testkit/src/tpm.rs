//! The TPM: two keys that anybody can read, PCRs of a [`Boot`], credential activation, quotes, and lies on demand.

use crate::marshal::{self, Attest};
use crate::{Boot, EkProfile, MakerCa};
use ccnode_evidence::{
    Absent, Activated, Ek, EventLogs, EvidenceSource, ExtraData, Identity, PcrSet, PcrValues, QuoteParts,
    Secret, Sha256Digest, TpmSource,
};
use cfb_mode::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey, pkcs1v15};
use sha2::Sha256;
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
    fn ek(self) -> RsaPrivateKey {
        key(match self {
            Self::A => include_bytes!("../keys/ek-a.der"),
            Self::B => include_bytes!("../keys/ek-b.der"),
            Self::C => include_bytes!("../keys/ek-c.der"),
        })
    }

    fn ak(self) -> RsaPrivateKey {
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
    ek: RsaPrivateKey,
    ak: RsaPrivateKey,
    ek_cert: Vec<u8>,
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
        let (ek, ak) = (seat.ek(), seat.ak());
        let ek_cert = maker.certify(&RsaPublicKey::from(&ek), profile);
        let state = State { boot, lies: Lies::default(), clock: 1_000, resets: 1, restarts: 0 };
        Self { ek, ak, ek_cert, state: Mutex::new(state) }
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
        let real = marshal::signing_key(attributes, &self.ak.n().to_bytes_be());
        Identity {
            ek: Ek::Certificate(state.lies.ek_cert.clone().unwrap_or_else(|| self.ek_cert.clone())),
            ak_public: state.lies.ak_public.clone().unwrap_or(real),
        }
    }

    /// TPM2_ActivateCredential; both buffers with their size.
    pub fn open(&self, credential: &[u8], secret: &[u8]) -> Result<Activated, SoftTpmError> {
        if let Some(guess) = self.state().lies.activated {
            return Ok(Secret::new(guess));
        }
        self.unwrap(credential, secret).ok_or(SoftTpmError::ActivateCredential)
    }

    fn unwrap(&self, credential: &[u8], secret: &[u8]) -> Option<Activated> {
        let name =
            [&marshal::SHA256.to_be_bytes()[..], &Sha256Digest::of(&self.offer().ak_public).0].concat();
        let padding = Oaep::new_with_label::<Sha256, _>("IDENTITY\0");
        let seed = self.ek.decrypt(padding, unsized_all(secret)?).ok()?;
        let (mac, identity) = unsized_front(unsized_all(credential)?)?;
        let mut hmac = hmac(&kdfa(&seed, b"INTEGRITY", &[], 256));
        hmac.update(identity);
        hmac.update(&name);
        hmac.verify_slice(mac).ok()?;
        let key = kdfa(&seed, b"STORAGE", &name, 128);
        let mut plain = identity.to_vec();
        cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(key.get(..16)?, &[0; 16])
            .ok()?
            .decrypt(&mut plain);
        Secret::try_from(unsized_all(&plain)?).ok()
    }

    /// TPM2_Quote over sha256:0-15.
    pub fn sign_quote(&self, qualifying: impl AsRef<[u8]>) -> QuoteParts {
        let state = self.state();
        let lies = &state.lies;
        let all = state.boot.pcrs();
        let pcrs = PcrValues(all.0.into_iter().filter(|(i, _)| i.get() < 16).collect());
        let composite = pcrs.composite(PcrSet::CCNODE).expect("sixteen values");
        let selections = vec![(marshal::SHA256, vec![0xff, 0xff, 0x00])];
        let message = Attest {
            magic: lies.magic.unwrap_or(0xff54_4347),
            tag: lies.tag.unwrap_or(0x8018),
            signer: &[0x00, 0x0b],
            extra: lies.qualifying.as_deref().unwrap_or(qualifying.as_ref()),
            clock: (state.clock, state.resets, state.restarts, 1),
            selections: lies.selections.as_deref().unwrap_or(&selections),
            pcr_digest: lies.pcr_digest.as_deref().unwrap_or(&composite.0),
        }
        .marshal();
        let signer = lies.signer.map_or_else(|| self.ak.clone(), Seat::ak);
        let signature = pkcs1v15::SigningKey::<Sha256>::new(signer).sign(&message).to_vec();
        let ak = lies.sent_ak.map_or_else(|| self.ak.clone(), Seat::ak);
        QuoteParts {
            message,
            signature: marshal::signature(&signature),
            pcrs: lies.sent_pcrs.clone().unwrap_or(pcrs),
            ak_public: RsaPublicKey::from(&ak).to_public_key_der().expect("a key").into_vec(),
        }
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

    async fn quote(&self, extra: ExtraData) -> Result<QuoteParts, SoftTpmError> {
        Ok(self.sign_quote(extra.bytes()))
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

/// The bytes of the TPM2B at the front, and what follows it.
fn unsized_front(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

fn unsized_all(bytes: &[u8]) -> Option<&[u8]> {
    unsized_front(bytes).and_then(|(head, rest)| rest.is_empty().then_some(head))
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("any length")
}

fn kdfa(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Vec<u8> {
    let mut mac = hmac(key);
    mac.update(&[&1u32.to_be_bytes()[..], label, &[0], context, &bits.to_be_bytes()].concat());
    mac.finalize().into_bytes().to_vec()
}
