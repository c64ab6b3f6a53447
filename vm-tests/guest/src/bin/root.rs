//! The init of a small root: compares the root with what it was filled from, and says what it found. No product image holds it.

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use std::fs::{self, File, Metadata};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

/// The partition that the root is filled from; a machine of this test has one disk, and on it `esp`, `root-source`, `root`.
const SOURCE: &str = "/dev/vda2";
const ROOT: &str = "/dev/mapper/root";
const AT: &str = "/run/source";
/// A line for each boot of this root, each forced to the disk.
const BOOTS: &str = "/var/boots";
/// What is written and forced nowhere.
const LOOSE: &str = "/var/loose";

fn main() {
    let said = look().map_or_else(|error| format!("bad {error:#}"), |found| format!("good {found}"));
    let _closed = writeln!(std::io::stdout(), "\nsmall root: {said}\nsmall root: end");
    // The end of process 1 would be a panic of the kernel.
    loop {
        std::thread::park();
    }
}

fn look() -> Result<String> {
    let none: Option<&str> = None;
    fs::create_dir_all(AT)?;
    mount(Some(SOURCE), AT, Some("ext4"), MsFlags::MS_RDONLY, Some("noload"))
        .context("mounting the source")?;
    let boots = fs::read_to_string(BOOTS).unwrap_or_default().lines().count();
    let mut file = File::options().create(true).append(true).open(BOOTS)?;
    file.write_all(b"booted\n")?;
    file.sync_all()?;
    drop(file);
    fs::write(LOOSE, vec![b'x'; 1 << 20])?;
    let files = same(Path::new(AT), Path::new("/"), fs::metadata("/")?.dev())?;
    nix::unistd::sync();
    mount(none, "/", none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).context("remounting the root")?;
    let check = Command::new("/sbin/e2fsck").args(["-f", "-n", ROOT]).output().context("running e2fsck")?;
    let said = String::from_utf8_lossy(&check.stdout);
    ensure!(check.status.success(), "e2fsck: {}: {said}", check.status);
    Ok(format!("boots={boots} blocks={} files={files}", blocks()?))
}

/// Every entry of `source` is in `root` with the same bytes; how many there are. What other file systems are mounted on is left out.
fn same(source: &Path, root: &Path, device: u64) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(source).with_context(|| source.display().to_string())? {
        let name = entry?.file_name();
        let (from, to) = (source.join(&name), root.join(&name));
        let of = |path: &Path| fs::symlink_metadata(path).with_context(|| path.display().to_string());
        let (a, b) = (of(&from)?, of(&to)?);
        if b.dev() != device {
            continue;
        }
        count += 1;
        ensure!(shape(&a) == shape(&b), "{}: {:?}, in the source {:?}", to.display(), shape(&b), shape(&a));
        if a.is_dir() {
            count += same(&from, &to, device)?;
        } else if a.is_symlink() {
            ensure!(fs::read_link(&from)? == fs::read_link(&to)?, "{} points elsewhere", to.display());
        } else {
            same_bytes(&from, &to)?;
        }
    }
    Ok(count)
}

/// Mode with type, owner; and of what is no folder length and time of change.
fn shape(of: &Metadata) -> (u32, u32, u32, Option<(u64, i64)>) {
    (of.mode(), of.uid(), of.gid(), (!of.is_dir()).then(|| (of.len(), of.mtime())))
}

fn same_bytes(from: &Path, to: &Path) -> Result<()> {
    let (mut a, mut b) = (File::open(from)?, File::open(to)?);
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut at = 0;
    loop {
        let n = a.read(&mut left).with_context(|| from.display().to_string())?;
        let (Some(left), Some(right)) = (left.get(..n), right.get_mut(..n)) else { bail!("a long read") };
        b.read_exact(right).with_context(|| format!("{} at {at}", to.display()))?;
        if n == 0 {
            return Ok(());
        }
        ensure!(left == right, "{} differs after byte {at}", to.display());
        at += n;
    }
}

/// Blocks of the file system, by its superblock.
fn blocks() -> Result<u32> {
    let mut bytes = [0; 4];
    File::open(ROOT)?.read_exact_at(&mut bytes, 1024 + 4)?;
    Ok(u32::from_le_bytes(bytes))
}
