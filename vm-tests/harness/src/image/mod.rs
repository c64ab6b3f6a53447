//! Opens, copies and spoils raw disk images: partitions by GPT, files on a FAT file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

const SECTOR: u64 = 512;
/// GPT's limit in practice, and ours.
const MAX_ENTRIES: u32 = 256;

/// GPT type of an EFI system partition, as sfdisk writes it.
pub const TYPE_ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// GPT type of a Linux file system.
pub const TYPE_LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// GPT type of swap, which systemd activates by itself.
pub const TYPE_SWAP: &str = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F";
/// GPT type of server data, which systemd mounts on /srv by itself.
pub const TYPE_SRV: &str = "3B8F8425-20E0-4F3B-907F-1A25A76F98E8";

/// A raw disk image in a file.
#[derive(Clone, Debug)]
pub struct Image {
    path: PathBuf,
}

/// A partition, in bytes of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// Label.
    pub label: String,
    /// Type GUID, upper case.
    pub kind: String,
    /// First byte.
    pub start: u64,
    /// Size in bytes.
    pub len: u64,
}

impl Image {
    /// The image in a file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes an image of zeros with a GPT of these partitions: label, type and MiB.
    ///
    /// # Errors
    /// When sfdisk is missing or refuses.
    pub fn create(path: impl Into<PathBuf>, partitions: &[(&str, &str, u64)]) -> Result<Self> {
        let image = Self::at(path);
        let mib: u64 = partitions.iter().map(|p| p.2).sum::<u64>() + 2;
        File::create(&image.path)?.set_len(mib << 20)?;
        let mut script = "label: gpt\n".to_owned();
        for partition in partitions {
            script += &line(*partition);
        }
        image.sfdisk(&[], &script)?;
        Ok(image)
    }

