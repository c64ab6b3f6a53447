//! The first boot of a volume: formatted, reported, opened, filled, reported again.

use super::unlock::{Root, unlock_key};
use super::{Boot, blocking, deadline};
use crate::config::Config;
use crate::console::Step;
use crate::refusal::Refusal;
use crate::unlock::{self, Made, Rules};
use ccnode_attest_client::Client;
use ccnode_evidence::{Code, SecretBytes, Sha256Digest};
use ccnode_luks_header::{Expected, Integrity};
use ccnode_luks_volume::Sources;
use ccnode_protocol::grants::{Begun, Formatted, Grant, OnForeignDisk, Ready, VolumeAction, VolumeGrant};
use ccnode_protocol::recovery::Recovery;
use std::time::Instant;

/// A header on the disk, for which its volume is still to be filled.
struct Begins {
    made: Made,
    /// What was there, in words.
    was: &'static str,
    /// Whether an earlier boot's volume key goes on.
    resumed: bool,
}

impl Boot {
    /// A power cut anywhere in here leaves a partition that the next boot's grant may format again.
    pub(super) async fn first_boot(
        &mut self,
        config: &Config,
        client: &mut Client,
        root: &Root,
        volume: &VolumeGrant,
        random: Option<&SecretBytes>,
    ) -> Result<(), Refusal> {
        let VolumeAction::Format { entropy, on_foreign_disk, grant, begun } = &volume.action else {
            return Err(Refusal::new(Code::NodeInternal, "no grant to format"));
        };
        let none = || Refusal::new(Code::NodeInternal, "no randomness was asked of the TPM");
        let sources = unlock::sources(entropy, random.ok_or_else(none)?.expose())?;
        let since = Instant::now();
        self.begin(Step::Format, Some(config));
        let content = self.content(root).await?;
        let before = (*on_foreign_disk, begun.as_deref().cloned());
        let Begins { made: Made { header, recovery }, was, resumed } =
            self.format(config, root, volume, before, content.len(), sources).await?;
        self.report_formatted(config, client, volume, grant, &header, recovery).await?;
        self.done(Step::Format, since, &format!("generation {}; the partition was {was}", volume.generation));
        let since = Instant::now();
        self.begin(Step::Unlock, Some(config));
        self.wipe(root, &header, &unlock_key(volume), &content, resumed).await?;
        let opened = self.open(root, header, &unlock_key(volume)).await?;
        self.done(Step::Unlock, since, "the new volume");
        self.begin(Step::Fill, Some(config));
        self.fill(root, content, &opened).await?;
        // Reporting has the deadline anew.
        self.watchdog.progress();
        self.report_ready(config, client, volume, grant, root).await
    }

    /// Mark, then header, each on the disk before the next.
    async fn format(
        &mut self,
        config: &Config,
        root: &Root,
        volume: &VolumeGrant,
        (foreign, before): (OnForeignDisk, Option<Begun>),
        source_len: u64,
        sources: Sources,
    ) -> Result<Begins, Refusal> {
        let (partitions, key, volume) = (root.partitions.clone(), unlock_key(volume), volume.clone());
        let custodians = config.recovery.clone();
        self.console.note(Step::Format, &format!("generation {} begins", volume.generation));
        let integrity = root.integrity;
        // Without tags there is nothing that takes long enough to go on with.
        let before = before.filter(|_| integrity != Integrity::None);
        let made = blocking(move || {
            let root = unlock::open_partition(&partitions.root, true)?;
            let may = unlock::may_format(&root, partitions.root_len, source_len, &volume, foreign)?;
            let was = may.was;
            let begun = unlock::begin_format(&root, may)?;
            let rules = Rules { integrity, custodians: custodians.as_ref() };
            let over = before.map(|before| unlock::take_over(&root, &begun, &before, &key, &sources, rules));
            if let Some(made) = over.transpose()?.flatten() {
                return Ok(Begins { made, was, resumed: true });
            }
            let made = unlock::write_format((&root, &partitions.root), &begun, &key, &sources, rules)?;
            Ok::<_, unlock::UnlockError>(Begins { made, was, resumed: false })
        });
        Ok(made.await??)
    }

    async fn report_formatted(
        &mut self,
        config: &Config,
        client: &mut Client,
        volume: &VolumeGrant,
        grant: &Grant,
        header: &Expected,
        recovery: Option<Recovery>,
    ) -> Result<(), Refusal> {
        let formatted = Formatted {
            grant: grant.id.clone(),
            secret: grant.secret.clone(),
            generation: volume.generation,
            header_digest: Sha256Digest(header.digest().0),
            recovery,
        };
        let retry = |retry| self.console.retry(Step::Format, &retry);
        client.formatted(&formatted, deadline(config), retry).await.map_err(|e| Refusal::of_client(&e))
    }

    async fn report_ready(
        &mut self,
        config: &Config,
        client: &mut Client,
        volume: &VolumeGrant,
        grant: &Grant,
        root: &Root,
    ) -> Result<(), Refusal> {
        let ready = Ready {
            grant: grant.id.clone(),
            secret: grant.secret.clone(),
            generation: volume.generation,
            populated_from: root.populated_from(),
        };
        let retry = |retry| self.console.retry(Step::Fill, &retry);
        client.ready(&ready, deadline(config), retry).await.map_err(|e| Refusal::of_client(&e))
    }
}
