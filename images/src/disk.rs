//! The disk image: ESP with the UKI, root source, and a root partition that carries the blank mark.

use crate::empty::EMPTY_MIB;
use crate::gpt::{self, MIB, Partition};
use crate::recipe::{DataVolume, Recipe};
use crate::source::Source;
use crate::tool::{Tool, ToolError};
use ccnode_luks_header::Integrity;
use ccnode_luks_header::mark;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Where the blank mark lies in the root partition: the last page before the data.
pub const MARK_OFFSET: u64 = MIB - mark::LEN as u64;
/// The least that a FAT32 file system has, MiB.
const LEAST_ESP: u64 = 40;
/// Room beside the UKI in an ESP whose size the recipe leaves open, MiB: another UKI of some MiB more fits.
const ESP_ROOM: u64 = 8;

/// Why no disk image can be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A tool failed.
    #[error(transparent)]
    Tool(ToolError),
    /// A file can't be read or written.
    #[error("can't access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A partition of the recipe is too small.
    #[error("[disk] {field} = {mib}M is too small: this image needs {needed}M")]
    TooSmall {
        /// "esp", "root", "swap" or "data.NAME".
        field: String,
        /// What the recipe says.
        mib: u64,
        /// What is needed.
        needed: u64,
    },
}

/// Sizes of the partitions in MiB, checked against what goes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    esp: u64,
    source: u64,
    root: u64,
    swap: Option<u64>,
    data: Vec<DataVolume>,
}

impl Sizes {
    /// Fits the partitions around a UKI of `uki` bytes, a root source, and a volume that begins with `content` MiB.
    pub(crate) fn fit(recipe: &Recipe, uki: u64, source: &Source, content: u64) -> Result<Self, DiskError> {
        let wanted = recipe.disk;
        let fit = |field: &str, wanted: Option<u64>, needed: u64, open: u64| match wanted {
            Some(mib) if mib < needed => Err(DiskError::TooSmall { field: field.to_owned(), mib, needed }),
            Some(mib) => Ok(mib),
            None => Ok(open),
        };
        let uki = uki.div_ceil(MIB);
        let esp = fit("esp", wanted.esp, (uki + 2).max(LEAST_ESP), (uki + ESP_ROOM).max(LEAST_ESP))?;
        let root = fit("root", wanted.root, volume(recipe, content), source.mib * 2)?;
        // The room for a header that is never there, then pages.
        let swap = wanted.swap.map(|mib| fit("swap", Some(mib), 2, mib)).transpose()?;
        data_fits(recipe)?;
        Ok(Self { esp, source: source.mib, root, swap, data: recipe.data.clone() })
    }
}

/// MiB of a partition whose volume holds that many: the LUKS header's MiB, then the content's blocks, and where each has a tag those
/// and their journal.
fn volume(recipe: &Recipe, mib: u64) -> u64 {
    let tags = if recipe.integrity == Integrity::None { 0 } else { mib / 50 + 1 };
    mib + 1 + tags
}

/// Whether each volume for data holds the file system that it begins with.
pub(crate) fn data_fits(recipe: &Recipe) -> Result<(), DiskError> {
    let needed = volume(recipe, EMPTY_MIB);
    match recipe.data.iter().find(|data| data.mib < needed) {
        Some(DataVolume { name, mib, .. }) => {
            Err(DiskError::TooSmall { field: format!("data.{name}"), mib: *mib, needed })
        }
        None => Ok(()),
    }
}

/// Writes the disk image to `path`, sparse. All identifiers follow from `seed`.
pub(crate) fn write(
    path: &Path,
    work: &Path,
    seed: &[u8],
    sizes: &Sizes,
    uki: &Path,
    source: &Source,
    epoch: u64,
) -> Result<(), DiskError> {
    let mut partitions = vec![
        Partition { label: "esp", kind: gpt::TYPE_ESP, mib: sizes.esp },
        Partition { label: "root-source", kind: gpt::TYPE_DATA, mib: sizes.source },
        Partition { label: "root", kind: gpt::TYPE_LUKS, mib: sizes.root },
    ];
    // Of a type that nobody swaps to but who knows better.
    partitions.extend(sizes.swap.map(|mib| Partition { label: "swap", kind: gpt::TYPE_LUKS, mib }));
    let data = sizes.data.iter();
    partitions.extend(data.map(|data| Partition { label: &data.label, kind: gpt::TYPE_LUKS, mib: data.mib }));
    let table = gpt::lay_out(seed, &partitions);
    let esp = work.join("esp");
    make_esp(&esp, seed, sizes.esp, uki, epoch)?;
    let io = |source| DiskError::Io { path: path.to_owned(), source };
    let disk = File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(io)?;
    disk.set_len(table.disk).map_err(io)?;
    disk.write_all_at(&table.primary, 0).map_err(io)?;
    disk.write_all_at(&table.backup, table.disk - table.backup.len() as u64).map_err(io)?;
    if let [esp_at, source_at, blank @ ..] = &table.offsets[..] {
        for (from, at) in [(&esp, *esp_at), (&source.path, *source_at)] {
            copy_sparse(from, &disk, at).map_err(|source| DiskError::Io { path: from.clone(), source })?;
        }
        for at in blank {
            disk.write_all_at(&mark::blank(), at + MARK_OFFSET).map_err(io)?;
        }
    }
    Ok(())
}

