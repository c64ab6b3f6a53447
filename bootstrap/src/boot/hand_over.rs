//! Hand over: everything of ours ends here but the files in `/run/ccnode`.

use super::{Boot, Provisioned, finish, millis};
use crate::console::Step;
use crate::handover::{self, SETTINGS, SYSROOT};
use crate::refusal::Refusal;
use crate::status;
use ccnode_evidence::Code;
use std::path::Path;
use std::time::Instant;

impl Boot {
    /// Locks the kernel, closes the TPM, writes the status and becomes the root's init; comes back only to refuse.
    pub fn hand_over(&mut self, provisioned: Provisioned) -> Refusal {
        let since = Instant::now();
        match self.prepare(provisioned, since) {
            Ok(()) => handover::switch_root().into(),
            Err(refusal) => refusal,
        }
    }

    fn prepare(&mut self, provisioned: Provisioned, since: Instant) -> Result<(), Refusal> {
        let Provisioned { config, device } = provisioned;
        self.begin(Step::Handover, None);
        handover::check_init(Path::new(SYSROOT))?;
        handover::lock_kernel(Path::new(SETTINGS), config.handover.modules_disabled)?;
        self.grace = None;
        // The last handle flushes and closes the TPM.
        drop(device);
        let ms = millis(since);
        self.status.step(Step::Handover, ms);
        finish(&mut self.status);
        let failed = |e: std::io::Error| Refusal::new(Code::HandoverFailed, format!("{}: {e}", status::PATH));
        self.status.write(Path::new(status::PATH)).map_err(failed)?;
        let words = format!("to /sbin/init after {} ms: {}", self.status.whole(), self.status.shares());
        self.console.ok(Step::Handover, &words, ms);
        Ok(())
    }
}
