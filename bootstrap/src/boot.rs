//! The boot as a chain of proofs: each step consumes what the one before returned, so none can be left out.
//!
//! [`Boot::discover`] → [`Discovered`] → [`Measured`] → [`Networked`] → [`Attested`] → [`Capped`] → [`Unlocked`] →
//! [`Provisioned`] → [`Boot::hand_over`]. The fields of a proof are private to this module and its steps.
//!
//! In stock mode the chain is [`StockReady`] → [`StockAttested`] → [`StockCapped`] → [`StockUnlocked`] → [`Provisioned`].
//!
//! A step that is left out is an error of types:
//!
//! ```compile_fail,E0308
//! use ccnode_bootstrap::boot::{Attested, Boot};
//! async fn without_the_cap(boot: &mut Boot, attested: Attested) {
//!     let _ = boot.unlock(attested).await;
//! }
//! ```
//!
//! ```compile_fail,E0382
//! use ccnode_bootstrap::boot::{Attested, Boot};
//! async fn twice(boot: &mut Boot, attested: Attested) {
//!     let _ = boot.cap(attested).await;
//!     let _ = boot.cap(attested).await;
//! }
//! ```
//!
//! ```
//! use ccnode_bootstrap::boot::{Attested, Boot, Unlocked};
//! use ccnode_bootstrap::refusal::Refusal;
//! async fn as_it_must_be(boot: &mut Boot, attested: Attested) -> Result<Unlocked, Refusal> {
//!     let capped = boot.cap(attested).await?;
//!     boot.unlock(capped).await
//! }
//! ```

mod attest;
mod cap;
mod content;
mod data;
mod discover;
mod ephemeral;
mod first;
mod hand_over;
mod layout;
mod machine;
mod provision;
mod refuse;
mod rotate;
mod stock;
mod swap;
mod unlock;

pub use attest::Attested;
pub use cap::{Cap, Capped};
pub use discover::{CcnodeReady, Discovered, Measured, Networked, StockReady};
pub use provision::Provisioned;
pub use stock::{StockAttested, StockCapped, StockUnlocked};
pub use unlock::Unlocked;

use crate::config::Config;
use crate::console::{Console, Step, now_ms};
use crate::grace::Short;
use crate::init_data::{Followed, USER, write_files};
use crate::refusal::Refusal;
use crate::status::Status;
use crate::watchdog::Watchdog;
use ccnode_attest_client::{Client, Deadline};
use ccnode_evidence::Code;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a step has beyond the deadlines of what it waits for: for modules, TPM commands, disks, and a slow machine.
const SLACK: Duration = Duration::from_secs(180);

/// What every step may use, and what a refusal needs, however far the boot came.
pub struct Boot {
    console: Console,
    status: Status,
    client: Option<Client>,
    /// The host's hints, as far as they are followed.
    hints: Followed,
    watchdog: Watchdog,
    /// Until the hand-over.
    grace: Option<Short>,
}

impl Boot {
    /// A boot that begins now.
    pub fn new(console: Console) -> Self {
        Self {
            console,
            status: Status::begin(),
            client: None,
            hints: Followed::default(),
            watchdog: Watchdog::default(),
            grace: None,
        }
    }

    /// Starts the watchdog: from here on no step can take forever. `refuse` ends the boot, on a thread of its own.
    pub fn watch(&self, refuse: impl FnOnce(Refusal) + Send + 'static) -> Result<(), Refusal> {
        let expired = |step: &str, span: Duration| {
            let detail = format!("{step}: no end after {} s", span.as_secs());
            refuse(Refusal::new(Code::DeadlinePassed, detail));
        };
        let failed = |e| Refusal::new(Code::NodeInternal, format!("the watchdog's thread: {e}"));
        self.watchdog.start(expired).map_err(failed)
    }

    /// `step` begins, or another part of it that may take as long as the whole.
    fn begin(&self, step: Step, config: Option<&Config>) {
        let deadline = config.map_or(Duration::ZERO, |config| config.service.deadline);
        self.watchdog.expect(step.as_str(), deadline.saturating_add(SLACK));
    }

    /// Walks all steps but the last, or says why not.
    pub async fn run(&mut self) -> Result<Provisioned, Refusal> {
        let discovered = self.discover().await?;
        let measured = self.measure(discovered).await?;
        let networked = self.network(measured).await?;
        match networked {
            Networked::Ccnode(ready) => {
                let attested = self.attest(*ready).await?;
                let capped = self.cap(attested).await?;
                let unlocked = self.unlock(capped).await?;
                self.provision(unlocked).await
            }
            Networked::Stock(ready) => {
                let attested = self.attest_stock(*ready).await?;
                let capped = self.cap_stock(attested).await?;
                let unlocked = self.unlock_stock(capped).await?;
                self.provision_stock(unlocked)
            }
        }
    }

    /// Writes what the host would have the running system read. Whoever judged the evidence has taken the init-data by now.
    fn user_files(&self) -> Result<(), Refusal> {
        let failed = |e| Refusal::new(Code::NodeInternal, format!("{USER}: {e}"));
        write_files(Path::new(USER), self.hints.files()).map_err(failed)
    }

    /// Tells that `step`, begun at `since`, ended well.
    fn done(&mut self, step: Step, since: Instant, words: &str) {
        let ms = millis(since);
        self.status.step(step, ms);
        self.console.ok(step, words, ms);
    }

    /// Tells what went wrong in `step` and is no reason to refuse.
    fn warn(&mut self, step: Step, words: String) {
        self.console.warn(step, &words);
        self.status.warnings.push(words);
    }

    /// Awaits a TPM command and counts the wait.
    async fn tpm<T>(&mut self, command: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let answer = command.await;
        self.status.sums.tpm_ms += millis(since);
        answer
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn deadline(config: &Config) -> Deadline {
    Deadline::after(config.service.deadline)
}

/// Runs what blocks (libcryptsetup, disks) beside the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let lost = |_| Refusal::new(Code::NodeInternal, "a blocking step was lost");
    tokio::task::spawn_blocking(work).await.map_err(lost)
}

/// The moment that status and console call the end.
fn finish(status: &mut Status) {
    status.finished = now_ms();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_step_that_never_ends_is_refused_by_its_deadline() {
        let boot = Boot::new(Console::new(Box::new(std::io::sink()), false));
        let (tell, told) = channel();
        boot.watch(move |refusal| tell.send(refusal).unwrap()).unwrap();
        boot.begin(Step::Unlock, None);
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "steps have {SLACK:?}");
        boot.watchdog.expect(Step::Unlock.as_str(), Duration::from_millis(50));
        let refusal = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(
            (refusal.code, refusal.detail.as_str()),
            (Code::DeadlinePassed, "unlock: no end after 0 s")
        );
    }
}
