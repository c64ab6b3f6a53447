//! A whole attestation as a node of realistic size sends it, with all that a service needs to judge it: for benchmarks.

use crate::session::{Answer, attest, kubelet_csr};
use crate::{Boot, MakerCa, NOW, Seat, SoftTpm};
use ccnode_evidence::{ImageTuple, Nonce, PlatformTuple, Secret, Sha256Digest};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_protocol::{Attestation, NodeName};

const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_BOOT_SERVICES_DRIVER: u32 = 0x8000_0004;
const EV_EFI_HANDOFF_TABLES: u32 = 0x8000_0009;

/// A node's answer to a challenge, and the pool that takes it.
///
/// For a benchmark: `TpmIdentity::parse(ek_cert, ak_public)`, a `Session` of it with `nonce` and `secret`, `References` of
/// `ek_roots`, `platform`, `image` and that pair, then `appraise` at `now`, over and over.
pub struct Scene {
    /// EK certificate, DER.
    pub ek_cert: Vec<u8>,
    /// TPMT_PUBLIC of the attestation key, RSA-2048.
    pub ak_public: Vec<u8>,
    /// Root and intermediate of the TPM's maker, DER.
    pub ek_roots: [Vec<u8>; 2],
    /// The platform that booted.
    pub platform: PlatformTuple,
    /// The image that booted.
    pub image: ImageTuple,
    /// The challenge's nonce.
    pub nonce: Nonce,
    /// The challenge's secret, activated.
    pub secret: Secret<32>,
    /// Body of the attest request, read.
    pub attestation: Attestation,
    /// A time within all validities, in seconds since 1970.
    pub now: u64,
}

impl Scene {
    /// A node whose firmware's log has at least `log_size` bytes: 40 KiB are what a server's firmware writes.
    pub fn new(log_size: usize) -> Self {
        let boot = Self::boot(log_size);
        let maker = MakerCa::new("Test Maker");
        let tpm = SoftTpm::new(&maker, Seat::A);
        tpm.reboot(boot.clone());
        let (nonce, secret, key) = (Nonce([3; 32]), Secret::new([4; 32]), EphemeralKey::generate());
        let name: NodeName = "workers-aaaaaaaaaa".parse().expect("a name");
        let answer = Answer { nonce: &nonce, secret: &secret, key: &key, csr: Some(kubelet_csr(&name).0) };
        let attestation = attest(&tpm, &answer);
        Self {
            ek_cert: tpm.ek_cert(),
            ak_public: tpm.offer().ak_public,
            ek_roots: [maker.root(), maker.intermediate()],
            platform: boot.platform_tuple("q35"),
            image: boot.image_tuple("worker", "1", Sha256Digest([0xee; 32])),
            nonce,
            secret,
            attestation,
            now: NOW,
        }
    }

    /// A boot whose firmware's log has at least so many bytes.
    pub fn boot(log_size: usize) -> Boot {
        let mut boot = Boot::standard();
        fill(&mut boot, log_size);
        boot
    }
}

/// What makes a server's log long: Secure Boot databases of some KiB, drivers by the dozen, tables.
fn fill(boot: &mut Boot, size: usize) {
    let length = |boot: &Boot| boot.logs().event_log.0.len();
    let mut round = 0u32;
    while length(boot) < size {
        let left = size - length(boot);
        let database = vec![0x5a; left.min(4096)];
        boot.event(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &database, &database, "Secure Boot variable `dbx`");
        for driver in 0..8u32 {
            let data = [&round.to_le_bytes()[..], &driver.to_le_bytes(), &[0; 120]].concat();
            let image = [&b"driver"[..], &data].concat();
            boot.event(2, EV_EFI_BOOT_SERVICES_DRIVER, &data, &image, "boot services driver");
        }
        boot.event(1, EV_EFI_HANDOFF_TABLES, &[0; 40], &round.to_le_bytes(), "handoff tables");
        round += 1;
    }
}
