//! The thread that owns the TPM, and the queue in front of it.

use crate::tpm::Tpm;
use crate::{DeviceError, Tcti};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the last handle waits for the thread to flush the TPM before it lets go.
const CLOSING: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce(&mut Tpm) + Send>;

/// The sending end. Dropping it closes the TPM once what is queued is done.
pub(crate) struct TpmThread {
    jobs: Option<Sender<Job>>,
    closed: Mutex<Receiver<()>>,
}

impl TpmThread {
    /// Starts the thread and waits until it has opened the TPM.
    pub(crate) fn start(tcti: Tcti) -> Result<Self, DeviceError> {
        let (jobs, queue) = channel::<Job>();
        let (opened, opening) = channel();
        let (closing, closed) = channel();
        let body = move || {
            // Dropped last, after the context: its end tells that the TPM is flushed.
            let _closing: Sender<()> = closing;
            let mut tpm = match Tpm::open(&tcti) {
                Ok(tpm) => tpm,
                Err(e) => return opened.send(Err(e)).unwrap_or_default(),
            };
            if opened.send(Ok(())).is_ok() {
                queue.into_iter().for_each(|job| job(&mut tpm));
            }
        };
        std::thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(body)
            .map_err(|_| DeviceError::ThreadGone)?;
        opening.recv().map_err(|_| DeviceError::ThreadGone)??;
        Ok(Self { jobs: Some(jobs), closed: closed.into() })
    }

    /// Queues `work` at once; the answer comes when the future is awaited. Dropping the future does not stop the work.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tpm) -> Result<T, DeviceError> + Send + 'static,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        self.queue(Box::new(move |tpm| drop(answer.send(work(tpm)))));
        Answer(answered)
    }

    /// As [`Self::call`] for callers outside a runtime, and for a time.
    pub(crate) fn call_blocking<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&mut Tpm) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        let (answer, answered) = channel();
        self.queue(Box::new(move |tpm| drop(answer.send(work(tpm)))));
        answered.recv_timeout(within).unwrap_or_else(|e| match e {
            RecvTimeoutError::Timeout => Err(DeviceError::TimedOut),
            RecvTimeoutError::Disconnected => Err(DeviceError::ThreadGone),
        })
    }

    fn queue(&self, job: Job) {
        // A job that can't be queued is dropped, and with it the sender of its answer: the caller sees ThreadGone.
        if let Some(jobs) = &self.jobs {
            drop(jobs.send(job));
        }
    }
}

/// What a queued command will answer.
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T, DeviceError>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, DeviceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Err(DeviceError::ThreadGone)))
    }
}

impl Drop for TpmThread {
    fn drop(&mut self) {
        self.jobs = None;
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Disconnected: flushed and closed. Timeout: a TPM that hangs must not hold up a power-off.
        let _flushed_or_hanging = closed.recv_timeout(CLOSING);
    }
}
