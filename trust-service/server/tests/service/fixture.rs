//! The administrator of a trust service, and nodes with TPMs in software.

use ccnode_evidence::{Code, Nonce, Secret, Sha256Digest};
use ccnode_protocol::admin::{
    self, EkRootAdd, NodeRecord, OnUnknown, Pair, Pool, PoolCreate, RefusalRecord, Rule, TrustLevel,
};
use ccnode_protocol::grants::{
    Certificate, CertificateRequest, Committed, Formatted, Grant, Grants, Ready, Rotated, Rotation,
    VolumeAction, VolumeGrant,
};
use ccnode_protocol::jwe::{EphemeralKey, Jwe};
use ccnode_protocol::recovery::Recovery;
use ccnode_protocol::{
    ATTEST, AUTH, Activation, Asks, AttestResponse, Attestation, AuthRequest, CERTIFICATE, COMMITTED, COOKIE,
    Challenge, FORMATTED, GRANTS, NodeName, PoolName, Problem, READY, ROTATED,
};
use ccnode_server::pki;
use ccnode_testkit::{Answer, Boot, MakerCa, Seat, SoftTpm, attest, auth_request, kubelet_csr};
use reqwest::{Client, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use crate::steps::*;
pub(crate) use crate::trust::*;

pub(crate) const POOL: &str = "workers";

pub(crate) fn pool() -> PoolName {
    POOL.parse().unwrap()
}

pub(crate) fn verity() -> Sha256Digest {
    Sha256Digest::of(b"root source")
}

pub(crate) fn builder() -> reqwest::ClientBuilder {
    // A connection each: tests look at single connections, and a stopped server keeps none waiting.
    Client::builder().use_rustls_tls().tls_built_in_root_certs(false).pool_max_idle_per_host(0)
}

/// What a request was answered.
pub(crate) type Answered<T> = Result<T, Box<Refused>>;

#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) problem: Problem,
}

pub(crate) fn code<T: std::fmt::Debug>(answer: Answered<T>) -> Code {
    answer.unwrap_err().problem.code.unwrap()
}

pub(crate) async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Answered<T> {
    let status = response.status();
    let body = response.bytes().await.unwrap();
    if status.is_success() {
        let body = if body.is_empty() { b"null".as_slice() } else { &body };
        return Ok(serde_json::from_slice(body).unwrap());
    }
    let problem = serde_json::from_slice(&body)
        .unwrap_or_else(|e| panic!("{status}: {e}: {}", String::from_utf8_lossy(&body)));
    Err(Box::new(Refused { status, problem }))
}

pub(crate) struct Admin {
    pub(crate) client: Client,
    pub(crate) base: String,
}

impl Admin {
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Answered<T> {
        let request = self.client.request(method, format!("{}{path}", self.base)).json(body);
        read(request.send().await.unwrap()).await
    }

    /// A body that is no JSON.
    pub(crate) async fn put_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Answered<T> {
        let request = self.client.put(format!("{}{path}", self.base)).body(body.to_vec());
        read(request.send().await.unwrap()).await
    }

