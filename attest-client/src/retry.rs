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

    /// The next wait: what the service still asks for, and between half and all of the current base, so that not all come back at
    /// once. Cut so that a last attempt fits; `None` when none does.
    pub(crate) fn next(&mut self, deadline: &Deadline, asked: Duration) -> Option<Duration> {
        let mut byte = [0];
        // Without randomness the wait is the shortest; it still grows.
        let _ = getrandom::fill(&mut byte);
        let [jitter] = byte;
        let half = self.base / 2;
        let wait = half.saturating_add(half * u32::from(jitter) / 255);
        self.base = self.base.saturating_mul(2).min(LONGEST);
        let room = deadline.left().checked_sub(LAST)?;
        Some(wait.saturating_add(asked).min(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_end_with_the_deadline() {
        let far = Deadline::after(Duration::from_secs(3600));
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next(&far, Duration::ZERO).unwrap()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[11] >= LONGEST / 2 && waits[11] <= LONGEST);
        assert_eq!(Backoff::new().next(&Deadline::after(Duration::ZERO), Duration::ZERO), None);
        let soon = Deadline::after(Duration::from_millis(600));
        let last = Backoff { base: LONGEST }.next(&soon, Duration::ZERO).unwrap();
        assert!(last <= Duration::from_millis(100), "{last:?}");
    }

    #[test]
    fn time_that_is_asked_for_is_given_with_a_jitter_and_within_bounds() {
        let far = Deadline::after(Duration::from_secs(3600));
        let asked = Duration::from_secs(20);
        let waits: Vec<Duration> = (0..32).map(|_| Backoff::new().next(&far, asked).unwrap()).collect();
        assert!(waits.iter().all(|wait| (asked + FIRST / 2..=asked + FIRST).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "all at once: {waits:?}");
        let soon = Deadline::after(Duration::from_secs(5));
        for asked in [asked, Duration::MAX] {
            let cut = Backoff::new().next(&soon, asked).unwrap();
            assert!(cut > Duration::from_secs(4) && cut <= Duration::from_secs(5) - LAST, "{cut:?}");
        }
    }
}
