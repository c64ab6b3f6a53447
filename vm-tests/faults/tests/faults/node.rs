//! A node as the service's peer: its TPM, its disk, and the walk of its real client from the challenge to the certificate.

use crate::proxy::Proxy;
use crate::service::{RESOURCE, Service, boot, pool, verity};
use ccnode_attest_client::stock::{StockClient, StockSettings};
use ccnode_attest_client::{
    AttestError, Client, ClientError, ClockAtLeast, Deadline, Outcome, Settings, Subject,
};
use ccnode_evidence::{Code, EvidenceSource, PcrIndex, Secret, Sha256Digest, TpmSource as _};
use ccnode_protocol::NodeName;
use ccnode_protocol::grants::{
    CertificateRequest, Formatted, Grant, Grants, Ready, VolumeAction, VolumeGrant,
};
use ccnode_testkit::kubelet_csr;
use ccnode_tpm_device::{BootRecords, Device, DeviceHandle};
use ccnode_vm_harness::{Swtpm, TpmState};
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// A swtpm that boots, on a copy of a template's state.
pub(crate) struct Tpm {
    state: TpmState,
    /// Whoever talks to it goes before it.
    running: Option<(DeviceHandle, Swtpm)>,
    _dir: tempfile::TempDir,
}

impl Tpm {
    pub(crate) fn of(template: &TpmState) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = template.copy_to(dir.path().join("tpm")).unwrap();
        Self { state, running: None, _dir: dir }
    }

    /// Switches the machine on anew, up to the state in which it attests.
    async fn boots(&mut self) {
        let (was, state) = (self.running.take(), self.state.clone());
        // Both ends of a swtpm's life are waited for.
        let started = tokio::task::spawn_blocking(move || {
            drop(was);
            state.serve().unwrap()
        });
        let swtpm = started.await.unwrap();
        let device = measured(&swtpm).await;
        self.running = Some((device, swtpm));
    }

    fn device(&self) -> &DeviceHandle {
        &self.running.as_ref().expect("switched on").0
    }
}

/// Extends what the firmware would have, makes the keys, and gives its log to whoever attests.
async fn measured(swtpm: &Swtpm) -> DeviceHandle {
    let device = Device::open(swtpm.tcti().parse().unwrap()).unwrap();
    let logs = boot().logs();
    for (pcr, digest) in events(&logs.event_log.0) {
        device.extend(PcrIndex::new(pcr).unwrap(), digest, "x").await.unwrap();
    }
    device.prepare().await.unwrap();
    let records = BootRecords { event_log: logs.event_log.0, cmdline: logs.cmdline, own_log: Vec::new() };
    device.with_records(records)
}

/// PCR and digest of each TCG_PCR_EVENT2 of a log that has the SHA-256 bank alone.
fn events(log: &[u8]) -> Vec<(u32, Sha256Digest)> {
    let number = |at: usize| u32::from_le_bytes(log[at..at + 4].try_into().unwrap());
    let mut at = 32 + number(28) as usize;
    let mut events = Vec::new();
    while at < log.len() {
        events.push((number(at), Sha256Digest(log[at + 14..at + 46].try_into().unwrap())));
        at += 50 + number(at + 46) as usize;
    }
    events
}

/// What a root partition holds.
#[derive(Clone)]
struct Disk {
    header: Sha256Digest,
    key: Secret<32>,
    generation: u64,
    filled: bool,
}

/// A machine.
pub(crate) struct Node {
    tpm: Tpm,
    disk: Option<Disk>,
    client: Option<Client>,
}

/// How far a boot came.
#[derive(Default)]
pub(crate) struct Walk {
    /// From the first request to the end.
    pub(crate) took: Duration,
    pub(crate) grants: Option<Grants>,
    pub(crate) csr: Vec<u8>,
    /// What the service said is done.
    pub(crate) formatted: bool,
    pub(crate) ready: bool,
    pub(crate) certified: bool,
}

impl Walk {
    pub(crate) fn volume(&self) -> Option<&VolumeGrant> {
        self.grants.as_ref().and_then(Grants::volume)
    }

    pub(crate) fn format(&self) -> Option<Grant> {
        match &self.volume()?.action {
            VolumeAction::Format { grant, .. } => Some(grant.clone()),
            VolumeAction::Open { .. } => None,
        }
    }
}

impl Node {
    pub(crate) fn new(tpm: Tpm) -> Self {
        Self { tpm, disk: None, client: None }
    }

    /// One boot, its first request at the start of `span`. The error is the code that console and service see.
    pub(crate) async fn boot(
        &mut self,
        service: &Service,
        proxy: &Proxy,
        span: Duration,
    ) -> (Walk, Result<(), Code>) {
        self.tpm.boots().await;
        let settings = Settings {
            urls: vec![format!("https://{}", proxy.address)],
            pins: vec![service.file("tls/ca.pem")],
            pool: pool(),
            clock: ClockAtLeast { floor: 0 },
        };
        let (mut walk, mut client) = (Walk::default(), Client::new(settings).unwrap());
        let (begun, deadline) = (Instant::now(), Deadline::after(span));
        let ended = match attested(&mut client, self.tpm.device(), deadline).await {
            Ok(outcome) => {
                (walk.grants, walk.csr) = (Some(outcome.grants), outcome.csr);
                self.goes_on(&mut walk, &mut client, deadline).await.map_err(|error| error.code())
            }
            Err(code) => Err(code),
        };
        walk.took = begun.elapsed();
        self.client = Some(client);
        (walk, ended)
    }

