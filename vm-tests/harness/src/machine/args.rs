//! Turns the description of a machine into QEMU's arguments.

use std::path::Path;

use super::{Disk, Forward, Machine, Net, Paths, Start, Tpm};

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
            let rule = format!(
                "inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=5,inject-error.0.sector={sector}"
            );
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
    use crate::machine::Firmware;
    use crate::swtpm::TpmState;

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
