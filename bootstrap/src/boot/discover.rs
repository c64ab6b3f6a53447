//! Discover, measure, network: what is there before anybody is asked anything.

use super::machine::named;
use super::{Boot, attest, blocking, deadline, millis, stock};
use crate::config::{self, Cmdline, Config, InitDataRule, Mode, Requirement, StockPlan};
use crate::console::Step;
use crate::grace::{self, Short};
use crate::init_data::{self, InitData};
use crate::last;
use crate::modules;
use crate::net;
use crate::prover::Hardware;
use crate::provision::KubeletKey;
use crate::refusal::Refusal;
use ccnode_attest_client::stock::StockClient;
use ccnode_attest_client::{Client, Deadline, Subject};
use ccnode_evidence::{Code, EventLogs, EvidenceSource as _, TpmSource as _};
use ccnode_protocol::PoolName;
use ccnode_tpm_device::{BootRecords, Device, DeviceError, DeviceHandle, Tcti};
use std::fs;
use std::path::Path;
use std::time::Instant;
use tokio::task::JoinHandle;

const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// The measured configuration is read, early modules are loaded, the TPM works on its keys, and it is known who reports.
pub struct Discovered {
    pub(super) config: Config,
    pub(super) cmdline: Cmdline,
    pub(super) device: Option<DeviceHandle>,
    pub(super) hardware: Option<Hardware>,
    way: Way<()>,
    /// `/proc/cmdline`.
    text: String,
    /// Length of the firmware's log, for the console.
    event_log: usize,
    /// Ends once the kernel's random number generator is ready.
    seeded: JoinHandle<()>,
}

/// By which transcript this node attests; there is no way from one to the other.
enum Way<T> {
    Ccnode(PoolName, T),
    Stock(StockPlan),
}

/// Who attests: awaited when it is needed, since the network comes up while the TPM works.
type Asked = JoinHandle<Result<Subject, DeviceError>>;

/// The logs are read; PCRs don't move from here to the quote.
pub struct Measured {
    pub(super) config: Config,
    pub(super) cmdline: Cmdline,
    pub(super) device: Option<DeviceHandle>,
    pub(super) hardware: Option<Hardware>,
    way: Way<Asked>,
    init_data: Option<InitData>,
    seeded: JoinHandle<()>,
}

/// There is an address, and it is known whom to speak to in which way.
pub enum Networked {
    /// A ccnode service.
    Ccnode(Box<CcnodeReady>),
    /// A stock key broker.
    Stock(Box<StockReady>),
}

/// Ready for a stock session.
pub struct StockReady {
    pub(super) config: Config,
    pub(super) plan: StockPlan,
    pub(super) device: Option<DeviceHandle>,
    pub(super) hardware: Option<Hardware>,
    pub(super) means: JoinHandle<Result<StockClient, Refusal>>,
    pub(super) init_data: Option<InitData>,
    pub(super) deadline: Deadline,
}

/// Ready for a session of `ccnode/1`.
pub struct CcnodeReady {
    pub(super) config: Config,
    pub(super) cmdline: Cmdline,
    pub(super) device: Option<DeviceHandle>,
    pub(super) hardware: Option<Hardware>,
    pub(super) subject: Asked,
    pub(super) means: JoinHandle<Result<(Client, KubeletKey), Refusal>>,
    pub(super) deadline: Deadline,
}

