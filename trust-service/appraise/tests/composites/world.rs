//! A pool, its makers and hardware, and sessions of machines in it.

use ccnode_appraise::{
    Collateral as _, EkRoot, Hardware as Compiled, HardwarePolicy, Offered, References, Refused, Rejection,
    Session, Shelf, SnpLaunch, TdxLaunch, TpmIdentity, TrustLevel, UnixTime, Verdict, VtpmKeepers, appraise,
};
use ccnode_evidence::{
    EvidenceKind, ImageTuple, Nonce, PlatformTuple, ReportSource as _, Secret, Sha256Digest,
};
use ccnode_protocol::{Attestation, NodeName, jwe::EphemeralKey};
use ccnode_snp::{DangerRoot, Hex, Product};
use ccnode_tdx::Measurement;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::tdx::{self, Platform};
use ccnode_testkit::{Boot, Hardware, Machine, MakerCa, NOW, Reply, Seat, SoftTpm, kubelet_csr};
use rsa::rand_core::OsRng;
use std::sync::{Arc, LazyLock};

/// What a test chip measures unless it lies.
pub(crate) const MEASUREMENT: [u8; 48] = [0x11; 48];
/// What a test platform's TD measures unless it lies.
pub(crate) const MR_TD: [u8; 48] = [0x22; 48];

/// One platform and its collateral for all tests: keys take their time.
pub(crate) static PLATFORM: LazyLock<Arc<Platform>> = LazyLock::new(|| Arc::new(Platform::new()));

pub(crate) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

pub(crate) struct World {
    pub(crate) maker: MakerCa,
    pub(crate) platforms: Vec<PlatformTuple>,
    pub(crate) images: Vec<ImageTuple>,
    pub(crate) policy: HardwarePolicy,
    pub(crate) shelf: Shelf,
    pub(crate) now: UnixTime,
    /// What the maker's TPMs are said to be worth.
    pub(crate) ek_level: TrustLevel,
}

/// A challenge to one machine.
pub(crate) struct Challenge {
    pub(crate) nonce: Nonce,
    pub(crate) secret: Secret<32>,
    pub(crate) key: EphemeralKey,
    pub(crate) kind: EvidenceKind,
    pub(crate) identity: Option<TpmIdentity>,
}

impl World {
    /// A pool that trusts the test roots, knows the standard boot, and takes test chips and TDs as keepers of vTPMs.
    pub(crate) fn new() -> Self {
        let mut policy = HardwarePolicy::default();
        for (product, chip) in [(Product::Milan, TestChip::milan()), (Product::Turin, TestChip::turin())] {
            let certificates = pem(&chip.ark_der()) + &pem(&chip.ask_der());
            policy.snp.danger_roots.push(DangerRoot { product, certificates });
        }
        policy.tdx.danger_roots.push(pem(&PLATFORM.root()));
        policy.vtpm_keepers = VtpmKeepers {
            snp_measurements: vec![Hex(MEASUREMENT)],
            tdx_mr_td: vec![Measurement(MR_TD)],
            ..VtpmKeepers::default()
        };
        let mut shelf = Shelf::default();
        shelf.add_tdx(&tdx::Collateral::default().sign(&PLATFORM).to_string()).unwrap();
        assert!(!shelf.is_empty() && shelf.tdx(&tdx::FMSPC).is_some());
        Self {
            maker: MakerCa::new("Test Maker"),
            platforms: vec![Boot::standard().platform_tuple("q35")],
            images: vec![Boot::standard().image_tuple("worker", "1", Sha256Digest([0xee; 32]))],
            policy,
            shelf,
            now: UnixTime(NOW),
            ek_level: TrustLevel::HypervisorVtpm,
        }
    }

    /// A world that lists the test launches for its image, too.
    pub(crate) fn with_launches() -> Self {
        let mut world = Self::new();
        let image = world.images[0].id();
        world.policy.snp_launches = vec![SnpLaunch { image, measurement: Hex(MEASUREMENT) }];
        let rtmr = |n: u8| Measurement([n; 48]);
        world.policy.tdx_launches = vec![TdxLaunch {
            image,
            mr_td: Measurement(MR_TD),
            rtmr0: rtmr(0x60),
            rtmr1: rtmr(0x61),
            rtmr2: rtmr(0x62),
        }];
        world
    }

    pub(crate) fn tpm(&self) -> SoftTpm {
        SoftTpm::new(&self.maker, Seat::A)
    }

    /// A machine under an SVSM that keeps `tpm`, whose endorsement key has no certificate.
    pub(crate) fn svsm(&self) -> Machine {
        let tpm = self.tpm().without_certificate();
        let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public());
        Machine::with(tpm, hardware)
    }

    pub(crate) fn challenge(&self, machine: &Machine) -> Challenge {
        let identity = machine.offer().map(|offer| TpmIdentity::of(&offer).unwrap());
        Challenge {
            nonce: Nonce(Secret::new([7; 32]).expose().map(|b| b ^ machine.kind() as u8)),
            secret: Secret::new([9; 32]),
            key: EphemeralKey::generate(),
            kind: machine.kind(),
            identity,
        }
    }

    pub(crate) fn judge(
        &self,
        challenge: &Challenge,
        attestation: &Attestation,
    ) -> Result<Verdict, Box<Refused>> {
        let hardware = Compiled::new(self.policy.clone()).unwrap();
        let roots = [self.maker.root(), self.maker.intermediate()];
        let roots = roots.map(|der| EkRoot::parse(der, self.ek_level).unwrap());
        let pairs = [(self.platforms[0].id(), self.images[0].id())];
        let references = References {
            platforms: &self.platforms,
            images: &self.images,
            pairs: &pairs,
            ek_roots: &roots,
            allow_init_data: false,
            hardware: &hardware,
            collateral: &self.shelf,
        };
        let tpm = challenge.identity.as_ref().map(|identity| Offered { identity, secret: &challenge.secret });
        let session = Session { nonce: &challenge.nonce, kind: challenge.kind, tpm };
        appraise(&session, attestation, &references, self.now)
    }

    pub(crate) fn run(&self, machine: &Machine) -> Result<Verdict, Box<Refused>> {
        let challenge = self.challenge(machine);
        self.judge(&challenge, &challenge.answer(machine))
    }

    pub(crate) fn refused(&self, machine: &Machine) -> Box<Refused> {
        match self.run(machine) {
            Ok(verdict) => panic!("{machine:?} was taken at level {}", verdict.level),
            Err(refused) => refused,
        }
    }

    pub(crate) fn rejection(&self, machine: &Machine) -> Rejection {
        self.refused(machine).rejection
    }
}

impl Challenge {
    /// What an honest machine answers.
    pub(crate) fn answer(&self, machine: &Machine) -> Attestation {
        let name: NodeName = "workers-aaaaaaaaaa".parse().unwrap();
        let opened = self.identity.as_ref().map(|identity| {
            let (credential, secret) = identity.make_credential(&self.secret, &mut OsRng).unwrap();
            machine.tpm.as_ref().unwrap().open(&credential, &secret).unwrap()
        });
        let csr = Some(kubelet_csr(&name).0);
        machine.attest(&Reply { nonce: &self.nonce, secret: opened.as_ref(), key: &self.key, csr })
    }
}
