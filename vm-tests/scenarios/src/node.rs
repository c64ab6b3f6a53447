//! A node: a disk, a TPM and the machine around them; and how its boots end.

use anyhow::{Context as _, Result, bail};
use ccnode_evidence::Sha256Digest;
use ccnode_vm_harness::machine::{Firmware, Qemu, Start};
use ccnode_vm_harness::{Disk, Image, Machine, Story, TpmState, Vm};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use crate::stage::{Built, Cluster};
use crate::trust::Trust;

/// What the guest prints once its kubelet's stand-in has registered.
pub const JOINED: &str = "ccnode-demo: joined as ";
/// What ccnode-init prints before a refusal's code.
pub const REFUSED: &str = "refused ";
/// How long a boot may take under emulation on a busy machine.
pub const BOOT: Duration = Duration::from_secs(240);
/// The disk's virtio serial, as node.toml names it.
pub const SERIAL: &str = "ccnode-root";

/// A node switched off.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its disk.
    pub disk: Image,
    /// Its TPM; a node may have none.
    pub tpm: Option<TpmState>,
    /// What is plugged in besides.
    pub extra: Vec<Disk>,
    /// What runs it.
    pub qemu: Qemu,
    /// What runs first.
    pub start: Start,
    /// What its host says by SMBIOS.
    pub smbios: Vec<String>,
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kubelet joined under this name.
    Joined {
        /// The node's name, as the API server saw it.
        name: String,
        /// The console.
        console: String,
    },
    /// ccnode-init refused and switched the machine off.
    Refused {
        /// The stable code.
        code: String,
        /// The console.
        console: String,
    },
}

impl Outcome {
    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Joined { .. } => None,
            Self::Refused { code, .. } => Some(code),
        }
    }

    /// The console of the boot.
    #[must_use]
    pub fn console(&self) -> &str {
        match self {
            Self::Joined { console, .. } | Self::Refused { console, .. } => console,
        }
    }

    /// Fails unless the boot was refused with this code.
    ///
    /// # Errors
    /// With the console of the boot.
    pub fn refused(&self, code: &str) -> Result<()> {
        if self.code() != Some(code) {
            bail!("expected a refusal `{code}`, got {:?}; console:\n{}", self.code(), self.console());
        }
        Ok(())
    }

    /// Fails unless the node joined under this name.
    ///
    /// # Errors
    /// With the console of the boot.
    pub fn joined(&self, want: &str) -> Result<()> {
        match self {
            Self::Joined { name, .. } if name == want => Ok(()),
            _ => bail!("expected {want} to join, got {:?}; console:\n{}", self.code(), self.console()),
        }
    }

    /// Fails unless the console shows `text`.
    ///
    /// # Errors
    /// With the console of the boot.
    pub fn shows(&self, text: &str) -> Result<()> {
        if self.console().contains(text) {
            Ok(())
        } else {
            bail!("no `{text}` on the console:\n{}", self.console())
        }
    }
}

impl Node {
    /// A new machine with a fresh copy of the image and of the TPM.
    ///
    /// # Errors
    /// When files can't be copied.
    pub fn new(story: &Story, image: &Built, tpm: &TpmState) -> Result<Self> {
        Ok(Self {
            disk: image.disk().copy_to(story.path("disk.img"))?,
            tpm: Some(tpm.copy_to(story.path("tpm"))?),
            extra: Vec::new(),
            qemu: Qemu::default(),
            start: Start::Uefi(Firmware::plain()),
            smbios: Vec::new(),
        })
    }

