//! Swap, where the configuration names a partition for it: under a key that nobody has at the next boot.

use super::unlock::{Root, name};
use super::{Boot, blocking, millis};
use crate::console::Step;
use crate::refusal::Refusal;
use crate::swap::{self, SwapError};
use crate::{ephemeral, unlock};
use ccnode_evidence::Secret;
use ccnode_luks_header::Integrity;
use ccnode_luks_volume::Tags;
use std::time::Instant;

/// The mapped device.
const NAME: &str = "swap";

impl Boot {
    /// `service` is randomness of the service's, beside the kernel's and the TPM's. The key is no other boot's, so nothing measures it.
    pub(super) async fn swap(&mut self, root: &Root, service: &Secret<32>) -> Result<(), Refusal> {
        let Some((path, len)) = root.partitions.swap.clone() else { return Ok(()) };
        let random = match &root.device {
            Some(device) => Some(self.tpm(device.random(32)).await?),
            None => None,
        };
        let since = Instant::now();
        let sources = ephemeral::sources(service, random.as_ref().map(|random| random.expose()))?;
        let name = name(NAME)?;
        let on = blocking(move || {
            // Without tags: each boot would write all of it before it is of use.
            let tags = Tags { integrity: Integrity::None, partition: &path };
            let made = ephemeral::make(ephemeral::may_use(&path, len, swap::LEAST)?, &sources, tags)?;
            let opened = unlock::open_volume(&made.header, &path, &made.unlock_key, &name)?;
            swap::start(&opened.path(), opened.len())?;
            Ok::<_, SwapError>(opened.len())
        });
        let len = on.await??;
        self.status.sums.luks_ms += millis(since);
        self.console.note(Step::Unlock, &format!("swap of {} MiB, for this boot alone", len >> 20));
        Ok(())
    }
}
