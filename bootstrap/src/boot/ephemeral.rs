//! The root of a boot whose identity does not persist: made, filled, and lost with the power.

use super::unlock::Root;
use super::{Boot, blocking};
use crate::config::Config;
use crate::console::Step;
use crate::ephemeral;
use crate::refusal::Refusal;
use ccnode_evidence::{Secret, SecretBytes};
use ccnode_luks_volume::Tags;
use std::time::Instant;

impl Boot {
    /// Nothing of it is reported: no volume of it is on record, and the service has no key for it.
    pub(super) async fn ephemeral_root(
        &mut self,
        config: &Config,
        root: &Root,
        entropy: &Secret<32>,
        random: Option<&SecretBytes>,
    ) -> Result<(), Refusal> {
        let since = Instant::now();
        self.begin(Step::Format, Some(config));
        let content = self.content(root).await?;
        let sources = ephemeral::sources(entropy, random.map(SecretBytes::expose))?;
        let (partitions, len, integrity) = (root.partitions.clone(), content.len(), root.integrity);
        let made = blocking(move || {
            let usable = ephemeral::may_use(&partitions.root, partitions.root_len, len)?;
            ephemeral::make(usable, &sources, Tags { integrity, partition: &partitions.root })
        });
        let made = made.await??;
        self.done(Step::Format, since, "in memory, for this boot alone");
        let since = Instant::now();
        self.begin(Step::Unlock, Some(config));
        self.wipe(root, &made.header, &made.unlock_key, &content, false).await?;
        let opened = self.open(root, made.header, &made.unlock_key).await?;
        self.done(Step::Unlock, since, "a root that ends with this boot");
        self.begin(Step::Fill, Some(config));
        self.fill(root, content, &opened).await
    }
}
