//! Describes a virtual machine.

mod args;
mod qemu;

use std::net::SocketAddrV4;
use std::path::PathBuf;

use crate::swtpm::TpmState;
pub use args::qemu_args;
pub use qemu::Qemu;

/// A q35 machine with one processor. Build it once and clone it for every boot of an image: PCR 0 changes with the
/// memory size, PCR 1 and 2 with the devices the firmware sees.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The program that runs it.
    pub qemu: Qemu,
    /// QEMU accelerator: the environment's `CCNODE_ACCEL`, or `tcg`.
    pub accel: String,
    /// QEMU processor model; none leaves QEMU's own choice.
    pub cpu: Option<String>,
    /// Memory in MiB.
    pub memory: u32,
    /// What runs first.
    pub start: Start,
    /// The TPM.
    pub tpm: Tpm,
    /// Disks, in the order in which they get their PCI slots.
    pub disks: Vec<Disk>,
    /// The network card and what is behind it.
    pub net: Net,
    /// Whether the machine has a virtio random number generator.
    pub rng: bool,
    /// Start of the real-time clock, as `-rtc base=` takes it (`2001-01-01T00:00:00`); none is the host's UTC.
    pub rtc: Option<String>,
    /// SMBIOS type 11 strings (`io.systemd.credential:name=value`).
    pub smbios: Vec<String>,
    /// Firmware configuration entries: name (`opt/…`) and text.
    pub fw_cfg: Vec<(String, String)>,
    /// Files with further ACPI tables, header included.
    pub acpi_tables: Vec<PathBuf>,
}

/// What the machine starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// UEFI firmware, which boots from a disk and measures what it loads.
    Uefi(Firmware),
    /// A kernel loaded by QEMU itself: fast, and nothing of it is measured.
    Kernel {
        /// Kernel image.
        kernel: PathBuf,
        /// Initramfs.
        initrd: PathBuf,
        /// Kernel command line.
        append: String,
    },
}

/// UEFI firmware: code, shared and read-only, and a template of its variables, copied for each boot.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// Code volume.
    pub code: PathBuf,
    /// Variables template.
    pub vars: PathBuf,
    /// Whether the code volume wants system management mode with locked flash.
    pub smm: bool,
}

impl Firmware {
    /// Debian's OVMF without Secure Boot.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            code: "/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
            vars: "/usr/share/OVMF/OVMF_VARS_4M.fd".into(),
            smm: false,
        }
    }

    /// Debian's OVMF with Secure Boot on and the snakeoil key enrolled.
    #[must_use]
    pub fn snakeoil() -> Self {
        Self {
            code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd".into(),
            vars: "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd".into(),
            smm: true,
        }
    }
}

/// The machine's TPM.
#[derive(Clone, Debug)]
pub enum Tpm {
    /// No TPM device at all.
    None,
    /// A software TPM whose state lives in a directory; one machine may run on it at a time.
    Swtpm(TpmState),
}

/// A virtio disk on a raw image file.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Image file.
    pub path: PathBuf,
    /// Serial number as the guest sees it, at most 20 characters.
    pub serial: String,
    /// Place in the firmware's boot order, from 1 (a directly loaded kernel has 0); none is never booted from.
    pub boot: Option<u32>,
    /// Whether the guest is told that the disk is read-only.
    pub read_only: bool,
    /// Guest writes to this 512-byte sector fail with an I/O error.
    pub bad_sector: Option<u64>,
    /// File that receives every write in the format of dm-log-writes; made anew at each boot.
    pub write_log: Option<PathBuf>,
}

impl Disk {
    /// The disk the firmware boots from.
    pub fn boot(path: impl Into<PathBuf>, serial: &str) -> Self {
        Self { boot: Some(1), ..Self::data(path, serial) }
    }

    /// A disk the firmware leaves alone.
    pub fn data(path: impl Into<PathBuf>, serial: &str) -> Self {
        Self {
            path: path.into(),
            serial: serial.to_owned(),
            boot: None,
            read_only: false,
            bad_sector: None,
            write_log: None,
        }
    }

    /// Makes the disk read-only for the guest.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Lets writes to one 512-byte sector fail.
    #[must_use]
    pub fn bad_sector(mut self, sector: u64) -> Self {
        self.bad_sector = Some(sector);
        self
    }

    /// Records every write in `file`, which QEMU wants to exist.
    #[must_use]
    pub fn log_writes(mut self, file: impl Into<PathBuf>) -> Self {
        self.write_log = Some(file.into());
        self
    }
}

