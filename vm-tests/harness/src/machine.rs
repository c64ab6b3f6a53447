//! Describes a virtual machine and turns the description into QEMU's arguments.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use crate::swtpm::TpmState;

/// A q35 machine with one processor. Build it once and clone it for every boot of an image: PCR 0 changes with the
/// memory size, PCR 1 and 2 with the devices the firmware sees.
#[derive(Clone, Debug)]
pub struct Machine {
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
        Self::new(Start::Uefi(Firmware::plain()))
    }

    /// A machine that starts other firmware.
    #[must_use]
    pub fn firmware(firmware: Firmware) -> Self {
        Self::new(Start::Uefi(firmware))
    }

    /// A machine that starts a kernel directly.
    pub fn kernel(kernel: impl Into<PathBuf>, initrd: impl Into<PathBuf>, append: &str) -> Self {
        Self::new(Start::Kernel { kernel: kernel.into(), initrd: initrd.into(), append: append.to_owned() })
    }

    fn new(start: Start) -> Self {
        let accel = std::env::var("CCNODE_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
        Self {
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

/// QEMU's arguments for a machine, without the program's name. Every device has a PCI slot of its own, so that adding or
/// removing one moves no other.
#[must_use]
pub fn qemu_args(machine: &Machine, paths: &Paths) -> Vec<String> {
    let mut args = Args::default();
    args.flags(&["-no-user-config", "-nodefaults", "-no-reboot"]);
    args.pair("-display", "none");
    let smm = matches!(&machine.start, Start::Uefi(f) if f.smm);
    args.pair("-machine", if smm { "q35,smm=on" } else { "q35" });
    args.pair("-accel", &machine.accel);
    if let Some(cpu) = &machine.cpu {
        args.pair("-cpu", cpu);
    }
    args.pair("-smp", "1");
    args.pair("-m", &machine.memory.to_string());
    args.start(&machine.start, paths);
    args.pair(
        "-chardev",
        &format!("socket,id=serial,path={},logfile={}", opt(&paths.serial), opt(&paths.log)),
    );
    args.pair("-serial", "chardev:serial");
    args.pair("-chardev", &format!("socket,id=qmp,path={}", opt(&paths.qmp)));
    args.pair("-mon", "chardev=qmp,mode=control");
    if let Tpm::Swtpm(_) = machine.tpm {
        args.pair("-chardev", &format!("socket,id=tpm,path={}", opt(&paths.tpm)));
        args.pair("-tpmdev", "emulator,id=tpm0,chardev=tpm");
        args.pair("-device", "tpm-crb,tpmdev=tpm0");
    }
    args.net(&machine.net, &paths.relay);
    if machine.rng {
        args.pair("-device", "virtio-rng-pci,addr=0x4");
    }
    for (index, disk) in machine.disks.iter().enumerate() {
        args.disk(index, disk);
    }
    if let Some(base) = &machine.rtc {
        args.pair("-rtc", &format!("base={base}"));
    }
    for text in &machine.smbios {
        args.pair("-smbios", &format!("type=11,value={}", escape(text)));
    }
    for (name, text) in &machine.fw_cfg {
        args.pair("-fw_cfg", &format!("name={},string={}", escape(name), escape(text)));
    }
    for file in &machine.acpi_tables {
        args.pair("-acpitable", &format!("file={}", opt(file)));
    }
    args.0
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(|&f| f.to_owned()));
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.flags(&[name, value]);
    }

    fn start(&mut self, start: &Start, paths: &Paths) {
        match start {
            Start::Uefi(firmware) => {
                if firmware.smm {
                    self.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
                }
                let code = opt(&firmware.code);
                self.pair("-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
                self.pair("-drive", &format!("if=pflash,format=raw,unit=1,file={}", opt(&paths.vars)));
            }
            Start::Kernel { kernel, initrd, append } => {
                self.pair("-kernel", &kernel.to_string_lossy());
                self.pair("-initrd", &initrd.to_string_lossy());
                self.pair("-append", append);
            }
        }
    }

    fn net(&mut self, net: &Net, relay: &str) {
        match net {
            Net::None => return,
            Net::Silent => self.pair("-netdev", "hubport,id=net,hubid=0"),
            Net::User(forwards) => {
                let mut user = "user,id=net,restrict=on,ipv6=off".to_owned();
                for Forward { guest, port } in forwards {
                    user += &format!(",guestfwd=tcp:{guest}-cmd:{} {port}", escape(relay));
                }
                self.pair("-netdev", &user);
            }
        }
        self.pair("-device", "virtio-net-pci,netdev=net,romfile=,addr=0x3");
    }

    /// The first disk sits in slot 2, further ones from slot 5 on, behind network and random numbers.
    fn disk(&mut self, index: usize, disk: &Disk) {
        let read_only = if disk.read_only { ",read-only=on" } else { "" };
        let file = format!("driver=file,filename={},node-name=file{index}{read_only}", opt(&disk.path));
        self.pair("-blockdev", &file);
        let raw = format!("driver=raw,file=file{index},node-name=raw{index}{read_only}");
        self.pair("-blockdev", &raw);
        let mut node = format!("raw{index}");
        if let Some(sector) = disk.bad_sector {
            let rule =
                format!("inject-error.0.event=pwritev,inject-error.0.errno=5,inject-error.0.sector={sector}");
            self.pair("-blockdev", &format!("driver=blkdebug,image={node},node-name=bad{index},{rule}"));
            node = format!("bad{index}");
        }
        if let Some(log) = &disk.write_log {
            self.pair("-blockdev", &format!("driver=file,filename={},node-name=log{index}", opt(log)));
            self.pair(
                "-blockdev",
                &format!("driver=blklogwrites,file={node},log=log{index},node-name=logged{index}"),
            );
            node = format!("logged{index}");
        }
        let slot = if index == 0 { 2 } else { index + 4 };
        let boot = disk.boot.map(|n| format!(",bootindex={n}")).unwrap_or_default();
        let serial = escape(&disk.serial);
        self.pair("-device", &format!("virtio-blk-pci,drive={node},serial={serial}{boot},addr={slot:#x}"));
    }
}

fn opt(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// QEMU's option lists end a value at a comma unless it is doubled.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths {
            vars: "/r/vars.fd".into(),
            tpm: "/s/tpm".into(),
            serial: "/s/serial".into(),
            qmp: "/s/qmp".into(),
            log: "/r/serial.log".into(),
            relay: "/s/relay".into(),
        }
    }

    fn plain(mut machine: Machine) -> Machine {
        machine.accel = "tcg".to_owned();
        machine.cpu = None;
        machine
    }

    fn after<'a>(args: &'a [String], flag: &str) -> Vec<&'a str> {
        args.windows(2).filter(|w| w[0] == flag).map(|w| w[1].as_str()).collect()
    }

    #[test]
    fn whole_machine() {
        let machine = plain(Machine::uefi())
            .tpm(&TpmState::at("/r/tpm"))
            .disk(Disk::boot("/r/disk.img", "ccnode-root"))
            .disk(Disk::data("/r/a,b.img", "second"))
            .forward("10.0.2.100:443".parse().unwrap(), 4001)
            .forward("10.0.2.101:6443".parse().unwrap(), 4002)
            .rtc("2001-01-01T00:00:00")
            .smbios("io.systemd.credential:a=b,c")
            .fw_cfg("opt/io.systemd.credentials/x", "y")
            .acpi_table("/r/ssdt.aml");
        let want = "\
            -no-user-config -nodefaults -no-reboot -display none -machine q35 -accel tcg -smp 1 -m 768 \
            -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
            -drive if=pflash,format=raw,unit=1,file=/r/vars.fd \
            -chardev socket,id=serial,path=/s/serial,logfile=/r/serial.log -serial chardev:serial \
            -chardev socket,id=qmp,path=/s/qmp -mon chardev=qmp,mode=control \
            -chardev socket,id=tpm,path=/s/tpm -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0 \
            -netdev user,id=net,restrict=on,ipv6=off,guestfwd=tcp:10.0.2.100:443-cmd:/s/relay\u{a0}4001,\
            guestfwd=tcp:10.0.2.101:6443-cmd:/s/relay\u{a0}4002 \
            -device virtio-net-pci,netdev=net,romfile=,addr=0x3 -device virtio-rng-pci,addr=0x4 \
            -blockdev driver=file,filename=/r/disk.img,node-name=file0 \
            -blockdev driver=raw,file=file0,node-name=raw0 \
            -device virtio-blk-pci,drive=raw0,serial=ccnode-root,bootindex=1,addr=0x2 \
            -blockdev driver=file,filename=/r/a,,b.img,node-name=file1 \
            -blockdev driver=raw,file=file1,node-name=raw1 \
            -device virtio-blk-pci,drive=raw1,serial=second,addr=0x5 \
            -rtc base=2001-01-01T00:00:00 -smbios type=11,value=io.systemd.credential:a=b,,c \
            -fw_cfg name=opt/io.systemd.credentials/x,string=y -acpitable file=/r/ssdt.aml";
        let want: Vec<String> = want.split(' ').map(|w| w.replace('\u{a0}', " ")).collect();
        assert_eq!(qemu_args(&machine, &paths()), want);
    }

    #[test]
    fn direct_kernel_without_network_or_tpm() {
        let args = qemu_args(&plain(Machine::kernel("/k", "/i", "console=ttyS0 panic=-1")), &paths());
        assert_eq!(after(&args, "-append"), ["console=ttyS0 panic=-1"]);
        assert!(after(&args, "-drive").is_empty() && after(&args, "-netdev").is_empty());
        assert!(after(&args, "-tpmdev").is_empty());
    }

    #[test]
    fn silent_network_has_a_card_and_no_server() {
        let args = qemu_args(&plain(Machine::uefi()).net(Net::Silent), &paths());
        assert_eq!(after(&args, "-netdev"), ["hubport,id=net,hubid=0"]);
    }

    #[test]
    fn forward_to_the_same_address_replaces() {
        let guest = "10.0.2.100:443".parse().unwrap();
        let machine = Machine::uefi().forward(guest, 1).forward(guest, 2);
        assert!(matches!(&machine.net, Net::User(f) if f.len() == 1 && f[0].port == 2));
    }

    #[test]
    fn secure_boot_locks_the_flash() {
        let args = qemu_args(&plain(Machine::firmware(Firmware::snakeoil())), &paths());
        assert_eq!(after(&args, "-machine"), ["q35,smm=on"]);
        assert_eq!(after(&args, "-global"), ["driver=cfi.pflash01,property=secure,value=on"]);
    }

    #[test]
    fn faulty_disk_is_a_chain_of_nodes() {
        let disk = Disk::data("/d", "s").bad_sector(2048).log_writes("/l");
        let args = qemu_args(&plain(Machine::uefi()).disk(disk), &paths());
        let nodes = after(&args, "-blockdev");
        let names: Vec<_> =
            nodes.iter().filter_map(|n| n.split("node-name=").nth(1)?.split(',').next()).collect();
        assert_eq!(names, ["file0", "raw0", "bad0", "log0", "logged0"]);
        assert!(after(&args, "-device").iter().any(|d| d.starts_with("virtio-blk-pci,drive=logged0,")));
    }
}
