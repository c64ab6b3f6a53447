//! The services of one session: who is asked first, who beside it when it is slow, and who next when it fails.
//!
//! Only the first request of a session is made to several: it spends nothing. What answers first has the session; the others are dropped.

use crate::error::{ClientError, Cure};
use crate::retry::{Backoff, Deadline, Retry};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a service has the race for itself before the next is asked beside it.
pub(crate) const HEAD_START: Duration = Duration::from_millis(750);

/// The longest that a service is left alone because it asks for it; services count by the minute.
const ASKED: Duration = Duration::from_secs(60);

/// The URLs, and the one that is in use.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    urls: Vec<String>,
    current: usize,
}

/// What was tried for one end.
pub(crate) struct Tries {
    backoff: Backoff,
    /// URLs that are not asked again: who answers there is not the service, or not well.
    lost: Vec<usize>,
    /// When those may be asked again that asked to be left alone.
    asked: BTreeMap<usize, Instant>,
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self { backoff: Backoff::new(), lost: Vec::new(), asked: BTreeMap::new() }
    }

    /// Notes what came from `url`.
    fn note(&mut self, url: usize, error: &ClientError) {
        if error.cure() == Cure::Elsewhere {
            self.lost.push(url);
        }
        if let Some(asked) = error.retry_after() {
            self.asked.insert(url, Instant::now() + asked.min(ASKED));
        }
    }

    /// How long `url` is to be left alone yet.
    fn owed(&self, url: usize) -> Duration {
        self.asked.get(&url).map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

impl Endpoints {
    pub(crate) fn new(urls: Vec<String>) -> Self {
        Self { urls, current: 0 }
    }

    /// The URL that is in use.
    pub(crate) fn url(&self) -> &str {
        self.urls.get(self.current).map_or("", String::as_str)
    }

    /// Asks the current service, and the others one by one beside it where there is no answer in time, or in its place where it fails.
    ///
    /// The first good answer wins and its service becomes the current one; the requests that are still under way are dropped. A
    /// refusal ends the race at once. Where nobody is left, the last error comes back.
    pub(crate) async fn race<T, F: Future<Output = Result<T, ClientError>>>(
        &mut self,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
        ask: impl Fn(String) -> F,
    ) -> Result<T, ClientError> {
        let from_current =
            (0..self.urls.len()).filter_map(|n| (self.current + n).checked_rem(self.urls.len()));
        let waiting = from_current.filter(|url| !tries.lost.contains(url) && tries.owed(*url).is_zero());
        let mut waiting = waiting.collect::<Vec<_>>().into_iter();
        let mut running = FuturesUnordered::new();
        let start = |at: usize| {
            let asked = ask(self.urls.get(at).cloned().unwrap_or_default());
            async move { (at, asked.await) }
        };
        // One at least: whoever loses the last URL ends its attempts, and a wait that the deadline cut short ends with one.
        running.push(start(waiting.next().unwrap_or(self.current)));
        let mut beside = Instant::now() + HEAD_START;
        let (winner, answer) = loop {
            let next = tokio::select! {
                biased;
                Some((at, answer)) = running.next() => match answer {
                    Ok(good) => break (at, Ok(good)),
                    Err(error) if error.cure() == Cure::None => break (at, Err(error)),
                    Err(error) => {
                        tries.note(at, &error);
                        let next = waiting.next().filter(|_| !deadline.left().is_zero());
                        if next.is_none() && running.is_empty() {
                            break (at, Err(error));
                        }
                        progress(Retry { reason: error.to_string(), next: Duration::ZERO, left: deadline.left() });
                        next
                    }
                },
                () = sleep_until(beside), if waiting.len() > 0 => waiting.next(),
            };
            if let Some(next) = next {
                running.push(start(next));
                beside = Instant::now() + HEAD_START;
            }
        };
        drop(running);
        self.current = winner;
        answer
    }

    /// Waits before another attempt, or gives the error back where none helps or none fits before the deadline.
    ///
    /// A service that asked to be left alone is, unless the deadline comes first; another one that did not is asked in its place.
    pub(crate) async fn wait(
        &mut self,
        error: ClientError,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        tries.note(self.current, &error);
        let url = match error.cure() {
            Cure::None => None,
            Cure::NewSession => Some(self.current),
            Cure::Elsewhere | Cure::Again => self.after_current(tries),
        };
        match url {
            Some(url) => self.pause(url, error, tries, deadline, progress).await,
            None => Err(error),
        }
    }

    /// [`Self::wait`], then again with the same service: within a session there is no other.
    pub(crate) async fn wait_here(
        &mut self,
        error: ClientError,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        tries.note(self.current, &error);
        self.pause(self.current, error, tries, deadline, progress).await
    }

    async fn pause(
        &mut self,
        url: usize,
        error: ClientError,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        let owed = tries.owed(url);
        let next = match error.cure() {
            // No wait: it is another one's turn.
            Cure::Elsewhere if owed.is_zero() => Some(Duration::ZERO).filter(|_| !deadline.left().is_zero()),
            _ => tries.backoff.next(&deadline, owed),
        };
        let Some(next) = next else { return Err(error) };
        self.current = url;
        progress(Retry { reason: error.to_string(), next, left: deadline.left() });
        tokio::time::sleep(next).await;
        Ok(())
    }

    /// The next URL in the round, the current one last, that is not lost; of several, the one that is to be left alone no longer than
    /// the others.
    fn after_current(&self, tries: &Tries) -> Option<usize> {
        let round = (1..=self.urls.len()).filter_map(|n| (self.current + n).checked_rem(self.urls.len()));
        round.filter(|url| !tries.lost.contains(url)).min_by_key(|url| tries.owed(*url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_service_asks_for_is_bounded_and_its_own() {
        let failed = |retry_after| ClientError::Failed {
            url: String::new(),
            path: String::new(),
            status: 503,
            kind: None,
            detail: String::new(),
            correlation_id: None,
            retry_after,
        };
        let mut tries = Tries::new();
        tries.note(0, &failed(Some(Duration::MAX)));
        tries.note(1, &failed(Some(Duration::from_secs(5))));
        tries.note(2, &failed(None));
        let owed = [0, 1, 2].map(|url| tries.owed(url).as_secs_f64().round());
        assert_eq!(owed, [ASKED.as_secs_f64(), 5.0, 0.0]);
        let endpoints = Endpoints::new(vec![String::new(); 3]);
        assert_eq!(endpoints.after_current(&tries), Some(2));
        tries.lost.push(2);
        assert_eq!(endpoints.after_current(&tries), Some(1));
    }
}