/// The machine's network.
#[derive(Clone, Debug)]
pub enum Net {
    /// No network card.
    None,
    /// A card with carrier and nobody behind it: no lease is ever offered.
    Silent,
    /// DHCP by QEMU, and nothing reachable but these guest addresses, each mapped to a port of the host's loopback.
    User(Vec<Forward>),
}

/// One address the guest can reach.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// Address and port in the guest's network, 10.0.2.0/24 and none of QEMU's own (2, 3, 15).
    pub guest: SocketAddrV4,
    /// Port on 127.0.0.1 of the host; may be closed.
    pub port: u16,
}

/// Where the files of one boot lie and what carries its connections.
#[derive(Clone, Debug)]
pub struct Paths {
    /// This boot's copy of the firmware variables.
    pub vars: PathBuf,
    /// Control socket of the software TPM.
    pub tpm: PathBuf,
    /// Socket on which the harness awaits the serial console.
    pub serial: PathBuf,
    /// Socket on which the harness awaits QEMU's monitor.
    pub qmp: PathBuf,
    /// File that receives all of the serial console.
    pub log: PathBuf,
    /// Command that gets a port as its last argument and copies stdin and stdout to it.
    pub relay: String,
}

impl Machine {
    /// A machine that starts Debian's OVMF without Secure Boot.
    #[must_use]
    pub fn uefi() -> Self {
        Self::start(Start::Uefi(Firmware::plain()))
    }

    /// A machine that starts other firmware.
    #[must_use]
    pub fn firmware(firmware: Firmware) -> Self {
        Self::start(Start::Uefi(firmware))
    }

    /// A machine that starts a kernel directly.
    pub fn kernel(kernel: impl Into<PathBuf>, initrd: impl Into<PathBuf>, append: &str) -> Self {
        Self::start(Start::Kernel { kernel: kernel.into(), initrd: initrd.into(), append: append.to_owned() })
    }

    /// A machine that starts this.
    #[must_use]
    pub fn start(start: Start) -> Self {
        let accel = std::env::var("CCNODE_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
        Self {
            qemu: Qemu::default(),
            cpu: (accel == "kvm").then(|| "host".to_owned()),
            accel,
            memory: 768,
            start,
            tpm: Tpm::None,
            disks: Vec::new(),
            net: Net::None,
            rng: true,
            rtc: None,
            smbios: Vec::new(),
            fw_cfg: Vec::new(),
            acpi_tables: Vec::new(),
        }
    }

    /// Runs the machine by another QEMU.
    #[must_use]
    pub fn qemu(mut self, qemu: Qemu) -> Self {
        self.qemu = qemu;
        self
    }

    /// Sets the memory size in MiB.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory = mib;
        self
    }

    /// Gives the machine a TPM with this state.
    #[must_use]
    pub fn tpm(mut self, state: &TpmState) -> Self {
        self.tpm = Tpm::Swtpm(state.clone());
        self
    }

    /// Takes the TPM away.
    #[must_use]
    pub fn no_tpm(mut self) -> Self {
        self.tpm = Tpm::None;
        self
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Adds a network card, if there is none yet, and lets `guest` reach `port` of the host's loopback.
    #[must_use]
    pub fn forward(mut self, guest: SocketAddrV4, port: u16) -> Self {
        let forward = Forward { guest, port };
        match &mut self.net {
            Net::User(forwards) => {
                forwards.retain(|f| f.guest != guest);
                forwards.push(forward);
            }
            Net::None | Net::Silent => self.net = Net::User(vec![forward]),
        }
        self
    }

    /// Replaces the network.
    #[must_use]
    pub fn net(mut self, net: Net) -> Self {
        self.net = net;
        self
    }

    /// Sets the real-time clock's start (`2001-01-01T00:00:00`).
    #[must_use]
    pub fn rtc(mut self, base: &str) -> Self {
        self.rtc = Some(base.to_owned());
        self
    }

    /// Adds an SMBIOS type 11 string.
    #[must_use]
    pub fn smbios(mut self, text: &str) -> Self {
        self.smbios.push(text.to_owned());
        self
    }

    /// Adds a firmware configuration entry.
    #[must_use]
    pub fn fw_cfg(mut self, name: &str, text: &str) -> Self {
        self.fw_cfg.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Adds an ACPI table from a file.
    #[must_use]
    pub fn acpi_table(mut self, file: impl Into<PathBuf>) -> Self {
        self.acpi_tables.push(file.into());
        self
    }
}
