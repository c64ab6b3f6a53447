//! Many TPMs at little cost: keys of their own from a stock of primes, quotes over one measured boot. For load, not for secrets.

use crate::ek::unsized_all;
use crate::many_primes::{Key, Keys};
use crate::marshal::{self, Attest};
use crate::session::{Answer, attest_knowing, kubelet_csr_of};
use crate::tpm::name;
use crate::{AK_ATTRIBUTES, AkKind, Boot, EkKind, EkProfile, MakerCa};
use ccnode_evidence::{Ek, EventLogs, Identity, Nonce, PcrValues, QuoteParts, Secret, Sha256Digest};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_protocol::{Activation, Attestation};
use rcgen::KeyPair;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

/// Machines of one maker that booted alike.
pub struct Fleet {
    /// The TPMs.
    pub tpms: Vec<FleetTpm>,
    logs: EventLogs,
    logs_digest: Sha256Digest,
    pcrs: PcrValues,
    pcr_digest: Vec<u8>,
}

/// A TPM whose keys are RSA-2048, as ccnode-init makes and finds them. Its machine has the same keys in every boot, for a service
/// can't tell, and making them would be most of what a boot costs here.
pub struct FleetTpm {
    session: EphemeralKey,
    kubelet: KeyPair,
    ek: Key,
    ak: Key,
    ak_spki: Vec<u8>,
    ak_name: Vec<u8>,
    offer: Identity,
}

impl std::fmt::Debug for FleetTpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FleetTpm({})", data_encoding::HEXLOWER.encode(&self.ak_name))
    }
}

impl Fleet {
    /// So many TPMs, certified by `maker`, in machines that measured `boot`.
    pub fn new(maker: &MakerCa, count: usize, boot: &Boot) -> Self {
        let mut keys = Keys::new();
        let pcrs = PcrValues(boot.pcrs().0.into_iter().filter(|(i, _)| i.get() < 16).collect());
        let values: Vec<u8> = pcrs.0.values().flat_map(|value| value.0).collect();
        let logs = boot.logs();
        Self {
            tpms: (0..count).map(|_| FleetTpm::new(maker, keys.next_key(), keys.next_key())).collect(),
            logs_digest: logs.digest().expect("canonical JSON"),
            logs,
            pcrs,
            pcr_digest: AkKind::RsassaSha256.digest(&values),
        }
    }

    /// The nodes' logs.
    pub fn logs(&self) -> &EventLogs {
        &self.logs
    }

    /// What `tpm` answers a challenge with in its boot number `reset`, and the request that it binds.
    pub fn answer(
        &self,
        tpm: &FleetTpm,
        reset: u32,
        challenge: (&Nonce, &Activation),
    ) -> (Attestation, Vec<u8>) {
        let (nonce, activation) = challenge;
        let secret = tpm.open(&activation.credential.0, &activation.secret.0).expect("a credential for it");
        let name = activation.name.open(&secret).expect("a name under the secret");
        let csr = kubelet_csr_of(&tpm.kubelet, &name);
        let answer = Answer { nonce, secret: &secret, key: &tpm.session, csr: Some(csr.clone()) };
        let logs = (self.logs.clone(), self.logs_digest);
        let attestation = attest_knowing(&answer, logs, None, |extra| self.quote(tpm, reset, &extra));
        (attestation, csr)
    }

    fn quote(&self, tpm: &FleetTpm, reset: u32, extra: &[u8]) -> QuoteParts {
        let selections = [(marshal::SHA256, vec![0xff, 0xff, 0x00])];
        let message = Attest {
            magic: 0xff54_4347,
            tag: 0x8018,
            signer: &tpm.ak_name,
            extra,
            clock: (60_000 * u64::from(reset), reset, 0, 1),
            selections: &selections,
            pcr_digest: &self.pcr_digest,
        }
        .marshal();
        let signature = marshal::sized(&tpm.ak.sign(&message));
        QuoteParts {
            // TPM_ALG_RSASSA, TPM_ALG_SHA256.
            signature: [&[0x00, 0x14, 0x00, 0x0b], signature.as_slice()].concat(),
            message,
            pcrs: self.pcrs.clone(),
            ak_public: tpm.ak_spki.clone(),
        }
    }
}

impl FleetTpm {
    fn new(maker: &MakerCa, ek: Key, ak: Key) -> Self {
        let ek_cert = maker.certify(ek.public(), &EkProfile::default());
        let ak_public = AkKind::RsassaSha256.rsa_public(&ak.public().n().to_bytes_be(), AK_ATTRIBUTES);
        let spki = ak.public().to_public_key_der().expect("a key");
        Self {
            session: EphemeralKey::generate(),
            kubelet: KeyPair::generate().expect("a key"),
            ek,
            ak,
            ak_spki: spki.into_vec(),
            ak_name: name(&ak_public),
            offer: Identity { ek: Ek::Certificate(ek_cert), ak_public },
        }
    }

    /// What the auth request offers.
    pub fn offer(&self) -> &Identity {
        &self.offer
    }

    /// The key that its machine's secrets are sealed to.
    pub fn session(&self) -> &EphemeralKey {
        &self.session
    }

    /// TPM2_ActivateCredential; both buffers with their size.
    pub fn open(&self, credential: &[u8], secret: &[u8]) -> Option<Secret<32>> {
        let seed = self.ek.decrypt(b"IDENTITY\0", unsized_all(secret)?)?;
        let plain = EkKind::Rsa2048.open_with(&seed, &self.ak_name, credential)?;
        Secret::try_from(plain.as_slice()).ok()
    }
}
