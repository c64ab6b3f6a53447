//! Many TPMs at little cost: keys of their own from a stock of primes, quotes over one measured boot. For load, not for secrets.

use crate::ek::unsized_all;
use crate::marshal::{self, Attest};
use crate::session::{Answer, attest_with, kubelet_csr};
use crate::tpm::name;
use crate::{AK_ATTRIBUTES, AkKind, Boot, EkKind, EkProfile, MakerCa};
use ccnode_evidence::{Ek, EventLogs, Identity, Nonce, PcrValues, QuoteParts, Secret};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_protocol::{Activation, Attestation};
use rsa::pkcs8::EncodePublicKey as _;
use rsa::rand_core::OsRng;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BigUint, Oaep, RsaPrivateKey, RsaPublicKey, pkcs1v15};
use sha2::Sha256;

/// Primes in a key. A service sees a modulus of 2048 bits; what the key's owner computes is small, as on a chip of its own.
const PRIMES: usize = 8;
/// Bits of each.
const BITS: usize = 256;
/// Primes that keys are put together from.
const STOCK: usize = 256;

/// Machines of one maker that booted alike.
pub struct Fleet {
    /// The TPMs.
    pub tpms: Vec<FleetTpm>,
    logs: EventLogs,
    pcrs: PcrValues,
    digest: Vec<u8>,
}

/// A TPM whose keys are RSA-2048, as ccnode-init makes and finds them.
pub struct FleetTpm {
    ek: RsaPrivateKey,
    ak: pkcs1v15::SigningKey<Sha256>,
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
        Self {
            tpms: (0..count).map(|_| FleetTpm::new(maker, keys.next_key(), keys.next_key())).collect(),
            logs: boot.logs(),
            pcrs,
            digest: AkKind::RsassaSha256.digest(&values),
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
        key: &EphemeralKey,
    ) -> (Attestation, Vec<u8>) {
        let (nonce, activation) = challenge;
        let secret = tpm.open(&activation.credential.0, &activation.secret.0).expect("a credential for it");
        let (csr, _) = kubelet_csr(&activation.name.open(&secret).expect("a name under the secret"));
        let answer = Answer { nonce, secret: &secret, key, csr: Some(csr.clone()) };
        let attestation = attest_with(&answer, self.logs.clone(), |extra| self.quote(tpm, reset, &extra));
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
            pcr_digest: &self.digest,
        }
        .marshal();
        let signature = marshal::sized(&tpm.ak.sign(&message).to_vec());
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
    fn new(maker: &MakerCa, ek: RsaPrivateKey, ak: RsaPrivateKey) -> Self {
        let ek_cert = maker.certify(&RsaPublicKey::from(&ek), &EkProfile::default());
        let ak_public = AkKind::RsassaSha256.rsa_public(&ak.n().to_bytes_be(), AK_ATTRIBUTES);
        let spki = RsaPublicKey::from(&ak).to_public_key_der().expect("a key");
        Self {
            ek,
            ak: pkcs1v15::SigningKey::new(ak),
            ak_spki: spki.into_vec(),
            ak_name: name(&ak_public),
            offer: Identity { ek: Ek::Certificate(ek_cert), ak_public },
        }
    }

    /// What the auth request offers.
    pub fn offer(&self) -> &Identity {
        &self.offer
    }

    /// TPM2_ActivateCredential; both buffers with their size.
    pub fn open(&self, credential: &[u8], secret: &[u8]) -> Option<Secret<32>> {
        let padding = Oaep::new_with_label::<Sha256, _>("IDENTITY\0");
        let seed = self.ek.decrypt(padding, unsized_all(secret)?).ok()?;
        let plain = EkKind::Rsa2048.open_with(&seed, &self.ak_name, credential)?;
        Secret::try_from(plain.as_slice()).ok()
    }
}

/// Keys put together from a stock of primes, each of other ones than those before it.
struct Keys {
    primes: Vec<BigUint>,
    next: usize,
}

impl Keys {
    fn new() -> Self {
        let mut primes = Vec::with_capacity(STOCK);
        while primes.len() < STOCK {
            let pair = RsaPrivateKey::new(&mut OsRng, 2 * BITS).expect("two primes");
            // So large that the product of eight has all its bits.
            let large = pair.primes().iter().filter(|prime| prime.to_bytes_be()[0] >= 0xec);
            primes.extend(large.cloned());
        }
        Self { primes, next: 0 }
    }

    fn next_key(&mut self) -> RsaPrivateKey {
        loop {
            let (start, step) = (self.next % self.primes.len(), 1 + self.next / self.primes.len());
            self.next += 1;
            let place = |n| (start + n * step) % self.primes.len();
            let primes = (0..PRIMES).map(|n| self.primes[place(n)].clone()).collect();
            // Fails where a prime came twice.
            if let Ok(key) = RsaPrivateKey::from_primes(primes, BigUint::from(65_537u32)) {
                return key;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_whole_and_of_their_own() {
        let mut keys = Keys::new();
        let all: Vec<RsaPrivateKey> = (0..600).map(|_| keys.next_key()).collect();
        let moduli: BTreeSet<Vec<u8>> = all.iter().map(|key| key.n().to_bytes_be()).collect();
        assert_eq!(moduli.len(), all.len());
        assert!(all.iter().all(|key| key.n().bits() == PRIMES * BITS));
        all[599].validate().unwrap();
    }
}
