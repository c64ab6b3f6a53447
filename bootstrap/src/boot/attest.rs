//! Attest: evidence against grants.

use super::discover::CcnodeReady;
use super::{Boot, millis};
use crate::clock;
use crate::config::{Cmdline, Config};
use crate::console::Step;
use crate::init_data::InitData;
use crate::prover::{Hardware, ProofError, Prover, Sent};
use crate::provision::KubeletKey;
use crate::refusal::Refusal;
use ccnode_attest_client::{AttestError, Client, Deadline, Outcome, PinError, Settings};
use ccnode_evidence::Code;
use ccnode_protocol::PoolName;
use ccnode_protocol::init_data::Proxy;
use ccnode_tpm_device::DeviceHandle;
use std::time::Instant;

/// The service has released what this boot gets; it is in memory and nowhere else.
pub struct Attested {
    pub(super) config: Config,
    pub(super) cmdline: Cmdline,
    pub(super) device: Option<DeviceHandle>,
    pub(super) hardware: Option<Hardware>,
    /// What proved the machine.
    pub(super) sent: Sent,
    pub(super) client: Client,
    pub(super) outcome: Outcome,
    pub(super) key: KubeletKey,
    /// What is said of this step, once the boot is capped.
    pub(super) words: String,
    pub(super) ms: u64,
}

impl crate::refusal::Coded for PinError {
    fn code(&self) -> Code {
        Code::ConfigMalformed
    }
}

/// What an exchange needs besides the TPM: a client with the pinned CAs, and the key to be certified.
pub(super) fn means(
    config: &Config,
    pool: PoolName,
    init_data: Option<InitData>,
    proxy: Option<&Proxy>,
) -> Result<(Client, KubeletKey), Refusal> {
    let settings = Settings {
        urls: config.service.urls.clone(),
        pins: config.pins()?,
        pool,
        clock: crate::boot_time_clock(),
    };
    let client = Client::through(settings, proxy)?.with_init_data(init_data.map(|data| data.wire()));
    Ok((client, KubeletKey::generate()?))
}

impl Boot {
    /// Walks a session with the service, again and again until it ends or the deadline does.
    pub async fn attest(&mut self, ready: CcnodeReady) -> Result<Attested, Refusal> {
        let since = Instant::now();
        let CcnodeReady { config, cmdline, device, hardware, subject, means, deadline } = ready;
        self.begin(Step::Attest, Some(&config));
        let lost = |_| Refusal::new(Code::NodeInternal, "a task of the attestation was lost");
        let (mut client, key) = means.await.map_err(lost)??;
        let subject = self.tpm(subject).await.map_err(lost)??;
        let offered = device.clone().filter(|_| subject.identity.is_some());
        let source = Prover::new(offered, hardware.clone(), subject.logs.cmdline.clone());
        let sent = source.sent();
        self.status.evidence = Some(sent);
        // Before the first word to the service: nothing is in memory yet that a standing serial port could expose.
        self.console.note(Step::Attest, &sent.to_string());
        let console = &self.console;
        let retry = |retry| console.retry(Step::Attest, &retry);
        let result = client.attest(&subject, &source, |name| key.request(name), deadline, retry).await;
        self.status.sums.tpm_ms += source.tpm_ms();
        self.status.sums.report_ms += source.report_ms();
        self.client = Some(client.clone());
        let outcome = result.map_err(|error| refusal(error, &deadline))?;
        self.status.node = outcome.grants.node.to_string();
        self.status.service = client.url().to_owned();
        self.status.level = outcome.grants.level;
        let clock = match clock::set(outcome.grants.time) {
            Ok(None) => String::new(),
            Ok(Some(off)) => format!(", clock set by {off} s"),
            Err(e) => {
                self.status.warnings.push(format!("the clock could not be set: {e}"));
                String::new()
            }
        };
        let level = self.status.level.map_or(String::new(), |level| format!(", level {}", level.as_str()));
        let words = format!("node {} at {}{level}{clock}", self.status.node, self.status.service);
        let ms = millis(since);
        self.status.step(Step::Attest, ms);
        Ok(Attested { config, cmdline, device, hardware, sent, client, outcome, key, words, ms })
    }
}

pub(super) fn refusal<C>(error: AttestError<ProofError, C>, deadline: &Deadline) -> Refusal
where
    C: std::error::Error + 'static,
    Refusal: From<C>,
{
    match error {
        AttestError::Client(error) => {
            let mut refusal = Refusal::of_client(&error);
            if matches!(refusal.code, Code::ServiceUnreachable | Code::ServiceFailed) {
                refusal.detail.push_str(&format!("; given up after {} s", deadline.span().as_secs()));
            }
            refusal
        }
        AttestError::Source(error) => error.into(),
        AttestError::Csr(error) => error.into(),
    }
}
