//! The unlock key of a volume that is open is changed, where the grant says so.

use super::unlock::{Root, unlock_key};
use super::{Boot, blocking};
use crate::config::Config;
use crate::console::Step;
use crate::refusal::Refusal;
use crate::rotation::{Rewrapped, Written, put};
use crate::unlock::{UnlockError, open_partition};
use ccnode_attest_client::{Client, Deadline};
use ccnode_evidence::Code;
use ccnode_luks_header::Expected;
use ccnode_protocol::grants::{Rotation, VolumeGrant};
use std::time::Duration;

/// Longest that one message of a rotation is tried: the boot does without, and the next one goes on.
const PATIENCE: Duration = Duration::from_secs(30);

impl Boot {
    /// Goes on with the old key, and says so, where the service takes no other now: nothing was written then. Where the disk does not take
    /// the header the boot ends, for nobody knows what is on it; the next one finds one of the two headers.
    pub(super) async fn rotate(
        &mut self,
        config: &Config,
        client: &mut Client,
        root: &Root,
        volume: &VolumeGrant,
        rotation: &Rotation,
        header: Expected,
    ) -> Result<(), Refusal> {
        let deadline = || Deadline::after(config.service.deadline.min(PATIENCE));
        let written = match Written::found(&header, rotation) {
            Some(written) => written,
            None => {
                let made = Rewrapped::new(&header, &unlock_key(volume), rotation)
                    .map_err(|e| Refusal::new(Code::NodeInternal, e.to_string()))?;
                let retry = |retry| self.console.retry(Step::Unlock, &retry);
                let recorded =
                    made.record(async |message| client.rotated(message, deadline(), retry).await).await;
                let recorded = match recorded {
                    Ok(recorded) => recorded,
                    Err(error) => {
                        self.later("the unlock key stays as it is", &Refusal::of_client(&error));
                        return Ok(());
                    }
                };
                let path = root.partitions.root.clone();
                let write = move || {
                    let what = "writing the LUKS2 header under the next key";
                    let root = open_partition(&path, true)?;
                    recorded.write(put(&root)).map_err(|source| UnlockError::Io { what, source })
                };
                blocking(write).await??
            }
        };
        let retry = |retry| self.console.retry(Step::Unlock, &retry);
        match written.commit(async |message| client.committed(message, deadline(), retry).await).await {
            Ok(generation) => {
                self.console.note(Step::Unlock, &format!("another unlock key, generation {generation}"));
            }
            Err(error) => {
                let what = "the next unlock key is on the disk, and the one before still in force";
                self.later(what, &Refusal::of_client(&error));
            }
        }
        Ok(())
    }

    /// What the next boot sees to.
    fn later(&mut self, what: &str, why: &Refusal) {
        self.warn(Step::Unlock, format!("{what}; the next boot tries again: {}: {}", why.code, why.detail));
    }
}
