//! PID 1 of the baseline: loads modules, prepares a volume or times one peer that opens it, says so, and switches off.

mod disk;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The disks that carry the volumes from boot to boot: one with a key file alone, one with a TPM's token alone. A token
/// beside the key file would be tried first, by `cryptsetup` too.
const KEY_DISK: &str = "/dev/vda";
const TPM_DISK: &str = "/dev/vdb";
/// The volume's file in memory, and the device on it.
const VOLUME: &str = "/tmp/volume";
const DEVICE: &str = "/dev/loop0";
const KEY: &str = "/etc/passphrase";
const TPM: &str = "/dev/tpmrm0";

mod ioctl {
    //! Requests of loop devices (linux/loop.h).
    nix::ioctl_none_bad!(get_free, 0x4c82);
    nix::ioctl_write_int_bad!(set_fd, 0x4c00);
}

fn main() {
    let text = match run() {
        Ok(()) => "bench: done".to_owned(),
        Err(error) => format!("bench: failed: {error:#}"),
    };
    say(&text);
    let _returns_only_on_failure = reboot(RebootMode::RB_POWER_OFF);
}

fn run() -> Result<()> {
    mount_all()?;
    load_modules()?;
    fs::create_dir_all("/run/cryptsetup")?;
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    let task = cmdline.split_whitespace().find_map(|word| word.strip_prefix("bench="));
    match task {
        Some("prepare") => prepare(),
        Some("cryptsetup") => {
            time(KEY_DISK, "/usr/sbin/cryptsetup", &["open", "--key-file", KEY, DEVICE, "x"])
        }
        Some("systemd") => {
            let options = format!("tpm2-device={TPM},headless=1");
            time(TPM_DISK, "/usr/lib/systemd/systemd-cryptsetup", &["attach", "x", DEVICE, "-", &options])
        }
        Some("disk") => disk::measure(&cmdline),
        other => bail!("unknown task {other:?}"),
    }
}

fn mount_all() -> Result<()> {
    let plain =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")];
    for (kind, path) in plain {
        mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting {path}"))?;
    }
    let security = "/sys/kernel/security";
    mount(Some("securityfs"), security, Some("securityfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting {security}"))
}

fn load_modules() -> Result<()> {
    for path in fs::read_to_string("/etc/modules")?.lines() {
        match finit_module(File::open(path)?, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => bail!("loading {path}: {error}"),
        }
    }
    Ok(())
}

/// Formats a volume in memory, writes it to its disk, and does so again once a TPM's token has replaced the key file.
fn prepare() -> Result<()> {
    File::create(VOLUME)?.set_len(File::open(KEY_DISK)?.seek(SeekFrom::End(0))?)?;
    attach_loop()?;
    let format = ["luksFormat", "--batch-mode", "--type", "luks2", "--cipher", "aes-xts-plain64"];
    let key = [
        "--key-size",
        "512",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
        KEY,
        DEVICE,
    ];
    succeed(Command::new("/usr/sbin/cryptsetup").args(format).args(key))?;
    store(KEY_DISK)?;
    let device = format!("--tpm2-device={TPM}");
    let unlock = format!("--unlock-key-file={KEY}");
    let args = [device.as_str(), "--tpm2-pcrs=7", "--wipe-slot=password", &unlock, DEVICE];
    succeed(Command::new("/usr/bin/systemd-cryptenroll").args(args))?;
    say("bench: enrolled=1");
    store(TPM_DISK)
}

fn store(disk: &str) -> Result<()> {
    let mut to = OpenOptions::new().write(true).open(disk)?;
    io::copy(&mut File::open(DEVICE)?, &mut to)?;
    to.sync_all().with_context(|| format!("writing {disk}"))
}

/// Runs a peer once and says how long it took until the mapping was there, and until it ended.
fn time(disk: &str, program: &str, args: &[&str]) -> Result<()> {
    io::copy(&mut File::open(disk)?, &mut File::create(VOLUME)?)?;
    attach_loop()?;
    let mut command = peer(program);
    command.args(args);
    let before = cpu_ms()?;
    let (start, wall) = (Instant::now(), SystemTime::now());
    let status = command.status();
    let exit = start.elapsed();
    let cpu = cpu_ms()?.saturating_sub(before);
    let status = status.with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program}: {status}");
    let node = fs::symlink_metadata("/dev/mapper/x").context("the mapping is not there")?;
    // The node's own time of creation tells when without anybody who waits and looks beside the peer.
    let made = Duration::new(node.ctime().try_into()?, node.ctime_nsec().try_into()?);
    let mapped = made.saturating_sub(wall.duration_since(UNIX_EPOCH)?);
    ensure!(!mapped.is_zero() && mapped <= exit, "mapped after {mapped:?}, ended after {exit:?}");
    say(&format!("bench: mapped_ms={:.1}", mapped.as_secs_f64() * 1000.0));
    say(&format!("bench: exit_ms={:.1}", exit.as_secs_f64() * 1000.0));
    say(&format!("bench: cpu_ms={cpu}"));
    Ok(())
}

fn peer(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("DM_DISABLE_UDEV", "1").env("PATH", "/usr/sbin:/usr/bin").stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let done =
        command.env("DM_DISABLE_UDEV", "1").env("PATH", "/usr/sbin:/usr/bin").stdin(Stdio::null()).status();
    let status = done.with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn attach_loop() -> Result<()> {
    let control = File::open("/dev/loop-control")?;
    // SAFETY: the request takes no argument.
    #[expect(unsafe_code, reason = "loop devices are reached by ioctl alone")]
    let number = unsafe { ioctl::get_free(control.as_raw_fd()) }.context("asking for a loop device")?;
    ensure!(number == 0, "the free loop device is {number}");
    let file = OpenOptions::new().read(true).write(true).open(VOLUME)?;
    let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    // SAFETY: the request takes the number of an open file, which the kernel takes a reference of.
    #[expect(unsafe_code, reason = "loop devices are reached by ioctl alone")]
    unsafe { ioctl::set_fd(device.as_raw_fd(), file.as_raw_fd()) }.context("attaching the loop device")?;
    Ok(())
}

/// Milliseconds in which the processor was not idle, since the boot.
fn cpu_ms() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    let busy = ticks.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, n)| n);
    Ok(busy.sum::<u64>() * 10)
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _nobody_listens = writeln!(out, "{line}");
    let _nobody_listens = out.flush();
}