    /// The same node, twice: disk and TPM state are copied into `dir`.
    ///
    /// # Errors
    /// When files can't be copied.
    pub fn copy_to(&self, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            disk: self.disk.copy_to(dir.join("disk.img"))?,
            tpm: self.tpm.as_ref().map(|tpm| tpm.copy_to(dir.join("tpm"))).transpose()?,
            ..self.clone()
        })
    }

    /// The one machine line of every boot of the image; what a scenario adds must not move a PCR of the platform.
    #[must_use]
    pub fn machine(&self, trust_port: u16, api_port: u16) -> Machine {
        let guest = |host, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, host), port);
        let machine = Machine::start(self.start.clone())
            .qemu(self.qemu.clone())
            .disk(Disk::boot(self.disk.path(), SERIAL))
            .forward(guest(100, 443), trust_port)
            .forward(guest(101, 6443), api_port);
        let machine = self.tpm.iter().fold(machine, Machine::tpm);
        let machine = self.smbios.iter().fold(machine, |machine, text| machine.smbios(text));
        self.extra.iter().fold(machine, |machine, disk| machine.disk(disk.clone()))
    }

    /// Boots the node to its end: joined (the power is cut then) or refused (it switched itself off).
    ///
    /// # Errors
    /// When neither happens in time.
    pub fn boot(&mut self, story: &Story, name: &str, trust: &Trust, cluster: &Cluster) -> Result<Outcome> {
        let machine = self.machine(trust.port(), cluster.api.port());
        let mut vm = story.boot(&machine, name)?;
        let outcome = ended(&mut vm)?;
        match &outcome {
            Outcome::Joined { name, .. } => {
                story.step(&format!("joined as {name} after {:.0} s", vm.age().as_secs_f32()));
                check_api(cluster, name)?;
            }
            Outcome::Refused { code, .. } => story.step(&format!("refused: {code}")),
        }
        vm.kill();
        Ok(outcome)
    }
}

/// Waits for either end of a boot. A refused machine must also switch itself off. However it ends, the first that
/// went into PCR 15 must be the cap, and the cap only once: what comes later in that boot gets no key.
///
/// # Errors
/// When neither comes, or PCR 15 is open.
pub fn ended(vm: &mut Vm) -> Result<Outcome> {
    let which = vm.wait_for_any(&[JOINED, REFUSED], BOOT)?;
    if which == 0 {
        let console = whole_line(vm, JOINED)?;
        let name = after(&console, JOINED, |c: char| c.is_ascii_alphanumeric() || c == '-')?;
        is_capped(vm)?;
        return Ok(Outcome::Joined { name, console });
    }
    vm.wait_off(Duration::from_secs(60))?;
    is_capped(vm)?;
    let console = vm.console();
    let code = after(&console, REFUSED, |c: char| c.is_ascii_lowercase() || c == '-')?;
    Ok(Outcome::Refused { code, console })
}

/// What closes PCR 15, by the words that are hashed.
#[must_use]
pub fn cap() -> [u8; 32] {
    Sha256Digest::of(b"ccnode:cap").0
}

/// By what the TPM itself did; a machine without one has nothing to close.
fn is_capped(vm: &Vm) -> Result<()> {
    let Some(extended) = vm.pcr_extensions(15) else { return Ok(()) };
    let caps = extended.iter().filter(|digest| **digest == cap()).count();
    if extended.first() != Some(&cap()) || caps != 1 {
        let shown: Vec<String> = extended.iter().map(|digest| Sha256Digest(*digest).hex()).collect();
        bail!("PCR 15 was extended by {shown:?}, not first and once by the cap; console:\n{}", vm.console());
    }
    Ok(())
}

/// The console once the line of `mark` has ended.
fn whole_line(vm: &mut Vm, mark: &str) -> Result<String> {
    for _ in 0..500 {
        let console = vm.console();
        if console.split(mark).nth(1).is_some_and(|rest| rest.contains('\n')) {
            return Ok(console);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("the line `{mark}` never ends:\n{}", vm.console())
}

/// The name that the guest prints must be the one that the API server saw in the certificate.
fn check_api(cluster: &Cluster, name: &str) -> Result<()> {
    let joined = cluster.api.joined();
    let last = joined.last().context("the guest says that it joined, the API server saw nothing")?;
    if last.name != name {
        bail!("the guest says {name}, the API server saw {}", last.name);
    }
    Ok(())
}

fn after(text: &str, mark: &str, good: impl Fn(char) -> bool) -> Result<String> {
    let start = text.find(mark).context("the mark is gone from the console")?;
    let rest = text.get(start + mark.len()..).unwrap_or_default();
    let rest = rest.strip_prefix("system:node:").unwrap_or(rest);
    Ok(rest.chars().take_while(|c| good(*c)).collect())
}

/// Types a command to the dev-only helper in the guest, and waits for the end of its answer.
///
/// # Errors
/// When the machine ends before it answers, or does not answer in two minutes.
pub fn ask(vm: &mut Vm, command: &str) -> Result<String> {
    vm.type_line(command)?;
    vm.wait_for(&format!("guest: {command} end"), Duration::from_secs(120))?;
    let console = vm.console();
    let start = console.find(&format!("guest: {command} begin")).context("an end without a beginning")?;
    Ok(console.get(start..).unwrap_or_default().to_owned())
}
