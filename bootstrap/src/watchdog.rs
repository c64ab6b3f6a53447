//! The watchdog: a thread that ends a boot in which a step neither ends nor fails.
//!
//! Steps have deadlines of their own for what they wait for; this one is for what can't be told to stop: a system call on
//! a disk, a module, a TPM command, a serial port.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What is watched; clones watch the same.
#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    watched: Mutex<Option<Watched>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    step: &'static str,
    span: Duration,
    since: Instant,
}

impl Watchdog {
    /// Starts the thread. `expired` is called on it, once, with the step that outlived its span.
    pub fn start(&self, expired: impl FnOnce(&'static str, Duration) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let Watched { step, span, .. } = shared.expiry();
            expired(step, span);
        })?;
        Ok(())
    }

    /// From now on `step` has `span`; what was watched before is over.
    pub fn expect(&self, step: &'static str, span: Duration) {
        *self.0.lock() = Some(Watched { step, span, since: Instant::now() });
        self.0.changed.notify_all();
    }

    /// The step goes on: its span begins anew.
    pub fn progress(&self) {
        if let Some(watched) = self.0.lock().as_mut() {
            watched.since = Instant::now();
        }
        // Later than before: the thread need not know until it wakes.
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first step that outlives its span.
    fn expiry(&self) -> Watched {
        let mut watched = self.lock();
        loop {
            let left = watched.map_or(Duration::MAX, |w| w.span.saturating_sub(w.since.elapsed()));
            match *watched {
                Some(expired) if left.is_zero() => return expired,
                _ => {
                    let woken = self.changed.wait_timeout(watched, left);
                    watched = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    const SHORT: Duration = Duration::from_millis(300);
    const FAR: Duration = Duration::from_secs(600);

    fn started() -> (Watchdog, Receiver<(&'static str, Duration)>) {
        let (tell, told) = channel();
        let watchdog = Watchdog::default();
        watchdog.start(move |step, span| tell.send((step, span)).unwrap()).unwrap();
        (watchdog, told)
    }

    #[test]
    fn a_step_that_outlives_its_span_is_named() {
        let (watchdog, told) = started();
        let since = Instant::now();
        watchdog.expect("unlock", SHORT);
        assert_eq!(told.recv_timeout(FAR).unwrap(), ("unlock", SHORT));
        assert!(since.elapsed() >= SHORT);
    }

    #[test]
    fn the_next_step_has_a_span_of_its_own() {
        let (watchdog, told) = started();
        watchdog.expect("discover", SHORT);
        watchdog.expect("measure", FAR);
        assert!(told.recv_timeout(3 * SHORT).is_err());
        // A shorter one counts at once, though the thread sleeps for the longer one.
        watchdog.expect("network", SHORT);
        assert_eq!(told.recv_timeout(FAR).unwrap().0, "network");
    }

    #[test]
    fn progress_begins_the_span_anew_and_only_progress_does() {
        let (watchdog, told) = started();
        let span = 4 * SHORT;
        watchdog.expect("fill", span);
        for _ in 0..6 {
            thread::sleep(SHORT);
            watchdog.progress();
        }
        assert!(told.try_recv().is_err(), "more than a span passed, but none without progress");
        assert_eq!(told.recv_timeout(FAR).unwrap().0, "fill");
    }

    #[test]
    fn nothing_is_watched_before_the_first_step() {
        let (watchdog, told) = started();
        watchdog.progress();
        assert!(told.recv_timeout(SHORT).is_err());
    }
}
