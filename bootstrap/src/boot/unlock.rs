//! Unlock: the root volume is opened, after it was made where the grant says so, and measured.

use super::{Attested, Boot, Capped, blocking, deadline, millis};
use crate::config::{Config, DIR};
use crate::console::Step;
use crate::disk::{Partitions, Places};
use crate::handover::SYSROOT;
use crate::provision::KubeletKey;
use crate::refusal::Refusal;
use crate::{fill, modules, unlock};
use ccnode_attest_client::{Client, Outcome};
use ccnode_evidence::{Code, PcrIndex, SecretBytes, Sha256Digest};
use ccnode_luks_header::Expected;
use ccnode_luks_header::verity::RootHash;
use ccnode_luks_volume::verity::OpenedVerity;
use ccnode_luks_volume::{Name, Opened, UnlockKey, close};
use ccnode_protocol::grants::{Formatted, Grant, OnForeignDisk, Ready, VolumeAction, VolumeGrant};
use ccnode_tpm_device::DeviceHandle;
use std::path::Path;
use std::time::Instant;
use zeroize::Zeroizing;

/// The volume is mapped as judged, measured into PCR 15, and mounted.
pub struct Unlocked {
    pub(super) config: Config,
    pub(super) device: DeviceHandle,
    pub(super) client: Client,
    pub(super) outcome: Outcome,
    pub(super) key: KubeletKey,
}

/// A format grant, taken apart.
struct FormatGrant<'g> {
    volume: &'g VolumeGrant,
    entropy: &'g ccnode_evidence::Secret<32>,
    foreign: OnForeignDisk,
    grant: &'g Grant,
}

impl Boot {
    /// Loads the block drivers, finds the partitions, makes or judges the volume, opens, measures and mounts it.
    pub async fn unlock(&mut self, capped: Capped) -> Result<Unlocked, Refusal> {
        let Capped { attested, random } = capped;
        let Attested { config, cmdline, device, mut client, outcome, key } = attested;
        let mut since = Instant::now();
        modules::load(&modules::list(&Path::new(DIR).join("modules-late"))?)?;
        self.status.sums.modules_ms += millis(since);
        let partitions = Places::default().wait(&config.disk, deadline(&config)).await?;
        let volume = &outcome.grants.root;
        let unlock_key: UnlockKey = Zeroizing::new(*volume.unlock_key.expose());
        let name = name("root")?;
        match &volume.action {
            VolumeAction::Open { header_digest, .. } => {
                let digest = *header_digest;
                let path = partitions.root.clone();
                let opening = Instant::now();
                let header =
                    blocking(move || unlock::read_header(&unlock::open_partition(&path, false)?, &digest));
                let header = header.await??;
                let opened = self.open(&partitions, header, unlock_key, &name, &device).await?;
                self.status.sums.luks_ms += millis(opening);
                self.mount(&opened).await?;
                self.done(Step::Unlock, since, "the root as it is on record");
            }
            VolumeAction::Format { entropy, on_foreign_disk, grant } => {
                let format = FormatGrant { volume, entropy, foreign: *on_foreign_disk, grant };
                let source = self.source(&partitions, cmdline.root_hash).await?;
                let header = self
                    .format(&config, &mut client, &partitions, &format, source.len(), &unlock_key, random)
                    .await?;
                since = Instant::now();
                let opened = self.open(&partitions, header, unlock_key, &name, &device).await?;
                self.done(Step::Unlock, since, "the new root");
                self.fill(&partitions, source, &opened).await?;
                let ready = Ready {
                    grant: grant.id.clone(),
                    secret: grant.secret.clone(),
                    generation: volume.generation,
                    populated_from: Sha256Digest(cmdline.root_hash.0),
                };
                let console = &self.console;
                let retry = |retry| console.retry(Step::Fill, &retry);
                client.ready(&ready, deadline(&config), retry).await.map_err(|e| Refusal::of_client(&e))?;
            }
        }
        Ok(Unlocked { config, device, client, outcome, key })
    }

    async fn source(&mut self, partitions: &Partitions, hash: RootHash) -> Result<OpenedVerity, Refusal> {
        let path = partitions.source.clone();
        let name = name("root-source")?;
        Ok(blocking(move || unlock::open_source(&path, &hash, &name)).await??)
    }