    /// `None` where TLS gave no connection.
    pub(crate) async fn try_get(&self, path: &str) -> Option<StatusCode> {
        let sent = self.client.get(format!("{}{path}", self.base)).send().await;
        sent.ok().map(|response| response.status())
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.call(Method::GET, path, &()).await.unwrap()
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        self.call(Method::POST, path, body).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answered<()> {
        self.call(Method::DELETE, path, &()).await
    }

    pub(crate) async fn create_pool(&self, on_unknown: OnUnknown, rules: &[Rule]) -> Pool {
        let wish = PoolCreate {
            name: pool(),
            on_unknown,
            rules: rules.to_vec(),
            on_foreign_disk: Default::default(),
            allow_init_data: false,
            cluster: None,
        };
        self.post(admin::POOLS, &wish).await
    }

    pub(crate) async fn trust_maker(&self, maker: &MakerCa, level: TrustLevel) {
        for der in [maker.root(), maker.intermediate()] {
            let add = EkRootAdd { certificate: pki::pem("CERTIFICATE", &der), level };
            let _: Pool = self.post(&admin::path(admin::EK_ROOTS, &[&POOL]), &add).await;
        }
    }

    /// Registers what `boot` measures, and allows the pair.
    pub(crate) async fn allow(&self, boot: &Boot, verity: Sha256Digest) -> Pair {
        let (platform, image) = (boot.platform_tuple("qemu"), image(boot, verity));
        let pair = Pair { platform: platform.id(), image: image.id() };
        let _: Answered<serde_json::Value> = self.call(Method::POST, admin::PLATFORMS, &platform).await;
        let _: Answered<serde_json::Value> = self.call(Method::POST, admin::IMAGES, &image).await;
        let _: Pool = self.post(&admin::path(admin::PAIRS, &[&POOL]), &pair).await;
        pair
    }

    pub(crate) async fn node(&self, name: &NodeName) -> NodeRecord {
        self.get(&admin::path(admin::NODE, &[name])).await
    }

    pub(crate) async fn refusals(&self) -> Vec<RefusalRecord> {
        self.get(admin::REFUSALS).await
    }
}

/// The tuple of a boot's image; here its command line declares the root.
pub(crate) fn image(boot: &Boot, verity: Sha256Digest) -> ccnode_evidence::ImageTuple {
    let mut tuple = boot.image_tuple("worker", "1", verity);
    tuple.cmdline.push_str(&format!(" ccnode.roothash={verity}"));
    tuple
}

/// A pool that enrols by the danger rule, one allowed boot, and the maker of its TPMs.
pub(crate) async fn ready() -> (Trust, MakerCa) {
    let trust = Trust::new().await;
    let maker = prepare(&trust).await;
    (trust, maker)
}

pub(crate) async fn prepare(trust: &Trust) -> MakerCa {
    let (maker, admin) = (MakerCa::new("maker"), trust.admin());
    admin.create_pool(OnUnknown::Enrol, &[Rule::DangerHostIsTrusted]).await;
    admin.trust_maker(&maker, TrustLevel::HypervisorVtpm).await;
    admin.allow(&Boot::standard(), verity()).await;
    maker
}

pub(crate) fn tpm(maker: &MakerCa, seat: Seat) -> SoftTpm {
    SoftTpm::new(maker, seat)
}

/// A node's session after the challenge.
pub(crate) struct Challenged {
    pub(crate) client: Client,
    pub(crate) base: String,
    pub(crate) cookie: String,
    pub(crate) nonce: Nonce,
    pub(crate) asks: Asks,
    pub(crate) key: EphemeralKey,
}

impl std::fmt::Debug for Challenged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Challenged")
    }
}

pub(crate) async fn auth(trust: &Trust, request: &impl Serialize) -> Answered<(Challenge, String)> {
    auth_at(&trust.client(), &trust.url(""), request).await
}

pub(crate) async fn auth_at(
    client: &Client,
    base: &str,
    request: &impl Serialize,
) -> Answered<(Challenge, String)> {
    let response = client.post(format!("{base}{AUTH}")).json(request).send().await.unwrap();
    let cookie = response.headers().get("set-cookie").map(|value| {
        let text = value.to_str().unwrap();
        text.split(';').next().unwrap().to_owned()
    });
    read(response).await.map(|challenge| (challenge, cookie.unwrap()))
}

pub(crate) async fn challenge(trust: &Trust, tpm: &SoftTpm) -> Challenged {
    try_challenge(trust, &auth_request(tpm, &pool())).await.unwrap()
}

pub(crate) async fn try_challenge(trust: &Trust, request: &AuthRequest) -> Answered<Challenged> {
    let (client, base) = (trust.client(), trust.url(""));
    let (challenge, cookie) = auth_at(&client, &base, request).await?;
    assert!(cookie.starts_with(COOKIE));
    let asks = challenge.extra_params.ccnode().unwrap().asks.clone();
    Ok(Challenged { client, base, cookie, nonce: challenge.nonce, asks, key: EphemeralKey::generate() })
}

impl Challenged {
    /// What an offered TPM is asked.
    pub(crate) fn activation(&self) -> &Activation {
        match &self.asks {
            Asks::Activation(activation) => activation,
            Asks::Report { node } => panic!("no credential for {node}"),
        }
    }

    pub(crate) fn secret(&self, tpm: &SoftTpm) -> Secret<32> {
        tpm.open(&self.activation().credential.0, &self.activation().secret.0).unwrap()
    }

    /// The name that travels under the secret.
    pub(crate) fn name(&self, secret: &Secret<32>) -> NodeName {
        self.activation().name.open(secret).unwrap()
    }

    /// What an honest node sends, with the request that it binds.
    pub(crate) fn answer(&self, tpm: &SoftTpm) -> (Attestation, Vec<u8>, NodeName) {
        let secret = self.secret(tpm);
        let name = self.name(&secret);
        let (csr, _) = kubelet_csr(&name);
        let answer = Answer { nonce: &self.nonce, secret: &secret, key: &self.key, csr: Some(csr.clone()) };
        (attest(tpm, &answer), csr, name)
    }

