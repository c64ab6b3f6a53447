//! Cap: PCR 15 is closed once the grants are in memory, and before any block device is opened.

use super::{Attested, Boot};
use crate::console::Step;
use crate::last;
use crate::refusal::Refusal;
use ccnode_evidence::SecretBytes;
use ccnode_protocol::grants::VolumeAction;
use std::time::Instant;

/// No later quote of this boot gets a key: disks may be opened.
pub struct Capped {
    pub(super) attested: Attested,
    /// The TPM's share of a volume key's randomness, where one is to be made.
    pub(super) random: Option<SecretBytes>,
}

impl Boot {
    /// Extends PCR 15 with the cap.
    pub async fn cap(&mut self, attested: Attested) -> Result<Capped, Refusal> {
        let since = Instant::now();
        self.begin(Step::Cap, None);
        self.tpm(attested.device.cap()).await?;
        last::set_capped();
        // Only now: a serial port that stands still must not keep the node uncapped with its grants in memory.
        for warning in &self.status.warnings {
            self.console.warn(Step::Attest, warning);
        }
        self.console.ok(Step::Attest, &attested.words, attested.ms);
        let random = match attested.outcome.grants.volume().map(|volume| &volume.action) {
            Some(VolumeAction::Format { .. }) => Some(self.tpm(attested.device.random(32)).await?),
            Some(VolumeAction::Open { .. }) | None => None,
        };
        self.done(Step::Cap, since, "PCR 15 closed");
        Ok(Capped { attested, random })
    }
}
