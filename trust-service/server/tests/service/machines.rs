//! Confidential VMs in software as nodes of a pool, and what that pool demands of hardware.

use crate::fixture::*;
use ccnode_appraise::Shelf;
use ccnode_evidence::{Code, Secret, Sha256Digest};
use ccnode_protocol::admin::{self, OnUnknown, Rule, TrustLevel};
use ccnode_protocol::{Asks, Attestation, NodeName};
use ccnode_server::pki;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::tdx::{self, Platform};
use ccnode_testkit::{Boot, Hardware, Machine, MakerCa, Reply, Seat, SoftTpm, kubelet_csr};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// One platform for all tests: keys take their time.
pub(crate) static PLATFORM: LazyLock<Arc<Platform>> = LazyLock::new(|| Arc::new(Platform::new()));

/// What a launch measures that covers an image whole; what the kit's guests measure otherwise is a vTPM's keeper.
const LAUNCH: [u8; 48] = [0x31; 48];

/// Demands of a pool that trusts the test roots, takes the kit's guests as keepers of vTPMs, and lists a launch of `image`.
pub(crate) fn policy(image: Sha256Digest) -> Value {
    let (chip, hex) = (TestChip::milan(), |byte: &str| byte.repeat(48));
    let pem = |der: &[u8]| pki::pem("CERTIFICATE", der);
    json!({
        "snp": {"danger-roots": [
            {"product": "milan", "certificates": pem(&chip.ark_der()) + &pem(&chip.ask_der())},
        ]},
        "tdx": {"danger-roots": [pem(&PLATFORM.root())]},
        "vtpm-keepers": {"snp-measurements": [hex("11")], "tdx-mr-td": [hex("22")]},
        "snp-launches": [{"image": image, "measurement": hex("31")}],
        "tdx-launches": [
            {"image": image, "mr-td": hex("31"), "rtmr0": hex("60"), "rtmr1": hex("61"), "rtmr2": hex("62")},
        ],
    })
}

/// Sets the pool's whole hardware policy.
pub(crate) async fn try_demand(trust: &Trust, policy: &Value) -> Answered<Value> {
    trust.admin().call(Method::PUT, &admin::path(admin::POOL_HARDWARE, &[&POOL]), policy).await
}

pub(crate) async fn demand(trust: &Trust, policy: &Value) {
    try_demand(trust, policy).await.unwrap();
}

/// The demands as they are, edited.
pub(crate) async fn edit_demands(trust: &Trust, edit: impl FnOnce(&mut Value)) {
    let mut policy: Value = trust.admin().get(&admin::path(admin::POOL_HARDWARE, &[&POOL])).await;
    edit(&mut policy);
    demand(trust, &policy).await;
}

/// The collateral of the platform, by which it has this status now.
pub(crate) fn collateral(trust: &Trust, status: &str) -> String {
    tdx::Collateral::with_status_at(status, trust.service().now()).sign(&PLATFORM).to_string()
}

pub(crate) fn shelve(trust: &Trust, status: &str) {
    let mut shelf = Shelf::default();
    shelf.add_tdx(&collateral(trust, status)).unwrap();
    trust.service().collateral.replace(shelf);
}

/// A pool of confidential VMs that enrols by these rules, and a maker whose vTPMs are worth no more than a hypervisor's.
pub(crate) async fn confidential(rules: &[Rule]) -> (Trust, MakerCa) {
    let trust = Trust::new().await;
    let (maker, admin) = (MakerCa::new("maker"), trust.admin());
    admin.create_pool(OnUnknown::Enrol, rules).await;
    admin.trust_maker(&maker, TrustLevel::HypervisorVtpm).await;
    let pair = admin.allow(&Boot::standard(), verity()).await;
    demand(&trust, &policy(pair.image)).await;
    shelve(&trust, "UpToDate");
    (trust, maker)
}

