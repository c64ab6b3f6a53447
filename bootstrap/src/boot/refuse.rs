//! Refuse: said, capped, reported, wiped, over. No shell, no prompt, no way back.

use super::Boot;
use crate::console::Step;
use crate::handover::SYSROOT;
use crate::pid1;
use crate::refusal::Refusal;
use ccnode_luks_volume::{Name, close};
use ccnode_protocol::{NodeRefusal, limits};
use ccnode_tpm_device::{Device, DeviceError, DeviceHandle, Tcti};
use nix::mount::{MntFlags, umount2};
use std::time::Duration;
use tokio::time::timeout;

/// Bounds for what must not keep a refusal from its end.
const CAP: Duration = Duration::from_secs(2);
const REPORT: Duration = Duration::from_secs(2);

impl Boot {
    /// Ends the boot. Every step here is best effort but the last.
    pub async fn refuse(&mut self, refusal: Refusal) -> ! {
        self.console.refused(&refusal);
        self.close_pcr().await;
        self.report(&refusal).await;
        unmap();
        pid1::end(self.action)
    }

    /// Ends the boot where there is not even a runtime.
    pub fn refuse_bare(&self, refusal: &Refusal) -> ! {
        self.console.refused(refusal);
        pid1::end(self.action)
    }

    /// Caps PCR 15, so that nothing that runs after us in this boot can ask for a key.
    async fn close_pcr(&mut self) {
        if !self.capped {
            let capped = timeout(CAP, cap(self.device.take())).await;
            if !matches!(capped, Ok(Ok(()))) {
                self.console.note(Step::Cap, "PCR 15 could not be closed");
            }
        }
        pid1::set_last_tpm(None);
    }

    /// Tells the service of a refusal that it does not know.
    async fn report(&self, refusal: &Refusal) {
        let Some(client) = self.client.as_ref().filter(|_| refusal.is_ours()) else { return };
        let report = NodeRefusal {
            code: refusal.code,
            detail: cut(&refusal.detail, limits::REFUSAL_DETAIL),
            correlation_id: refusal.id.clone(),
        };
        let _ = timeout(REPORT, client.refusal(&report, REPORT)).await;
    }
}

/// A boot that is refused before it opened the TPM opens it for this.
async fn cap(device: Option<DeviceHandle>) -> Result<(), DeviceError> {
    let device = match device {
        Some(device) => device,
        None => {
            let opening = tokio::task::spawn_blocking(|| Device::open(Tcti::machine()?));
            opening.await.unwrap_or(Err(DeviceError::ThreadGone))?
        }
    };
    device.cap().await
}

/// Takes the volume key out of the kernel.
fn unmap() {
    let _ = umount2(SYSROOT, MntFlags::MNT_DETACH);
    for name in ["root", "root-source"] {
        if let Ok(name) = name.parse::<Name>() {
            let _ = close(&name);
        }
    }
}

fn cut(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_cut_at_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("abc", 9), "abc");
        assert_eq!(cut("", 0), "");
    }
}