    async fn goes_on(
        &mut self,
        walk: &mut Walk,
        client: &mut Client,
        deadline: Deadline,
    ) -> Result<(), ClientError> {
        let volume = walk.volume().unwrap().clone();
        match &volume.action {
            VolumeAction::Format { grant, .. } => {
                let header = Sha256Digest::of(format!("{} {}", volume.uuid, volume.generation).as_bytes());
                let made = Disk {
                    header,
                    key: volume.unlock_key.clone(),
                    generation: volume.generation,
                    filled: false,
                };
                let disk = self.disk.insert(made);
                client.formatted(&formatted(grant, volume.generation, header), deadline, |_| ()).await?;
                walk.formatted = true;
                disk.filled = true;
                let (grant, secret) = (grant.id.clone(), grant.secret.clone());
                let ready = Ready { grant, secret, generation: volume.generation, populated_from: verity() };
                client.ready(&ready, deadline, |_| ()).await?;
                walk.ready = true;
            }
            VolumeAction::Open { header_digest, populated_from, .. } => {
                let disk = self.disk.as_ref().expect("opened before it was formatted");
                assert!(disk.filled, "opened half-made");
                assert_eq!((*header_digest, *populated_from), (disk.header, verity()));
                assert_eq!(volume.generation, disk.generation);
            }
        }
        assert!(self.disk.as_ref().unwrap().key == volume.unlock_key, "it does not open with this key");
        client.certificate(&certificate(walk, &walk.csr), deadline, |_| ()).await?;
        walk.certified = true;
        Ok(())
    }

    /// The grants of `walk` once more, for something else than they were for.
    pub(crate) async fn misuse(&mut self, walk: &Walk) {
        let (Some(client), Some(grants)) = (&mut self.client, &walk.grants) else { return };
        let deadline = || Deadline::after(Duration::from_secs(20));
        if let Some(grant) = walk.format() {
            let generation = walk.volume().unwrap().generation;
            let other = formatted(&grant, generation, Sha256Digest::of(b"another header"));
            let code = client.formatted(&other, deadline(), |_| ()).await.unwrap_err().code();
            assert!(matches!(code, Code::GrantSpent | Code::GenerationStale), "{code}");
        }
        let (other, _) = kubelet_csr(&grants.node);
        let code =
            client.certificate(&certificate(walk, &other), deadline(), |_| ()).await.unwrap_err().code();
        assert_eq!(code, Code::CsrRefused);
    }
}

fn formatted(grant: &Grant, generation: u64, header_digest: Sha256Digest) -> Formatted {
    Formatted {
        grant: grant.id.clone(),
        secret: grant.secret.clone(),
        generation,
        header_digest,
        recovery: None,
    }
}

fn certificate(walk: &Walk, csr: &[u8]) -> CertificateRequest {
    let grant = &walk.grants.as_ref().unwrap().certificate;
    CertificateRequest { grant: grant.id.clone(), secret: grant.secret.clone(), csr: csr.to_vec().into() }
}

async fn attested<S: EvidenceSource>(
    client: &mut Client,
    source: &S,
    deadline: Deadline,
) -> Result<Outcome, Code> {
    let identity = match source.supports_tpm() {
        Some(tpm) => Some(tpm.identity().await.map_err(|e| e.to_string()).unwrap()),
        None => None,
    };
    let subject = Subject { identity, logs: source.logs().await.map_err(|e| e.to_string()).unwrap() };
    let csr = |name: &NodeName| Ok::<_, Infallible>(kubelet_csr(name).0);
    client.attest(&subject, source, csr, deadline, |_| ()).await.map_err(code)
}

/// One boot in stock mode: the resource, or a code; and how long that took.
pub(crate) async fn stock(
    tpm: &mut Tpm,
    service: &Service,
    proxy: &Proxy,
    span: Duration,
) -> (Result<Vec<u8>, Code>, Duration) {
    tpm.boots().await;
    let settings = StockSettings {
        urls: vec![format!("https://{}", proxy.address)],
        pins: vec![service.file("tls/ca.pem")],
        clock: ClockAtLeast { floor: 0 },
        key: Default::default(),
    };
    let mut client = StockClient::new(settings).unwrap();
    let wanted = [RESOURCE.parse().unwrap()];
    let begun = Instant::now();
    let read = client.fetch(tpm.device(), &wanted, None, Deadline::after(span), |_| ()).await;
    (read.map(|outcome| outcome.resources[0].expose().to_vec()).map_err(code), begun.elapsed())
}

fn code<E: std::error::Error + 'static, C: std::error::Error + 'static>(error: AttestError<E, C>) -> Code {
    match error {
        AttestError::Client(error) => {
            eprintln!("DBG {error:?}");
            error.code()
        }
        other => panic!("{other}"),
    }
}