/// A machine whose SVSM keeps a TPM without a certificate.
pub(crate) fn svsm(seat: Seat) -> Machine {
    let tpm = SoftTpm::new(&MakerCa::new("nobody"), seat).without_certificate();
    let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public());
    Machine::with(tpm, hardware)
}

/// The same whose TPM has a certificate of `maker`, too.
pub(crate) fn certified_svsm(maker: &MakerCa, seat: Seat) -> Machine {
    let tpm = SoftTpm::new(maker, seat);
    let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public());
    Machine::with(tpm, hardware)
}

pub(crate) fn azure(seat: Seat, hardware: Hardware) -> Machine {
    Machine::with(SoftTpm::new(&MakerCa::new("nobody"), seat), hardware)
}

/// One launch of a listed image without a TPM; another `launch` has another REPORT_ID.
pub(crate) fn bare_snp(launch: u8) -> Machine {
    Machine::bare(Hardware::snp(TestChip::milan()).reporting(move |spec| {
        spec.measurement = LAUNCH;
        spec.report_id = [launch; 32];
    }))
}

pub(crate) fn bare_tdx() -> Machine {
    Machine::bare(Hardware::tdx(&PLATFORM).quoting(|td| td.mr_td = LAUNCH))
}

pub(crate) fn tpm_of(machine: &Machine) -> &SoftTpm {
    machine.tpm.as_ref().unwrap()
}

pub(crate) async fn offer(trust: &Trust, machine: &Machine) -> Challenged {
    try_challenge(trust, &machine.auth_request(&pool())).await.unwrap()
}

impl Challenged {
    /// The secret that an honest machine opens; `None` where it offered no TPM.
    pub(crate) fn opened(&self, machine: &Machine) -> Option<Secret<32>> {
        machine.tpm.as_ref().map(|tpm| self.secret(tpm))
    }

    pub(crate) fn node_name(&self, secret: Option<&Secret<32>>) -> NodeName {
        match (&self.asks, secret) {
            (Asks::Report { node }, None) => node.clone(),
            (_, Some(secret)) => self.name(secret),
            (Asks::Activation(_), None) => panic!("a credential, and nothing opened"),
        }
    }

    /// What an honest machine sends, with the request that it binds.
    pub(crate) fn reply(&self, machine: &Machine) -> (Attestation, Vec<u8>) {
        let secret = self.opened(machine);
        let (csr, _) = kubelet_csr(&self.node_name(secret.as_ref()));
        (self.reply_with(machine, secret.as_ref(), &csr), csr)
    }

    /// What a machine sends that opened (or guessed) this secret.
    pub(crate) fn reply_with(
        &self,
        machine: &Machine,
        secret: Option<&Secret<32>>,
        csr: &[u8],
    ) -> Attestation {
        machine.attest(&Reply { nonce: &self.nonce, secret, key: &self.key, csr: Some(csr.to_vec()) })
    }
}

/// Challenge, attestation, grants.
pub(crate) async fn join(trust: &Trust, machine: &Machine) -> Answered<Granted> {
    let session = offer(trust, machine).await;
    let (attestation, csr) = session.reply(machine);
    let token = session.attest(&attestation).await?.token;
    let grants = session.grants().await?;
    Ok(Granted { session, grants, csr, token })
}

/// Up to `ready`.
pub(crate) async fn join_first(trust: &Trust, machine: &Machine) -> Granted {
    let granted = join(trust, machine).await.unwrap();
    granted.formatted(header()).await.unwrap();
    granted.ready(verity()).await.unwrap();
    granted
}

/// Why an honest session of a machine gets no verdict.
pub(crate) async fn refused(trust: &Trust, machine: &Machine) -> Code {
    let session = offer(trust, machine).await;
    let (attestation, _) = session.reply(machine);
    code(session.attest(&attestation).await)
}

/// Nobody is on record: what was refused proved nothing of anybody.
pub(crate) async fn nobody(trust: &Trust) {
    let nodes: Vec<admin::NodeRecord> = trust.admin().get(admin::NODES).await;
    assert!(nodes.is_empty(), "{nodes:?}");
}
