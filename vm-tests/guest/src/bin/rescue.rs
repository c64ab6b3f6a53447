//! The init of a rescue machine: opens a node's volume by its recovery key, with the administrators' tool, and says what it found.

use anyhow::{Context as _, Result, ensure};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount, umount};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the root was filled from; a machine of this test has one disk, and on it `esp`, `root-source`, `root`.
const SOURCE: &str = "/dev/vda2";
const ROOT: &str = "/dev/vda3";
const MAPPED: &str = "/dev/mapper/rescued";

fn main() {
    let said = rescue().map_or_else(|error| format!("bad {error:#}"), |found| format!("good {found}"));
    let _closed = writeln!(std::io::stdout(), "\nrescue: {said}\nrescue: end");
    // The end of process 1 would be a panic of the kernel.
    loop {
        std::thread::park();
    }
}

fn rescue() -> Result<String> {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")] {
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>).context(at)?;
    }
    for list in ["/etc/ccnode/modules-early", "/etc/ccnode/modules-late"] {
        for path in fs::read_to_string(list).context(list)?.lines() {
            // What has no hardware here is not missed.
            let _ = finit_module(File::open(path).context(path.to_owned())?, c"", ModuleInitFlags::empty());
        }
    }
    let until = Instant::now() + Duration::from_secs(20);
    while !Path::new(ROOT).exists() {
        ensure!(Instant::now() < until, "no {ROOT}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let wrong = ccnode(&["disk", "open", SOURCE, "rescued", "--recovery-key", "/key"])?;
    ensure!(wrong.0 == Some(3), "the source is no volume: {wrong:?}");
    let opened = ccnode(&["disk", "open", ROOT, "rescued", "--recovery-key", "/key"])?;
    ensure!(opened == (Some(0), format!("{MAPPED}\n")), "{opened:?}");
    for (device, at) in [(MAPPED, "/run/root"), (SOURCE, "/run/source")] {
        fs::create_dir(at)?;
        mount(Some(device), at, Some("ext4"), MsFlags::MS_RDONLY, Some("noload")).context(device)?;
    }
    let boots = fs::read_to_string("/run/root/var/boots").unwrap_or_default().lines().count();
    let mut files = 0;
    for entry in fs::read_dir("/run/source/data/small")? {
        let name = Path::new("data/small").join(entry?.file_name());
        let read = |root: &str| fs::read(Path::new(root).join(&name));
        ensure!(read("/run/root")? == read("/run/source")?, "{} differs", name.display());
        files += 1;
    }
    umount("/run/root")?;
    let closed = ccnode(&["disk", "close", "rescued"])?;
    ensure!(closed == (Some(0), String::new()) && !Path::new(MAPPED).exists(), "{closed:?}");
    Ok(format!("boots={boots} files={files}"))
}

/// Exit code and output of the tool.
fn ccnode(args: &[&str]) -> Result<(Option<i32>, String)> {
    let out = Command::new("/bin/ccnode").args(args).env("DM_DISABLE_UDEV", "1").output()?;
    let said = [out.stdout, out.stderr].concat();
    Ok((out.status.code(), String::from_utf8_lossy(&said).into_owned()))
}