impl Boot {
    /// Reads the configuration, opens the TPM and starts its work, loads what the network needs.
    pub async fn discover(&mut self) -> Result<Discovered, Refusal> {
        let since = Instant::now();
        self.begin(Step::Discover, None);
        self.grace = Short::begin(Path::new(grace::SWITCH)).ok();
        // A reader that waits makes the kernel gather what it lacks.
        let seeded = tokio::task::spawn_blocking(|| {
            // What it reads is of no interest, nor whether it could.
            let _ = getrandom::fill(&mut [0]);
        });
        let dir = Path::new(config::DIR);
        let config = Config::load(&dir.join("node.toml"))?;
        last::set_action(config.refusal.action);
        let text = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        let cmdline = Cmdline::parse(&text)?;
        self.console.set_json(cmdline.json);
        config.takes(&cmdline)?;
        // The TPM works while modules load; where its own driver is a module, it comes after them.
        let early = Tcti::machine().is_ok().then(|| {
            tokio::task::spawn_blocking({
                let text = text.clone();
                move || open_tpm(text)
            })
        });
        let before = Instant::now();
        let loaded = load(&dir.join("modules-early")).await;
        self.status.sums.modules_ms += millis(before);
        let (device, event_log) = match early {
            Some(opening) => {
                let lost = |_| Refusal::new(Code::NodeInternal, "the TPM's thread was lost");
                self.tpm(opening).await.map_err(lost)?
            }
            None => {
                let text = text.clone();
                blocking(move || open_tpm(text)).await?
            }
        }?;
        if let Some(device) = &device {
            last::set_tpm(device.clone());
        }
        // Only now: a refusal caps the TPM, so it must be open.
        let loaded = loaded?;
        let hardware = self.hardware(device.as_ref()).await?;
        match (&device, &hardware) {
            (None, None) => return Err(Tcti::machine().err().map_or_else(gone, Refusal::from)),
            (None, Some(Hardware::Cvm { reports, .. })) => last::set_without_tpm(reports.clone()),
            _ => {}
        }
        let (way, words) = match &config.mode {
            Mode::Ccnode { pool } => (Way::Ccnode(pool.clone(), ()), format!("pool {pool}")),
            Mode::Stock(stock) => {
                let plan = StockPlan::accept(stock)?;
                for requirement in Requirement::ALL {
                    self.console.warn(Step::Discover, requirement.unproven());
                    self.status.warnings.push(requirement.unproven().to_owned());
                }
                (Way::Stock(plan), "stock mode".to_owned())
            }
        };
        if let Way::Ccnode(pool, ()) = &way {
            self.status.pool = pool.to_string();
        }
        self.status.image = cmdline.root_hash.to_string();
        let has = named(device.is_some(), hardware.as_ref());
        self.done(Step::Discover, since, &format!("{words}, {loaded} modules, {has}"));
        Ok(Discovered { config, cmdline, device, hardware, way, text, event_log, seeded })
    }

    /// Measures init-data where the image allows any, then takes identity and logs.
    pub async fn measure(&mut self, discovered: Discovered) -> Result<Measured, Refusal> {
        let since = Instant::now();
        let Discovered { config, cmdline, device, hardware, way, text, event_log, seeded } = discovered;
        self.begin(Step::Measure, None);
        let init_data = self.init_data(&config, &way, device.as_ref(), hardware.as_ref()).await?;
        let alone = hardware.as_ref().is_some_and(|hardware| !hardware.needs_tpm());
        let way = match way {
            Way::Ccnode(pool, ()) => Way::Ccnode(pool, tokio::spawn(subject(device.clone(), alone, text))),
            Way::Stock(plan) => Way::Stock(plan),
        };
        let read = match event_log {
            0 => "no event log of a TPM".to_owned(),
            bytes => format!("event log of {bytes} bytes"),
        };
        self.done(Step::Measure, since, &read);
        Ok(Measured { config, cmdline, device, hardware, way, init_data, seeded })
    }

