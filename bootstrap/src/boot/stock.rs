//! The steps of a stock boot, each with the proof that the next one wants. Nothing is formatted here, and nothing of ccnode/1 is said.

use super::attest::refusal;
use super::cap::Cap;
use super::discover::StockReady;
use super::unlock::name;
use super::{Boot, Provisioned, blocking, deadline, millis};
use crate::config::{Config, StockPlan};
use crate::console::Step;
use crate::disk::Places;
use crate::handover::SYSROOT;
use crate::prover::{Hardware, Prover};
use crate::refusal::Refusal;
use crate::stock::{self, Released};
use crate::{fill, unlock};
use ccnode_attest_client::stock::{StockClient, StockSettings};
use ccnode_evidence::Code;
use ccnode_protocol::init_data::Proxy;
use ccnode_protocol::jwe::SessionKeyKind;
use ccnode_tpm_device::DeviceHandle;
use ccnode_tpm_eventlog::own;
use std::path::Path;
use std::time::Instant;

/// The broker has given what the image names; it is in memory and nowhere else.
pub struct StockAttested {
    config: Config,
    plan: StockPlan,
    device: Option<DeviceHandle>,
    hardware: Option<Hardware>,
    released: Released,
    words: String,
    ms: u64,
}

/// What can be closed on this machine is closed: disks may be opened.
pub struct StockCapped(StockAttested);

/// The volume is mapped as judged, measured into PCR 15 where there is a TPM, and mounted.
pub struct StockUnlocked {
    config: Config,
    device: Option<DeviceHandle>,
    released: Released,
}

/// A client with the pinned CAs.
pub(super) fn means(
    config: &Config,
    key: SessionKeyKind,
    proxy: Option<&Proxy>,
) -> Result<StockClient, Refusal> {
    let urls = config.service.urls.clone();
    let settings = StockSettings { urls, pins: config.pins()?, clock: crate::boot_time_clock(), key };
    Ok(StockClient::through(settings, proxy)?)
}

impl From<std::convert::Infallible> for Refusal {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Boot {
    /// Attests, and reads every resource that the image names, in one session.
    pub async fn attest_stock(&mut self, ready: StockReady) -> Result<StockAttested, Refusal> {
        let since = Instant::now();
        let StockReady { config, plan, device, hardware, means, init_data, deadline } = ready;
        self.begin(Step::Attest, Some(&config));
        let lost = |_| Refusal::new(Code::NodeInternal, "a task of the attestation was lost");
        let mut client = means.await.map_err(lost)??;
        // Beside a report there is no quote: the stock protocol has no form for both.
        let quotes = hardware.as_ref().is_none_or(Hardware::needs_tpm);
        let source = Prover::new(device.clone().filter(|_| quotes), hardware.clone(), String::new());
        let sent = source.sent();
        self.status.evidence = Some(sent);
        self.console.note(Step::Attest, &sent.to_string());
        let init_data = init_data.map(|data| data.wire());
        let wanted = plan.wanted().map_err(|e| Refusal::new(Code::ConfigMalformed, e))?;
        let wants = stock::wants(&plan.key, &wanted);
        let console = &self.console;
        let retry = |retry| console.retry(Step::Attest, &retry);
        let result = client.fetch(&source, &wants, init_data.as_ref(), deadline, retry).await;
        self.status.sums.tpm_ms += source.tpm_ms();
        self.status.sums.report_ms += source.report_ms();
        let outcome = result.map_err(|error| refusal(error, &deadline))?;
        self.status.service = client.url().to_owned();
        let released = Released::sort(&plan.key, plan.form, wanted, outcome.resources)?;
        let words = format!("{} resources from {}", wants.len(), self.status.service);
        let ms = millis(since);
        self.status.step(Step::Attest, ms);
        Ok(StockAttested { config, plan, device, hardware, released, words, ms })
    }

    /// Closes what this machine has to close. Whether that keeps a later session from its keys is up to the broker's policy.
    pub async fn cap_stock(&mut self, attested: StockAttested) -> Result<StockCapped, Refusal> {
        let since = Instant::now();
        self.begin(Step::Cap, None);
        let cap = Cap::of_stock(attested.device.is_some(), attested.hardware.as_ref());
        self.close(cap, attested.device.as_ref(), attested.hardware.as_ref()).await?;
        self.status.cap = Some(cap);
        self.console.ok(Step::Attest, &attested.words, attested.ms);
        self.done(Step::Cap, since, "what there is to close; what it is worth is the broker's policy to say");
        Ok(StockCapped(attested))
    }

    /// Finds the partition, judges its header, opens, measures and mounts it.
    pub async fn unlock_stock(&mut self, capped: StockCapped) -> Result<StockUnlocked, Refusal> {
        let since = Instant::now();
        let StockCapped(StockAttested { config, plan, device, released, .. }) = capped;
        self.begin(Step::Unlock, Some(&config));
        self.load_late().await?;
        let partitions = Places::default().wait(&config.disk, deadline(&config)).await?;
        let (name, opening) = (name("root")?, Instant::now());
        let (opened, released) = blocking(move || {
            let header =
                stock::read_header(&mut unlock::open_partition(&partitions.root, false)?, plan.form)?;
            let opened = stock::open(&header, &partitions.root, &plan.key, &released.key, &name)?;
            Ok::<_, stock::StockError>((opened, released))
        })
        .await??;
        let opened = self.measured(device.as_ref(), opened, opening).await?;
        let mapped = opened.path();
        blocking(move || fill::mount_root(&mapped, Path::new(SYSROOT))).await??;
        self.done(Step::Unlock, since, "the root, by its form alone: nobody has its header on record");
        Ok(StockUnlocked { config, device, released })
    }

    /// Writes the files that the image names.
    pub fn provision_stock(&mut self, unlocked: StockUnlocked) -> Result<Provisioned, Refusal> {
        let since = Instant::now();
        let StockUnlocked { config, device, released } = unlocked;
        self.begin(Step::Provision, Some(&config));
        self.user_files()?;
        stock::write_files(Path::new("/"), &released.files)?;
        if let Some(device) = &device {
            let internal =
                |e: std::io::Error| Refusal::new(Code::NodeInternal, format!("{}: {e}", own::PATH));
            crate::status::write_file(Path::new(own::PATH), &device.own_log(), 0o644).map_err(internal)?;
        }
        self.done(Step::Provision, since, &format!("{} files", released.files.len()));
        Ok(Provisioned { config, device })
    }
}