/// A FAT32 file system with the UKI where firmware looks on its own.
fn make_esp(path: &Path, seed: &[u8], mib: u64, uki: &Path, epoch: u64) -> Result<(), DiskError> {
    let file = File::create(path).and_then(|f| f.set_len(mib * MIB));
    file.map_err(|source| DiskError::Io { path: path.to_owned(), source })?;
    let [a, b, c, d, ..] = gpt::Guid::derived(seed, "fat").0;
    let tool = |tool: Tool| tool.env("SOURCE_DATE_EPOCH", epoch.to_string()).run().map_err(DiskError::Tool);
    tool(
        Tool::new("mkfs.fat", "dosfstools")
            .args(["-F", "32", "-n", "ESP", "--invariant", "-i", &hex::encode([a, b, c, d])])
            .arg(path),
    )?;
    tool(Tool::new("mmd", "mtools").arg("-i").arg(path).args(["::/EFI", "::/EFI/BOOT"]))?;
    tool(Tool::new("mcopy", "mtools").arg("-i").arg(path).arg(uki).arg("::/EFI/BOOT/BOOTX64.EFI"))
}

/// Copies what is not zero; the target is zero already.
fn copy_sparse(from: &Path, to: &File, mut at: u64) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut chunk)?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { return Ok(()) };
        if part.iter().any(|b| *b != 0) {
            to.write_all_at(part, at)?;
        }
        at += read as u64;
    }
}

/// Length of a file, 0 where there is none.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map(|m| m.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Disk;
    use ccnode_evidence::Sha256Digest;

    fn source(dir: &Path, mib: u64) -> Source {
        let path = dir.join("source");
        File::create(&path).unwrap().set_len(mib * MIB).unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(b"data", 8192).unwrap();
        Source { path, mib, root_hash: Sha256Digest::ZERO }
    }

    fn logs(mib: u64) -> DataVolume {
        DataVolume { name: "logs".parse().unwrap(), label: "l".into(), mib }
    }

    fn recipe(disk: Disk, data: u64) -> Recipe {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/debian-12-worker");
        Recipe { disk, data: vec![logs(data)], ..Recipe::read(Path::new(shipped)).unwrap() }
    }

    #[test]
    fn partitions_hold_what_goes_in() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path(), 10);
        let uki = dir.path().join("uki.efi");
        fs::write(&uki, vec![0xcc; 3 << 20]).unwrap();
        let sizes = Sizes::fit(
            &recipe(Disk { esp: None, root: Some(11), swap: Some(2) }, 33),
            3 << 20,
            &source,
            source.mib,
        )
        .unwrap();
        assert_eq!(sizes, Sizes { esp: 40, source: 10, root: 11, swap: Some(2), data: vec![logs(33)] });
        let mut images = Vec::new();
        for name in ["a", "b"] {
            let path = dir.path().join(name);
            write(&path, dir.path(), b"seed", &sizes, &uki, &source, 1_700_000_000).unwrap();
            images.push(fs::read(path).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(2100)); // FAT counts in two seconds
        }
        assert!(images[0] == images[1], "two images of one input differ");
        let disk = &images[0];
        let at = |mib: u64| (mib * MIB) as usize;
        assert_eq!(&disk[at(41) + 8192..][..4], b"data");
        for partition in [at(51), at(62), at(64)] {
            let page: &[u8; mark::LEN] = disk[partition + MARK_OFFSET as usize..].first_chunk().unwrap();
            assert_eq!(mark::Mark::read(page), Some(mark::Mark::Blank));
        }
        let esp = dir.path().join("cut");
        fs::write(&esp, &disk[at(1)..at(41)]).unwrap();
        let back =
            Tool::new("mtype", "mtools").arg("-i").arg(esp).arg("::/EFI/BOOT/BOOTX64.EFI").output().unwrap();
        assert!(back == fs::read(uki).unwrap(), "the UKI came back changed");
    }

    #[test]
    fn too_small_partitions_say_what_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path(), 10);
        let fit = |esp, root, data| {
            Sizes::fit(&recipe(Disk { esp, root, swap: None }, data), 60 << 20, &source, source.mib)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(fit(Some(50), None, 33), "[disk] esp = 50M is too small: this image needs 62M");
        assert_eq!(fit(None, Some(10), 33), "[disk] root = 10M is too small: this image needs 11M");
        assert_eq!(fit(None, None, 32), "[disk] data.logs = 32M is too small: this image needs 33M");
        let tagged = Recipe { integrity: Integrity::HmacSha256, ..recipe(Disk::default(), 33) };
        let error = Sizes::fit(&tagged, 3 << 20, &source, source.mib).unwrap_err().to_string();
        assert_eq!(error, "[disk] data.logs = 33M is too small: this image needs 34M", "tags take room, too");
    }
}
