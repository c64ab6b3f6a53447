//! Dev-only helper inside the test image: answers commands typed on the serial console. No product image holds it.

use anyhow::{Context as _, Result, bail};
use ccnode_attest_client::{AttestError, Client, ClockAtLeast, Deadline, Settings, Subject};
use ccnode_evidence::{EvidenceSource as _, TpmSource as _};
use ccnode_tpm_device::{BootRecords, Device, Tcti};
use nix::libc::{O_DIRECT, O_NONBLOCK};
use nix::time::{ClockId, clock_gettime};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The CA that the image pins, copied beside this helper.
const CA: &str = "/usr/share/ccnode-guest/ca.pem";

fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let command = line.trim().to_owned();
        let answer = match command.as_str() {
            "attest" => attest(),
            "effects" => effects(),
            "keep" => keep(),
            "kept" => kept(),
            "clock" => clock(),
            "data" => data(),
            "exec" => exec(),
            "hygiene" => hygiene(),
            "journal" => journal(),
            "power-off" => power_off(),
            "user" => user(),
            "second" => second(),
            "status" => Ok(fs::read_to_string("/run/ccnode/status.json").unwrap_or_default()),
            _ => continue,
        };
        let text = answer.unwrap_or_else(|error| format!("error: {error:#}"));
        let mut out = std::io::stdout().lock();
        let _closed = writeln!(out, "\nguest: {command} begin\n{text}\nguest: {command} end");
        let _closed = out.flush();
    }
}

/// Runs the client again, as root on a booted node could.
fn attest() -> Result<String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let records = BootRecords {
            event_log: fs::read("/sys/kernel/security/tpm0/binary_bios_measurements")
                .context("firmware log")?,
            cmdline: fs::read_to_string("/proc/cmdline")?.trim_end_matches('\n').to_owned(),
            own_log: fs::read("/run/ccnode/eventlog").context("own log")?,
        };
        let device = Device::open(Tcti::machine()?)?.with_records(records);
        let subject = Subject { identity: Some(device.identity().await?), logs: device.logs().await? };
        let mut client = Client::new(Settings {
            urls: vec!["https://10.0.2.100".into()],
            pins: vec![fs::read(CA)?],
            pool: "workers".parse()?,
            clock: ClockAtLeast { floor: 0 },
        })?;
        let deadline = Deadline::after(Duration::from_secs(30));
        let csr = |name: &ccnode_protocol::NodeName| request(name.as_str());
        match client.attest(&subject, &device, csr, deadline, |_| ()).await {
            Ok(_) => Ok("RELEASED".into()),
            Err(AttestError::Client(error)) => Ok(format!("denied {}: {error}", error.code())),
            Err(error) => bail!("{error}"),
        }
    })
}

fn request(name: &str) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("system:node:{name}"));
    let key = rcgen::KeyPair::generate()?;
    Ok(params.serialize_request(&key)?.der().to_vec())
}

/// What systemd made of credentials, swap and partitions.
fn effects() -> Result<String> {
    let mut text = String::new();
    for dir in ["/run/credentials", "/run/credentials/@system", "/run/credentials/@encrypted"] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            writeln!(text, "credential: {}", entry.path().display())?;
        }
    }
    for line in fs::read_to_string("/proc/swaps")?.lines().skip(1) {
        writeln!(text, "swap: {line}")?;
    }
    for line in fs::read_to_string("/proc/self/mounts")?.lines() {
        writeln!(text, "mount: {line}")?;
    }
    Ok(text)
}

/// Counts in each volume for data how often this was asked, and answers with its name and the count.
fn data() -> Result<String> {
    let mut text = String::new();
    for line in fs::read_to_string("/proc/self/mounts")?.lines() {
        let mut fields = line.split(' ');
        let name = fields.next().and_then(|device| device.strip_prefix("/dev/mapper/data-"));
        let (Some(name), Some(at)) = (name, fields.next()) else { continue };
        let file = std::path::Path::new(at).join("asked");
        let count = fs::read_to_string(&file).map_or(Ok(0), |text| text.parse::<u32>())? + 1;
        fs::write(&file, format!("{count}"))?;
        fs::File::open(&file)?.sync_all()?;
        writeln!(text, "data: {name} {count}")?;
    }
    Ok(text)
}

/// A file large enough to find a part of it on the disk from outside.
const KEPT: &str = "/var/guest-data";
const PAGE: usize = 4096;
const PAGES: usize = 40 << 20 >> 12;

/// Requests of linux/fs.h.
mod request {
    nix::ioctl_readwrite_bad!(fibmap, 1, i32);
}

/// Writes the file, all of it to the disk, and says in which MiB of the device its longest part lies.
fn keep() -> Result<String> {
    let mut file = fs::File::create(KEPT)?;
    (0..PAGES).try_for_each(|page| file.write_all(&content(page)))?;
    file.sync_all()?;
    let block = |page: usize| -> Result<usize> {
        let mut number = i32::try_from(page)?;
        #[expect(unsafe_code, reason = "the request has no safe form")]
        // SAFETY: the kernel reads and writes one number.
        unsafe { request::fibmap(file.as_raw_fd(), &mut number) }?;
        Ok(usize::try_from(number)?)
    };
    let (mut longest, mut start, mut last) = (0..0, 0, 0);
    for page in 0..PAGES {
        let at = block(page)?;
        if at != last + 1 {
            start = at;
        }
        last = at;
        if last - start > longest.len() {
            longest = start..last;
        }
    }
    let mib = |block: usize| (block * PAGE) >> 20;
    Ok(format!("kept: {} {}", mib(longest.start) + 1, mib(longest.end)))
}

