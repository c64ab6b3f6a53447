//! The services of one session: who is asked first, who beside it when it is slow, and who next when it fails.
//!
//! Only the first request of a session is made to several: it spends nothing. What answers first has the session; the others are dropped.

use crate::error::{ClientError, Cure};
use crate::retry::{Backoff, Deadline, Retry};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a service has the race for itself before the next is asked beside it.
pub(crate) const HEAD_START: Duration = Duration::from_millis(750);

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
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self { backoff: Backoff::new(), lost: Vec::new() }
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
        let mut waiting =
            from_current.filter(|url| !tries.lost.contains(url)).collect::<Vec<_>>().into_iter();
        let mut running = FuturesUnordered::new();
        let start = |at: usize| {
            let asked = ask(self.urls.get(at).cloned().unwrap_or_default());
            async move { (at, asked.await) }
        };
        // One at least: whoever loses the last URL ends its attempts.
        running.push(start(waiting.next().unwrap_or(self.current)));
        let mut beside = Instant::now() + HEAD_START;
        let (winner, answer) = loop {
            let next = tokio::select! {
                biased;
                Some((at, answer)) = running.next() => match answer {
                    Ok(good) => break (at, Ok(good)),
                    Err(error) if error.cure() == Cure::None => break (at, Err(error)),
                    Err(error) => {
                        if error.cure() == Cure::Elsewhere {
                            tries.lost.push(at);
                        }
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
    pub(crate) async fn wait(
        &mut self,
        error: ClientError,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        let next = match error.cure() {
            Cure::None => None,
            // No wait: it is another one's turn.
            Cure::Elsewhere => {
                tries.lost.push(self.current);
                Some(Duration::ZERO).filter(|_| !deadline.left().is_zero())
            }
            Cure::Again | Cure::NewSession => tries.backoff.next(&deadline),
        };
        let url = match error.cure() {
            Cure::NewSession => Some(self.current),
            _ => self.after_current(&tries.lost),
        };
        let (Some(next), Some(url)) = (next, url) else { return Err(error) };
        self.current = url;
        progress(Retry { reason: error.to_string(), next, left: deadline.left() });
        tokio::time::sleep(next).await;
        Ok(())
    }

    /// [`Self::wait`], then again with the same service: within a session there is no other.
    pub(crate) async fn wait_here(
        &mut self,
        error: ClientError,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        let url = self.current;
        let waited = self.wait(error, tries, deadline, progress).await;
        self.current = url;
        waited
    }

    /// The next URL in the round, the current one last, that is not `lost`.
    fn after_current(&self, lost: &[usize]) -> Option<usize> {
        let mut round = (1..=self.urls.len()).filter_map(|n| (self.current + n).checked_rem(self.urls.len()));
        round.find(|url| !lost.contains(url))
    }
}
