//! The nodes: a fleet of TPMs that boot, again and again, and how long each session takes.

use crate::connection::{Connection, Peer};
use crate::trust::{POOL, Trust};
use anyhow::{Context as _, Result, bail};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::grants::{Certificate, CertificateRequest, Formatted, Grants, Ready, VolumeAction};
use ccnode_protocol::jwe::Jwe;
use ccnode_protocol::{
    ATTEST, AUTH, Asks, AttestResponse, AuthExt, AuthRequest, CERTIFICATE, Challenge, ExtParams, FORMATTED,
    GRANTS, READY, Tee, VERSION,
};
use ccnode_testkit::{Boot, Fleet, FleetTpm, MakerCa, Scene};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Bytes of the firmware's log.
const LOG: usize = 40 * 1024;

pub(crate) struct Nodes {
    maker: MakerCa,
    boot: Boot,
    fleet: std::sync::Arc<Fleet>,
    /// Reset counter of each TPM: every session is a boot.
    resets: Vec<u32>,
    /// TPMs of no session that is under way, the one that waited longest first.
    idle: VecDeque<usize>,
}

impl Nodes {
    pub(crate) fn new(count: usize) -> Self {
        let (maker, boot) = (MakerCa::new("Load"), Scene::boot(LOG));
        let fleet = Fleet::new(&maker, count, &boot).into();
        Self { maker, boot, fleet, resets: vec![1; count], idle: (0..count).collect() }
    }

    pub(crate) fn maker(&self) -> &MakerCa {
        &self.maker
    }

    pub(crate) fn boot(&self) -> &Boot {
        &self.boot
    }

    /// The root that every image here declares.
    pub(crate) fn verity() -> Sha256Digest {
        Sha256Digest::of(b"root source")
    }

    /// First boots: each volume is formatted, filled and ready after them.
    pub(crate) async fn enrol(&mut self, trust: &Trust) -> Result<()> {
        let count = self.resets.len();
        self.sessions(trust, 16, count).await.map(drop)
    }

    /// Sessions of one node after the other, `at_once` of them under way; how long each took.
    pub(crate) async fn sessions(
        &mut self,
        trust: &Trust,
        at_once: usize,
        count: usize,
    ) -> Result<Vec<Duration>> {
        let mut running = JoinSet::new();
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            if running.len() >= at_once {
                times.push(self.ended(&mut running).await?);
            }
            // A machine boots once at a time.
            let index = self.idle.pop_front().context("more sessions at once than TPMs")?;
            let reset = self.resets.get_mut(index).context("such a TPM")?;
            *reset += 1;
            running.spawn(session(self.fleet.clone(), index, *reset, trust.peer()?));
        }
        while !running.is_empty() {
            times.push(self.ended(&mut running).await?);
        }
        Ok(times)
    }

    async fn ended(&mut self, running: &mut JoinSet<Ended>) -> Result<Duration> {
        let (index, time) = running.join_next().await.context("none is running")???;
        self.idle.push_back(index);
        Ok(time)
    }
}

/// Which TPM's session ended, and how long it took.
type Ended = Result<(usize, Duration)>;

async fn session(fleet: std::sync::Arc<Fleet>, index: usize, reset: u32, peer: Peer) -> Ended {
    let tpm = fleet.tpms.get(index).context("such a TPM")?;
    let start = Instant::now();
    let mut connection = peer.connect().await?;
    let csr = attest(&fleet, tpm, reset, &mut connection).await?;
    let jwe: Jwe = connection.get(GRANTS).await?;
    let grants: Grants = serde_json::from_slice(tpm.session().open(&jwe)?.expose())?;
    let volume = grants.volume().context("a node with a TPM has a volume")?;
    if let VolumeAction::Format { grant, .. } = &volume.action {
        let (id, secret, generation) = (&grant.id, &grant.secret, volume.generation);
        let header_digest = Sha256Digest::of(b"header");
        let formatted = Formatted {
            grant: id.clone(),
            secret: secret.clone(),
            generation,
            header_digest,
            recovery: None,
        };
        connection.post::<()>(FORMATTED, &formatted).await?;
        let populated_from = Nodes::verity();
        let ready = Ready { grant: id.clone(), secret: secret.clone(), generation, populated_from };
        connection.post::<()>(READY, &ready).await?;
    }
    let grant = &grants.certificate;
    let request =
        CertificateRequest { grant: grant.id.clone(), secret: grant.secret.clone(), csr: csr.into() };
    let issued: Certificate = connection.post(CERTIFICATE, &request).await?;
    if !issued.chain.contains("BEGIN CERTIFICATE") {
        bail!("no certificate came");
    }
    Ok((index, start.elapsed()))
}

/// Challenge and attestation; the certificate request that was bound.
async fn attest(fleet: &Fleet, tpm: &FleetTpm, reset: u32, connection: &mut Connection) -> Result<Vec<u8>> {
    let ccnode = AuthExt::new(POOL.parse()?, Some(tpm.offer()));
    let extra_params = ExtParams::Ccnode { ccnode };
    let request = AuthRequest { version: VERSION.to_owned(), tee: Tee::Tpm, extra_params };
    let challenge: Challenge = connection.post(AUTH, &request).await?;
    let asked = challenge.extra_params.ccnode().map(|ext| &ext.asks);
    let Some(Asks::Activation(activation)) = asked else { bail!("no credential was asked for") };
    let (attestation, csr) = fleet.answer(tpm, reset, (&challenge.nonce, activation));
    let AttestResponse { token } = connection.post(ATTEST, &attestation).await?;
    if token.split('.').count() != 3 {
        bail!("no token came");
    }
    Ok(csr)
}