    /// Copies the image, sharing blocks where the file system can and leaving holes where it cannot.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub fn copy_to(&self, path: impl Into<PathBuf>) -> Result<Self> {
        let copy = Self::at(path);
        let mut cp = Command::new("cp");
        cp.args(["--sparse=always", "--reflink=auto", "--"]).arg(&self.path).arg(&copy.path);
        run(&mut cp, "")?;
        Ok(copy)
    }

    /// The image's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The partitions in the order of their numbers, by the primary table.
    ///
    /// # Errors
    /// When there is no GPT, or one with absurd sizes.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        let header = self.read(SECTOR, 92)?;
        ensure!(header.starts_with(b"EFI PART"), "{} has no GPT", self.path.display());
        let table = u64le(&header, 72)?;
        let count = u32le(&header, 80)?;
        let size = u32le(&header, 84)?;
        ensure!(count <= MAX_ENTRIES && (128..=4096).contains(&size), "{}: absurd GPT", self.path.display());
        let mut found = Vec::new();
        for number in 1..=count {
            let at = table.saturating_mul(SECTOR).saturating_add(u64::from(number - 1) * u64::from(size));
            let entry = self.read(at, 128)?;
            let kind = guid(&entry)?;
            if kind.chars().all(|c| matches!(c, '0' | '-')) {
                continue;
            }
            let (first, last) = (u64le(&entry, 32)?, u64le(&entry, 40)?);
            let len = last.checked_sub(first).and_then(|n| n.checked_add(1)?.checked_mul(SECTOR));
            let len = len.with_context(|| format!("partition {number} ends before it starts"))?;
            found.push(Partition {
                number,
                label: label(&entry),
                kind,
                start: first.saturating_mul(SECTOR),
                len,
            });
        }
        Ok(found)
    }

    /// The one partition with this label.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn partition(&self, label: &str) -> Result<Partition> {
        let mut found = self.partitions()?.into_iter().filter(|p| p.label == label);
        match (found.next(), found.next()) {
            (Some(partition), None) => Ok(partition),
            (None, _) => bail!("{} has no partition {label}", self.path.display()),
            (Some(_), Some(_)) => bail!("{} has several partitions {label}", self.path.display()),
        }
    }

    /// Adds a partition (label, type, MiB) behind the others; the image grows by it.
    ///
    /// # Errors
    /// When sfdisk is missing or refuses.
    pub fn add_partition(&self, label: &str, kind: &str, mib: u64) -> Result<Partition> {
        let len = fs::metadata(&self.path)?.len();
        self.file()?.set_len(len + ((mib + 1) << 20))?;
        self.sfdisk(&["--relocate", "gpt-bak-std"], "")?;
        let before = self.partitions()?;
        self.sfdisk(&["--append"], &line((label, kind, mib)))?;
        let added = self.partitions()?.into_iter().find(|p| !before.contains(p));
        added.context("sfdisk added no partition")
    }

    /// Renames a partition.
    ///
    /// # Errors
    /// When sfdisk is missing or refuses.
    pub fn set_label(&self, partition: &Partition, label: &str) -> Result<()> {
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.args(["--no-reread", "--no-tell-kernel", "--part-label"]).arg(&self.path);
        run(sfdisk.arg(partition.number.to_string()).arg(label), "").map(drop)
    }

    /// Reads bytes of a partition.
    ///
    /// # Errors
    /// When they do not lie within it.
    pub fn read_at(&self, partition: &Partition, offset: u64, len: usize) -> Result<Vec<u8>> {
        let at = partition.position(offset, len)?;
        self.read(at, len)
    }

    /// Overwrites bytes of a partition.
    ///
    /// # Errors
    /// When they do not lie within it.
    pub fn patch(&self, partition: &Partition, offset: u64, bytes: &[u8]) -> Result<()> {
        let at = partition.position(offset, bytes.len())?;
        self.file()?.write_all_at(bytes, at).with_context(|| format!("writing {}", self.path.display()))
    }

    /// Flips every bit of one byte of a partition.
    ///
    /// # Errors
    /// When it does not lie within it.
    pub fn flip(&self, partition: &Partition, offset: u64) -> Result<()> {
        let byte: Vec<u8> = self.read_at(partition, offset, 1)?.iter().map(|b| !b).collect();
        self.patch(partition, offset, &byte)
    }

    /// Overwrites bytes of the whole disk, for what lies outside the partitions.
    ///
    /// # Errors
    /// When the image cannot be written.
    pub fn patch_raw(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file()?.write_all_at(bytes, offset).with_context(|| format!("writing {}", self.path.display()))
    }

    /// Copies a partition's content to a file, with holes for zeros.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn dump(&self, partition: &Partition, file: &Path) -> Result<()> {
        let to = File::create(file)?;
        to.set_len(partition.len)?;
        copy_range(&self.file()?, partition.start, &to, 0, partition.len, true)
    }

    /// Replaces the start of a partition by a file's content; the rest keeps what it held.
    ///
    /// # Errors
    /// When the file is larger than the partition.
    pub fn load(&self, partition: &Partition, file: &Path) -> Result<()> {
        let from = File::open(file).with_context(|| format!("opening {}", file.display()))?;
        let len = from.metadata()?.len();
        ensure!(len <= partition.len, "{} is larger than partition {}", file.display(), partition.label);
        copy_range(&from, 0, &self.file()?, partition.start, len, false)
    }

    /// Fills a partition with zeros.
    ///
    /// # Errors
    /// When the image cannot be written.
    pub fn wipe(&self, partition: &Partition) -> Result<()> {
        let file = self.file()?;
        let zeros = vec![0; 1 << 20];
        let mut done = 0;
        while done < partition.len {
            let n = usize::try_from(partition.len - done).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all_at(zeros.get(..n).unwrap_or_default(), partition.start + done)?;
            done += n as u64;
        }
        Ok(())
    }

    /// Replaces a partition by the one of the same label and size on another image.
    ///
    /// # Errors
    /// When the sizes differ or a label is missing.
    pub fn copy_partition(&self, label: &str, from: &Self) -> Result<()> {
        let (source, target) = (from.partition(label)?, self.partition(label)?);
        ensure!(source.len == target.len, "partitions {label} differ in size");
        copy_range(&from.file()?, source.start, &self.file()?, target.start, source.len, false)
    }

    /// Reads a file (`/EFI/BOOT/BOOTX64.EFI`) on a FAT partition.
    ///
    /// # Errors
    /// When mtools are missing, or the file is.
    pub fn fat_read(&self, partition: &Partition, file: &str) -> Result<Vec<u8>> {
        self.mtool("mcopy", partition, &["-n"], &[&format!("::{file}"), "-"], &[])
    }

    /// Writes a file on a FAT partition, making its folders.
    ///
    /// # Errors
    /// When mtools are missing, or the file system is full.
    pub fn fat_write(&self, partition: &Partition, file: &str, bytes: &[u8]) -> Result<()> {
        for (at, _) in file.match_indices('/').filter(|(at, _)| *at > 0) {
            let folder = format!("::{}", file.get(..at).unwrap_or_default());
            if self.mtool("mdir", partition, &["-b"], &[&folder], &[]).is_err() {
                self.mtool("mmd", partition, &[], &[&folder], &[])?;
            }
        }
        self.mtool("mcopy", partition, &["-o"], &["-", &format!("::{file}")], bytes).map(drop)
    }

    /// Removes a file on a FAT partition.
    ///
    /// # Errors
    /// When mtools are missing, or the file is.
    pub fn fat_remove(&self, partition: &Partition, file: &str) -> Result<()> {
        self.mtool("mdel", partition, &[], &[&format!("::{file}")], &[]).map(drop)
    }

    /// Every file on a FAT partition, as absolute paths.
    ///
    /// # Errors
    /// When mtools are missing, or there is no FAT file system.
    pub fn fat_list(&self, partition: &Partition) -> Result<Vec<String>> {
        let listing = self.mtool("mdir", partition, &["-/", "-b"], &["::"], &[])?;
        let listing = String::from_utf8_lossy(&listing).into_owned();
        let files = listing.lines().filter(|l| !l.ends_with('/'));
        Ok(files.filter_map(|l| l.strip_prefix("::").map(str::to_owned)).collect())
    }

    fn mtool(
        &self,
        tool: &str,
        on: &Partition,
        flags: &[&str],
        args: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>> {
        let mut command = Command::new(tool);
        command.env("MTOOLS_SKIP_CHECK", "1").env("MTOOLSRC", "/dev/null");
        command.args(flags).arg("-i").arg(format!("{}@@{}", self.path.display(), on.start)).args(args);
        run_bytes(&mut command, input).context("(Debian package mtools)")
    }

    fn sfdisk(&self, args: &[&str], script: &str) -> Result<()> {
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel"]).args(args).arg(&self.path);
        run(&mut sfdisk, script).context("(Debian package fdisk)").map(drop)
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let done = self.file()?.read_exact_at(&mut bytes, at);
        done.with_context(|| format!("reading {len} bytes at {at} of {}", self.path.display()))?;
        Ok(bytes)
    }

    fn file(&self) -> Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        file.with_context(|| format!("opening {}", self.path.display()))
    }
}