    /// Mark, header, report: in this order, each on the disk before the next.
    #[expect(clippy::too_many_arguments, reason = "a step's inputs, each of another kind")]
    async fn format(
        &mut self,
        config: &Config,
        client: &mut Client,
        partitions: &Partitions,
        format: &FormatGrant<'_>,
        source_len: u64,
        unlock_key: &UnlockKey,
        random: Option<SecretBytes>,
    ) -> Result<Expected, Refusal> {
        let since = Instant::now();
        let FormatGrant { volume, entropy, foreign, grant } = *format;
        let random =
            random.ok_or_else(|| Refusal::new(Code::NodeInternal, "no randomness was asked of the TPM"))?;
        let sources = unlock::sources(entropy, random.expose())?;
        let (path, len) = (partitions.root.clone(), partitions.root_len);
        let (volume_grant, key) = (volume.clone(), unlock_key.clone());
        self.console.note(Step::Format, &format!("generation {} begins", volume.generation));
        let made = blocking(move || {
            let root = unlock::open_partition(&path, true)?;
            let may = unlock::may_format(&root, len, source_len, &volume_grant, foreign)?;
            let was = may.was;
            let begun = unlock::begin_format(&root, may)?;
            Ok::<_, unlock::UnlockError>((unlock::write_format(&root, &begun, &key, &sources)?, was))
        });
        let (header, was) = made.await??;
        let formatted = Formatted {
            grant: grant.id.clone(),
            secret: grant.secret.clone(),
            generation: volume.generation,
            header_digest: Sha256Digest(header.digest().0),
        };
        let console = &self.console;
        let retry = |retry| console.retry(Step::Format, &retry);
        client.formatted(&formatted, deadline(config), retry).await.map_err(|e| Refusal::of_client(&e))?;
        self.done(Step::Format, since, &format!("generation {}; the partition was {was}", volume.generation));
        Ok(header)
    }

    /// Maps the volume, and measures it before one byte of it is read.
    async fn open(
        &mut self,
        partitions: &Partitions,
        header: Expected,
        unlock_key: UnlockKey,
        name: &Name,
        device: &DeviceHandle,
    ) -> Result<Opened, Refusal> {
        let (path, name) = (partitions.root.clone(), name.clone());
        let opened = blocking(move || unlock::open_volume(&header, &path, &unlock_key, &name)).await??;
        let measurement = opened.measurement();
        self.tpm(device.extend(PcrIndex::CAP, Sha256Digest(measurement.digest), &measurement.text)).await?;
        Ok(opened)
    }

    async fn fill(
        &mut self,
        partitions: &Partitions,
        source: OpenedVerity,
        opened: &Opened,
    ) -> Result<(), Refusal> {
        let since = Instant::now();
        let (from, below, to) = (source.path(), partitions.source.clone(), opened.path());
        let (len, source_name) = (source.len(), source.name().clone());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let copying = tokio::task::spawn_blocking(move || {
            // Nobody listening is no reason to stop.
            let copied = fill::copy(&from, &below, &to, len, |done| {
                let _ = tell.send(done);
            });
            copied.map(|()| close(&source_name))
        });
        while let Some(done) = told.recv().await {
            self.console.note(Step::Fill, &format!("{} of {} MiB", done >> 20, len >> 20));
        }
        let lost = |_| Refusal::new(Code::NodeInternal, "the copy was lost");
        let closed = copying.await.map_err(lost)??;
        if let Err(error) = closed {
            self.console.note(Step::Fill, &format!("the root source stays mapped: {error}"));
        }
        self.mount(opened).await?;
        let whole = opened.len();
        blocking(move || fill::grow(Path::new(SYSROOT), whole)).await??;
        self.done(Step::Fill, since, &format!("{} MiB copied, grown to {} MiB", len >> 20, whole >> 20));
        Ok(())
    }

    async fn mount(&mut self, opened: &Opened) -> Result<(), Refusal> {
        let path = opened.path();
        Ok(blocking(move || fill::mount_root(&path, Path::new(SYSROOT))).await??)
    }
}

fn name(text: &str) -> Result<Name, Refusal> {
    text.parse().map_err(|_| Refusal::new(Code::NodeInternal, "a device name"))
}
