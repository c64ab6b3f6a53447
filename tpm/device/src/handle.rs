//! The handle that the rest of the node uses: the TPM's commands as futures, and the node's own log.

use crate::hcl::Hcl;
use crate::keys::Voucher;
use crate::thread::TpmThread;
use crate::{DeviceError, Tcti};
use ccnode_evidence::{
    Absent, Activated, EventLogs, EvidenceSource, ExtraData, Identity, PcrIndex, PcrSet, PcrValues,
    QuoteParts, SecretBytes, Sha256Digest, TpmSource,
};
use ccnode_tpm_eventlog::own;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The TPM, before it is open.
#[derive(Debug)]
pub struct Device;

/// What the boot left for the appraiser beside the TPM's state.
#[derive(Clone, Debug, Default)]
pub struct BootRecords {
    /// The firmware's log: `binary_bios_measurements` of securityfs, empty where the firmware measures nothing.
    pub event_log: Vec<u8>,
    /// `/proc/cmdline` without its final newline.
    pub cmdline: String,
    /// What this boot logged of its own already, for a process that comes after: [`own::PATH`], else empty.
    pub own_log: Vec<u8>,
}

/// Sends commands to the thread that owns the TPM; clones share thread and log.
///
/// Every call queues its command before it returns, in the order of the calls, so a future need not be awaited for its
/// command to run; dropping it does not undo the command. When the last clone goes, the TPM is flushed and closed.
#[derive(Clone)]
pub struct DeviceHandle {
    thread: Arc<TpmThread>,
    records: Option<Arc<BootRecords>>,
    own_log: Arc<Mutex<Vec<u8>>>,
}

impl Device {
    /// Starts the thread and opens the TPM; blocks for the few milliseconds that takes.
    ///
    /// Nothing there is [`DeviceError::TpmMissing`]; a TPM that does not answer is [`DeviceError::TpmFailed`].
    pub fn open(tcti: Tcti) -> Result<DeviceHandle, DeviceError> {
        let thread = Arc::new(TpmThread::start(tcti)?);
        Ok(DeviceHandle { thread, records: None, own_log: Arc::default() })
    }
}

impl DeviceHandle {
    /// Gives the records that `logs` returns; the own log starts with theirs.
    #[must_use]
    pub fn with_records(mut self, mut records: BootRecords) -> Self {
        *lock(&self.own_log) = std::mem::take(&mut records.own_log);
        self.records = Some(Arc::new(records));
        self
    }

    /// Finds or makes the keys and starts the salted session, so that activation and quote are quick. Call it before
    /// the network is up and await it, if at all, beside the network.
    pub fn prepare(&self) -> impl Future<Output = Result<(), DeviceError>> + Send + use<> {
        self.thread.call(|tpm| tpm.prepare())
    }

    /// The reports of a paravisor, where there is one below this TPM (Azure): then its attestation key is used, too.
    pub fn supports_hcl(&self) -> impl Future<Output = Result<Option<Hcl>, DeviceError>> + Send + use<> {
        let thread = Arc::clone(&self.thread);
        let there = self.thread.call(|tpm| tpm.is_hcl());
        async move { Ok(there.await?.then(|| Hcl::new(thread))) }
    }

    /// Says which endorsement key the TPM must have. It is then good without a certificate, and one that differs is
    /// [`DeviceError::EkForeign`] from here on.
    pub fn vouch(&self, voucher: Voucher) -> impl Future<Output = Result<(), DeviceError>> + Send + use<> {
        self.thread.call(move |tpm| tpm.vouch(voucher))
    }

    /// TPM2_PCR_Extend with `digest` in the SHA-256 bank (a hash of it in the other banks), then a record in the own log
    /// with `data`, printable ASCII of at most [`own::MAX_DATA`] bytes; other data are an error and nothing is extended.
    pub fn extend(
        &self,
        pcr: PcrIndex,
        digest: Sha256Digest,
        data: &str,
    ) -> impl Future<Output = Result<(), DeviceError>> + Send + use<> {
        self.thread.call(self.extension(pcr, digest, data.to_owned()))
    }