/// Reads the file page by page: what an error kept away, and what is something else than was written.
fn kept() -> Result<String> {
    let file = fs::OpenOptions::new().read(true).custom_flags(O_DIRECT).open(KEPT)?;
    let mut memory = vec![0; 2 * PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let page = memory.get_mut(start..start + PAGE).context("a page")?;
    let (mut errors, mut wrong) = (std::collections::BTreeMap::<String, usize>::new(), 0);
    for number in 0..PAGES {
        match file.read_exact_at(page, (number * PAGE) as u64) {
            Ok(()) if *page == content(number) => {}
            Ok(()) => wrong += 1,
            Err(error) => *errors.entry(error.to_string()).or_default() += 1,
        }
    }
    Ok(format!("kept: {wrong} of {PAGES} pages are wrong, errors: {errors:?}"))
}

/// The content of a page, another for each.
fn content(page: usize) -> [u8; PAGE] {
    let mut bytes = [0x5a; PAGE];
    bytes[..8].copy_from_slice(&page.to_le_bytes());
    bytes
}

/// What process 1 was left with at the hand-over.
fn hygiene() -> Result<String> {
    let mut text = String::new();
    for entry in fs::read("/proc/1/environ")?.split(|b| *b == 0).filter(|entry| !entry.is_empty()) {
        writeln!(text, "environ: {}", String::from_utf8_lossy(entry))?;
    }
    for entry in fs::read_dir("/proc/1/fd")? {
        let entry = entry?;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        writeln!(text, "fd: {} -> {}", entry.file_name().display(), target.display())?;
    }
    let kexec = fs::read_to_string("/proc/sys/kernel/kexec_load_disabled")?;
    writeln!(text, "kexec_load_disabled: {}", kexec.trim())?;
    let limits = fs::read_to_string("/proc/1/limits")?;
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    writeln!(text, "core: {}", core.context("no core limit")?.trim())?;
    Ok(text)
}

fn clock() -> Result<String> {
    Ok(format!("clock: {} seconds", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()))
}

/// When the kernel started `/init`, in milliseconds of CLOCK_MONOTONIC: its log has a clock of its own, so a message of
/// ours with the time in it is put there and read back.
fn exec() -> Result<String> {
    let written = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    // The kernel shows a record only once a line end has closed it.
    let mark = format!("ccnode-guest: {}\n", written.as_nanos());
    let micros = |text: &str| {
        let log = kernel_log()?;
        let record = log
            .iter()
            .find(|r| r.contains(text))
            .with_context(|| format!("no `{text}` in the kernel's log"))?;
        record.split(',').nth(2).and_then(|n| n.parse::<i64>().ok()).context("a record without a time")
    };
    fs::OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(mark.as_bytes())?;
    let ahead = i64::try_from(written.as_micros())? - micros(mark.trim_end())?;
    let exec = micros("Run /init as init process")? + ahead;
    Ok(format!("exec: {:.1} ms", exec as f64 / 1000.0))
}

/// Every record of the kernel's log: `priority,number,microseconds,flags;text`.
fn kernel_log() -> Result<Vec<String>> {
    let mut log = fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg")?;
    let mut buffer = [0; 8192];
    let mut records = Vec::new();
    loop {
        match log.read(&mut buffer) {
            Ok(0) => return Ok(records),
            Ok(n) => records.push(String::from_utf8_lossy(buffer.get(..n).unwrap_or_default()).into_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(records),
            // Records were overwritten while we read: the next read goes on behind the gap.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn journal() -> Result<String> {
    let output = Command::new("journalctl").args(["-b", "--no-pager", "-o", "cat"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the host had ccnode-init write for whoever believes it.
fn user() -> Result<String> {
    let dir = "/run/ccnode/user";
    let shown = |path: &std::path::Path| -> Result<String> {
        let of = fs::metadata(path)?;
        Ok(format!("{:o} of {}", of.permissions().mode() & 0o777, of.uid()))
    };
    let mut text = format!("user: {}\n", shown(dir.as_ref())?);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (mode, content) =
            (entry.metadata()?.permissions().mode() & 0o777, fs::read_to_string(entry.path())?);
        writeln!(text, "user: {} {mode:o} {content}", entry.file_name().display())?;
    }
    Ok(text)
}

/// Runs what the second disk brings, as root; what it says is the answer.
fn second() -> Result<String> {
    let script = "mkdir /run/second && mount -t ext4 -o ro /dev/vdb /run/second && sh /run/second/run";
    let output = Command::new("sh").args(["-c", script]).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(format!("{}second: {}", String::from_utf8_lossy(&said), output.status))
}

/// As an administrator would; the answer may not get out any more.
fn power_off() -> Result<String> {
    let status = Command::new("systemctl").args(["--no-block", "poweroff"]).status()?;
    Ok(format!("systemctl: {status}"))
}