    pub(crate) async fn attest(&self, attestation: &impl Serialize) -> Answered<AttestResponse> {
        self.post(ATTEST, attestation).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Answered<T> {
        let request = self.client.post(format!("{}{path}", self.base)).header("cookie", &self.cookie);
        read(request.json(body).send().await.unwrap()).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Answered<T> {
        let request = self.client.get(format!("{}{path}", self.base)).header("cookie", &self.cookie);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn grants(&self) -> Answered<Grants> {
        let jwe: Jwe = self.get(GRANTS).await?;
        Ok(serde_json::from_slice(self.key.open(&jwe).unwrap().expose()).unwrap())
    }
}

/// A node's session with its grants.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) session: Challenged,
    pub(crate) grants: Grants,
    pub(crate) csr: Vec<u8>,
    pub(crate) token: String,
}

fn format_grant(volume: &VolumeGrant) -> (String, Secret<32>) {
    match &volume.action {
        VolumeAction::Format { grant, .. } => (grant.id.clone(), grant.secret.clone()),
        VolumeAction::Open { .. } => panic!("no format grant"),
    }
}

/// Challenge, attestation, grants.
pub(crate) async fn boot(trust: &Trust, tpm: &SoftTpm) -> Answered<Granted> {
    let session = challenge(trust, tpm).await;
    let (attestation, csr, _) = session.answer(tpm);
    let token = session.attest(&attestation).await?.token;
    let grants = session.grants().await?;
    Ok(Granted { session, grants, csr, token })
}

impl Granted {
    /// The root volume.
    pub(crate) fn root(&self) -> &VolumeGrant {
        self.grants.volume().unwrap()
    }

    pub(crate) fn format(&self) -> (String, Secret<32>) {
        format_grant(self.root())
    }

    /// The change of key that it was granted.
    pub(crate) fn rotation(&self) -> Option<Rotation> {
        self.grants.volume()?.rotation().cloned()
    }

    /// Says that a header under the next key is about to be written, in place of what the grant said was.
    pub(crate) async fn rotated(&self, header_digest: Sha256Digest) -> Answered<()> {
        self.rotated_of(self.root(), header_digest).await
    }

    pub(crate) async fn committed(&self, header_digest: Sha256Digest) -> Answered<()> {
        self.committed_of(self.root(), header_digest).await
    }

    pub(crate) async fn formatted(&self, header_digest: Sha256Digest) -> Answered<()> {
        self.formatted_of(self.root(), header_digest).await
    }

    pub(crate) async fn ready(&self, populated_from: Sha256Digest) -> Answered<()> {
        self.ready_of(self.root(), populated_from).await
    }

    pub(crate) async fn rotated_of(&self, volume: &VolumeGrant, header_digest: Sha256Digest) -> Answered<()> {
        let Rotation { grant: Grant { id: grant, secret, .. }, pending: replaces, .. } =
            volume.rotation().unwrap().clone();
        let generation = volume.generation + 1;
        self.session.post(ROTATED, &Rotated { grant, secret, generation, header_digest, replaces }).await
    }

    pub(crate) async fn committed_of(
        &self,
        volume: &VolumeGrant,
        header_digest: Sha256Digest,
    ) -> Answered<()> {
        let Rotation { grant: Grant { id: grant, secret, .. }, .. } = volume.rotation().unwrap().clone();
        let generation = volume.generation + 1;
        self.session.post(COMMITTED, &Committed { grant, secret, generation, header_digest }).await
    }

    pub(crate) async fn formatted_of(
        &self,
        volume: &VolumeGrant,
        header_digest: Sha256Digest,
    ) -> Answered<()> {
        self.formatted_with(volume, header_digest, None).await
    }

    pub(crate) async fn formatted_with(
        &self,
        volume: &VolumeGrant,
        header_digest: Sha256Digest,
        recovery: Option<Recovery>,
    ) -> Answered<()> {
        let ((grant, secret), generation) = (format_grant(volume), volume.generation);
        let formatted = Formatted { grant, secret, generation, header_digest, recovery };
        self.session.post(FORMATTED, &formatted).await
    }

    pub(crate) async fn ready_of(&self, volume: &VolumeGrant, populated_from: Sha256Digest) -> Answered<()> {
        let ((grant, secret), generation) = (format_grant(volume), volume.generation);
        self.session.post(READY, &Ready { grant, secret, generation, populated_from }).await
    }

    pub(crate) async fn certificate(&self, csr: &[u8]) -> Answered<Certificate> {
        let grant = &self.grants.certificate;
        let (id, secret) = (grant.id.clone(), grant.secret.clone());
        let request = CertificateRequest { grant: id, secret, csr: csr.to_vec().into() };
        self.session.post(CERTIFICATE, &request).await
    }
}

/// `ccnode-trust audit verify` on that folder: its exit code, and what it says.
pub(crate) fn verify_audit(dir: &std::path::Path) -> (Option<i32>, String) {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_ccnode-trust"));
    let out = program.args(["audit", "verify"]).arg(dir).output().unwrap();
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}
