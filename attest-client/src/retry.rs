//! One deadline for all attempts, and the jittered exponential wait between them.

use std::time::Duration;
use tokio::time::Instant;

/// The first wait; each further one doubles, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(6);
/// What a last attempt needs to be worth making.
const LAST: Duration = Duration::from_millis(500);
/// No single request may take longer, whatever is left.
const REQUEST: Duration = Duration::from_secs(10);

/// A point of the monotonic clock that no attempt outlives.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    span: Duration,
}

impl Deadline {
    /// The deadline `span` from now.
    pub fn after(span: Duration) -> Self {
        let now = Instant::now();
        Self { at: now.checked_add(span).unwrap_or(now), span }
    }

    /// Time that is left; zero once it passed.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// How long it was at first.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// Time that one request may take.
    pub(crate) fn request(&self) -> Duration {
        self.left().min(REQUEST)
    }
}

/// An attempt that failed and will be made again; for the console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retry {
    /// What went wrong, one sentence.
    pub reason: String,
    /// The wait before the next attempt.
    pub next: Duration,
    /// What is left of the deadline.
    pub left: Duration,
}

/// The waits between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { base: FIRST }
    }

    /// The next wait, between half and all of the current base, cut so that a last attempt fits; `None` when none does.
    pub(crate) fn next(&mut self, deadline: &Deadline) -> Option<Duration> {
        let mut byte = [0];
        // Without randomness the wait is the shortest; it still grows.
        let _ = getrandom::fill(&mut byte);
        let [jitter] = byte;
        let half = self.base / 2;
        let wait = half.saturating_add(half * u32::from(jitter) / 255);
        self.base = self.base.saturating_mul(2).min(LONGEST);
        let room = deadline.left().checked_sub(LAST)?;
        Some(wait.min(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_end_with_the_deadline() {
        let far = Deadline::after(Duration::from_secs(3600));
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next(&far).unwrap()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[11] >= LONGEST / 2 && waits[11] <= LONGEST);
        assert_eq!(Backoff::new().next(&Deadline::after(Duration::ZERO)), None);
        let last = Backoff { base: LONGEST }.next(&Deadline::after(Duration::from_millis(600))).unwrap();
        assert!(last <= Duration::from_millis(100), "{last:?}");
    }
}