    /// Caps PCR 15 with SHA-256(`ccnode:cap`): from here on no quote of this boot satisfies a release policy.
    pub fn cap(&self) -> impl Future<Output = Result<(), DeviceError>> + Send + use<> {
        self.thread.call(self.extension(PcrIndex::CAP, own::cap_digest(), own::CAP.to_owned()))
    }

    /// [`Self::cap`] without a runtime, for panic hooks; waits at most `within` for commands before it and for itself.
    pub fn cap_blocking(&self, within: Duration) -> Result<(), DeviceError> {
        self.thread
            .call_blocking(within, self.extension(PcrIndex::CAP, own::cap_digest(), own::CAP.to_owned()))
    }

    /// The values of `set` in the SHA-256 bank, as they stand now.
    pub fn read_pcrs(
        &self,
        set: PcrSet,
    ) -> impl Future<Output = Result<PcrValues, DeviceError>> + Send + use<> {
        self.thread.call(move |tpm| tpm.read_pcrs(set))
    }

    /// `len` bytes of TPM2_GetRandom, encrypted between TPM and process. It uses up the session that
    /// [`Self::prepare`] started, so call it after the activation or prepare again.
    pub fn random(
        &self,
        len: usize,
    ) -> impl Future<Output = Result<SecretBytes, DeviceError>> + Send + use<> {
        self.thread.call(move |tpm| tpm.random(len))
    }

    /// The node's own log so far: TCG_PCR_EVENT2 records without a header, what belongs at [`own::PATH`].
    pub fn own_log(&self) -> Vec<u8> {
        lock(&self.own_log).clone()
    }

    /// The record is made before the command, so that data that can't be logged extend nothing, and appended after it, so
    /// that the log holds no extension that failed.
    fn extension(
        &self,
        pcr: PcrIndex,
        digest: Sha256Digest,
        data: String,
    ) -> impl FnOnce(&mut crate::tpm::Tpm) -> Result<(), DeviceError> + Send + use<> {
        let log = Arc::clone(&self.own_log);
        move |tpm| {
            let mut record = Vec::new();
            own::append(&mut record, pcr, &digest, &data).map_err(DeviceError::Event)?;
            tpm.extend(pcr, &digest)?;
            lock(&log).append(&mut record);
            Ok(())
        }
    }
}

impl TpmSource for DeviceHandle {
    type Error = DeviceError;

    fn identity(&self) -> impl Future<Output = Result<Identity, DeviceError>> + Send {
        self.thread.call(|tpm| tpm.identity())
    }

    fn activate(
        &self,
        credential: Vec<u8>,
        secret: Vec<u8>,
    ) -> impl Future<Output = Result<Activated, DeviceError>> + Send {
        self.thread.call(move |tpm| tpm.activate(&credential, &secret))
    }

    fn quote_pcrs(
        &self,
        set: PcrSet,
        extra: ExtraData,
    ) -> impl Future<Output = Result<QuoteParts, DeviceError>> + Send {
        self.thread.call(move |tpm| tpm.quote(set, extra))
    }
}

/// A machine with a TPM and nothing else.
impl EvidenceSource for DeviceHandle {
    type Error = DeviceError;
    type Tpm = Self;
    type Report = Absent<DeviceError>;

    fn supports_tpm(&self) -> Option<&Self> {
        Some(self)
    }

    fn supports_report(&self) -> Option<&Self::Report> {
        None
    }

    fn logs(&self) -> impl Future<Output = Result<EventLogs, DeviceError>> + Send {
        let (records, own_log) = (self.records.clone(), Arc::clone(&self.own_log));
        // Queued like a command, so that the log holds every extension that was asked for before.
        self.thread.call(move |_| {
            let records = records.ok_or(DeviceError::RecordsMissing)?;
            Ok(EventLogs {
                event_log: records.event_log.clone().into(),
                own_log: lock(&own_log).clone().into(),
                cmdline: records.cmdline.clone(),
            })
        })
    }
}

impl std::fmt::Debug for DeviceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceHandle")
    }
}

fn lock(log: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