    /// What the host handed in, measured; nothing where the image does not allow it, or no quote would cover it.
    async fn init_data(
        &mut self,
        config: &Config,
        way: &Way<()>,
        device: Option<&DeviceHandle>,
        hardware: Option<&Hardware>,
    ) -> Result<Option<InitData>, Refusal> {
        // A stock report stands without a quote: its init-data would have to be in it from the launch on.
        let quotes = matches!(way, Way::Ccnode(..)) || hardware.is_none_or(Hardware::needs_tpm);
        if config.init_data == InitDataRule::Ignored || !quotes {
            return Ok(None);
        }
        let Some(found) = init_data::find(Path::new(init_data::FW_CFG))? else { return Ok(None) };
        let measured = self.tpm(found.measure(device)).await?;
        self.hints = measured.follow(&config.hints)?;
        let others = match measured.others() {
            0 => String::new(),
            count => format!("; {count} texts that the node does not read"),
        };
        let words = format!("init-data measured into PCR 8: {}{others}", self.hints.words());
        self.console.note(Step::Measure, &words);
        Ok(Some(measured))
    }

    /// Brings the network up; the deadline of the exchange begins here.
    pub async fn network(&mut self, measured: Measured) -> Result<Networked, Refusal> {
        let since = Instant::now();
        let Measured { config, cmdline, device, hardware, way, init_data, seeded } = measured;
        self.begin(Step::Network, Some(&config));
        let (deadline, network) = (deadline(&config), self.hints.network(&config.network));
        let proxy = self.hints.proxy().cloned();
        // DHCP, TLS and keys need it; the kernel gathers it since discovery began.
        let lost = |_| Refusal::new(Code::NodeInternal, "the random number generator was lost");
        seeded.await.map_err(lost)?;
        self.status.sums.random_ms += millis(since);
        // Made while the network comes up.
        let settings = config.clone();
        let ready = match way {
            Way::Ccnode(pool, subject) => {
                let means = tokio::task::spawn_blocking(move || {
                    attest::means(&settings, pool, init_data, proxy.as_ref())
                });
                let ready = CcnodeReady { config, cmdline, device, hardware, subject, means, deadline };
                Networked::Ccnode(Box::new(ready))
            }
            Way::Stock(plan) => {
                let key = plan.session_key;
                let means = tokio::task::spawn_blocking(move || stock::means(&settings, key, proxy.as_ref()));
                let ready = StockReady { config, plan, device, hardware, means, init_data, deadline };
                Networked::Stock(Box::new(ready))
            }
        };
        let before = Instant::now();
        let up = net::up(&network, deadline).await?;
        self.status.sums.lease_ms += millis(before);
        self.done(
            Step::Network,
            since,
            &format!("{} {}/{}", up.interface, up.address.address, up.address.prefix),
        );
        Ok(ready)
    }
}

async fn load(list: &Path) -> Result<usize, Refusal> {
    let list = modules::list(list)?;
    let count = list.len();
    blocking(move || modules::load(&list)).await??;
    Ok(count)
}

/// Opens the TPM, where there is one, and queues the work on its keys, so that it runs while nobody waits for it.
fn open_tpm(cmdline: String) -> Result<(Option<DeviceHandle>, usize), DeviceError> {
    let event_log = fs::read(EVENT_LOG).unwrap_or_default();
    let len = event_log.len();
    let records = BootRecords { event_log, cmdline, own_log: Vec::new() };
    let Ok(tcti) = Tcti::machine() else { return Ok((None, 0)) };
    let device = Device::open(tcti)?.with_records(records);
    drop(device.prepare());
    Ok((Some(device), len))
}

fn gone() -> Refusal {
    Refusal::new(Code::TpmMissing, "a TPM came up too late")
}

/// Who attests, with the logs. A TPM without a certificate is left out where a report stands `alone` and does not vouch for it:
/// nobody could tell whose it is.
async fn subject(device: Option<DeviceHandle>, alone: bool, cmdline: String) -> Result<Subject, DeviceError> {
    let bare = |cmdline| Subject { identity: None, logs: EventLogs { cmdline, ..EventLogs::default() } };
    let Some(device) = device else { return Ok(bare(cmdline)) };
    match device.identity().await {
        Err(DeviceError::EkCertMissing) if alone => Ok(bare(cmdline)),
        identity => Ok(Subject { identity: Some(identity?), logs: device.logs().await? }),
    }
}
