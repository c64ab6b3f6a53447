//! Refuse: capped, said, reported, wiped, over. No shell, no prompt, no way back.

use super::{Boot, SLACK};
use crate::console::Step;
use crate::handover::SYSROOT;
use crate::last;
use crate::refusal::Refusal;
use crate::state::FILLED;
use crate::swap::stop;
use ccnode_luks_volume::{Name, close};
use ccnode_protocol::{NodeRefusal, limits};
use nix::mount::{MntFlags, umount2};
use std::time::Duration;
use tokio::time::timeout;

/// Where the kernel's mapped devices are, whatever they are called.
const MAPPED: &str = "/dev/mapper";
/// A service that does not answer must not keep a refusal from its end.
const REPORT: Duration = Duration::from_secs(2);

impl Boot {
    /// Ends the boot. Every step here is best effort but the last; the cap comes first, since a serial port that stands
    /// still must not keep it off.
    pub async fn refuse(&mut self, refusal: Refusal) -> ! {
        self.watchdog.expect("refuse", SLACK);
        let closed = last::close_pcr();
        self.console.refused(&refusal);
        if !closed {
            self.console.note(Step::Cap, last::NOT_CLOSED);
        }
        self.report(&refusal).await;
        unmap();
        last::end(last::action())
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

/// Takes the volume key out of the kernel.
fn unmap() {
    for at in [FILLED, SYSROOT] {
        let _ = umount2(at, MntFlags::MNT_DETACH);
    }
    for entry in std::fs::read_dir(MAPPED).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().to_string_lossy().parse::<Name>() {
            // Of no effect on what is none.
            stop(&name.path());
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