impl Partition {
    fn position(&self, offset: u64, len: usize) -> Result<u64> {
        let end = offset.checked_add(len as u64);
        ensure!(end.is_some_and(|e| e <= self.len), "{offset}+{len} is outside partition {}", self.label);
        Ok(self.start + offset)
    }
}

fn line((label, kind, mib): (&str, &str, u64)) -> String {
    format!("size={mib}MiB, type={kind}, name=\"{label}\"\n")
}

fn copy_range(from: &File, from_at: u64, to: &File, to_at: u64, len: u64, holes: bool) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < len {
        let n = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..n).unwrap_or_default();
        from.read_exact_at(piece, from_at + done).context("reading a partition")?;
        if !holes || piece.iter().any(|&b| b != 0) {
            to.write_all_at(piece, to_at + done).context("writing a partition")?;
        }
        done += n as u64;
    }
    Ok(())
}

fn run(command: &mut Command, input: &str) -> Result<Vec<u8>> {
    run_bytes(command, input.as_bytes())
}

fn run_bytes(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Debian keeps sfdisk where an ordinary user's PATH does not look.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = command
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {name}"))?;
    let stdin = child.stdin.take();
    // A child that fails early closes its stdin; its own words say more than our broken pipe.
    let fed = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| stdin.map_or(Ok(()), |mut s| s.write_all(input)));
        let output = child.wait_with_output();
        (feeder.join().unwrap_or(Ok::<_, io::Error>(())), output)
    });
    let output = fed.1?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    fed.0?;
    Ok(output.stdout)
}

fn u32le(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    field.map(u32::from_le_bytes).context("short table")
}

fn u64le(bytes: &[u8], at: usize) -> Result<u64> {
    let field = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    field.map(u64::from_le_bytes).context("short table")
}

/// The first 16 bytes as a GUID: three little-endian fields, then eight bytes.
fn guid(bytes: &[u8]) -> Result<String> {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for (place, at) in ORDER.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{:02X}", bytes.get(at).context("short table")?);
    }
    Ok(text)
}

fn label(entry: &[u8]) -> String {
    let units = entry.get(56..128).unwrap_or_default().chunks_exact(2);
    let units = units.filter_map(|c| c.try_into().ok().map(u16::from_le_bytes)).take_while(|&u| u != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests;
