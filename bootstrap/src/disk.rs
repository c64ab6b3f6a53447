//! The disk that the configuration names, and its partitions; nothing is found by label anywhere else.

use crate::config::Disk as Config;
use crate::gpt::{self, GptError, Partition};
use crate::refusal::Coded;
use ccnode_attest_client::Deadline;
use ccnode_evidence::Code;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Why the partitions can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No disk has the serial number or path.
    #[error("no disk {0}")]
    Missing(String),
    /// More than one has it.
    #[error("{0} and {1} are both the disk {2}")]
    Twice(String, String, String),
    /// A partition of the label is not on the disk.
    #[error("{disk} has no partition `{label}`")]
    NoPartition {
        /// The disk.
        disk: String,
        /// The label.
        label: String,
    },
    /// A label is there twice.
    #[error("the label `{label}` is on {first} and on {second}")]
    Duplicate {
        /// The label.
        label: String,
        /// One place.
        first: String,
        /// Another.
        second: String,
    },
    /// The disk's table can't be used.
    #[error("{disk}: {source}")]
    Table {
        /// The disk.
        disk: String,
        /// Why.
        #[source]
        source: GptError,
    },
    /// The kernel sees the partition elsewhere than the table says.
    #[error("{0}: the kernel has the partition at another place than the table")]
    Kernel(String),
    /// The disk or sysfs can't be read.
    #[error("{path}: {source}")]
    Io {
        /// What could not be read.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for DiskError {
    fn code(&self) -> Code {
        match self {
            Self::Missing(_) => Code::DiskMissing,
            Self::NoPartition { .. } => Code::RootMissing,
            Self::Twice(..) | Self::Duplicate { .. } => Code::DuplicatePartition,
            Self::Table { source: GptError::Read { .. }, .. } | Self::Io { .. } => Code::DiskFailed,
            Self::Table { .. } | Self::Kernel(_) => Code::PartitionTable,
        }
    }
}

impl DiskError {
    /// Whether a disk that is still being probed looks like this: not there yet, or its partitions not all.
    fn may_pass(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Kernel(_) => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// Where the kernel shows its block devices; another place in tests.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/sys/block`.
    pub sys_block: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sys_block: "/sys/block".into(), dev: "/dev".into() }
    }
}

/// The partitions of this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Partitions {
    /// LUKS2, or yet to be.
    pub root: PathBuf,
    /// Bytes of `root`.
    pub root_len: u64,
    /// What the root is filled from, where the configuration names it.
    pub source: Option<PathBuf>,
    /// Where memory is swapped to, and its bytes, where the configuration names it.
    pub swap: Option<(PathBuf, u64)>,
    /// Volumes for data with their bytes, in the configuration's order.
    pub data: Vec<(PathBuf, u64)>,
}

impl Partitions {
    /// What the root is filled from.
    pub fn source(&self) -> Result<&Path, DiskError> {
        self.source.as_deref().ok_or_else(|| DiskError::Missing("for a root source is configured".to_owned()))
    }
}

type Reader = fn(&File, u64, u64) -> Result<Vec<Partition>, GptError>;

struct Disk {
    name: String,
    sys: PathBuf,
}

impl Places {
    /// Looks the partitions up on the disk that `config` names.
    pub fn find(&self, config: &Config) -> Result<Partitions, DiskError> {
        let disks = self.disks()?;
        let wanted = config.serial.as_ref().or(config.sysfs.as_ref()).cloned().unwrap_or_default();
        let mut named = disks.iter().filter(|disk| is_named(disk, config));
        let disk = named.next().ok_or_else(|| DiskError::Missing(wanted.clone()))?;
        if let Some(other) = named.next() {
            return Err(DiskError::Twice(disk.name.clone(), other.name.clone(), wanted));
        }
        let table = self.table(disk, gpt::primary)?;
        let root = one(disk, &table, &config.root)?;
        let source = config.source.as_ref().map(|label| one(disk, &table, label)).transpose()?;
        let swap = config.swap.as_ref().map(|label| one(disk, &table, label)).transpose()?;
        let data = config.data.iter().map(|data| one(disk, &table, &data.label));
        let data: Vec<&Partition> = data.collect::<Result<_, _>>()?;
        let labels: Vec<&String> = config.labels().collect();
        for other in disks.iter().filter(|other| other.name != disk.name) {
            self.refuse_twins(other, disk, &labels)?;
        }
        let (root_path, root_len) = (self.node(disk, root)?, root.len);
        let source = source.map(|source| self.node(disk, source)).transpose()?;
        let swap = swap.map(|swap| Ok::<_, DiskError>((self.node(disk, swap)?, swap.len))).transpose()?;
        let data = data.into_iter().map(|data| Ok((self.node(disk, data)?, data.len)));
        let data = data.collect::<Result<_, DiskError>>()?;
        Ok(Partitions { root: root_path, root_len, source, swap, data })
    }

    /// Waits until the named disk is there with its partitions; device-node events come by inotify, nothing is polled.
    pub async fn wait(&self, config: &Config, deadline: Deadline) -> Result<Partitions, DiskError> {
        let events = Events::watch(&self.dev);
        loop {
            let (places, named) = (self.clone(), config.clone());
            // Reading disks blocks.
            let found = tokio::task::spawn_blocking(move || places.find(&named)).await;
            let lost = |e: tokio::task::JoinError| DiskError::Io { path: "disks".into(), source: e.into() };
            match found.map_err(lost)? {
                Err(error) if error.may_pass() => {
                    let Ok(events) = &events else { return Err(error) };
                    if deadline.left().is_zero()
                        || tokio::time::timeout(deadline.left(), events.next()).await.is_err()
                    {
                        return Err(error);
                    }
                }
                found => return found,
            }
        }
    }

    /// Every block device with hardware behind it, in the order of their names.
    fn disks(&self) -> Result<Vec<Disk>, DiskError> {
        let fail = |source| DiskError::Io { path: self.sys_block.display().to_string(), source };
        let mut disks = Vec::new();
        for entry in fs::read_dir(&self.sys_block).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let sys = entry.path();
            if sys.join("device").exists() {
                disks.push(Disk { name: entry.file_name().to_string_lossy().into_owned(), sys });
            }
        }
        disks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(disks)
    }

    fn table(&self, disk: &Disk, read: Reader) -> Result<Vec<Partition>, DiskError> {
        let path = self.dev.join(&disk.name);
        let file =
            File::open(&path).map_err(|source| DiskError::Io { path: path.display().to_string(), source })?;
        let len = number(&disk.sys.join("size"))?.saturating_mul(512);
        let block = number(&disk.sys.join("queue/logical_block_size"))?;
        read(&file, len, block).map_err(|source| DiskError::Table { disk: disk.name.clone(), source })
    }

    /// Another disk may hold anything but our labels, in its table or in the backup of it.
    fn refuse_twins(&self, other: &Disk, disk: &Disk, labels: &[&String]) -> Result<(), DiskError> {
        for read in [gpt::primary as Reader, gpt::backup] {
            let table = match self.table(other, read) {
                Ok(table) => table,
                // What the kernel may understand and we don't could have our labels.
                Err(error @ DiskError::Table { source: GptError::Damaged(_), .. }) => return Err(error),
                // A disk without a table, or one that can't be read, has none.
                Err(_) => continue,
            };
            if let Some(twin) = table.iter().find(|p| labels.contains(&&p.label)) {
                return Err(DiskError::Duplicate {
                    label: twin.label.clone(),
                    first: disk.name.clone(),
                    second: other.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The kernel's node for a partition, where kernel and table agree about it.
    fn node(&self, disk: &Disk, partition: &Partition) -> Result<PathBuf, DiskError> {
        let infix = if disk.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let name = format!("{}{infix}{}", disk.name, partition.number);
        let sys = disk.sys.join(&name);
        let path = self.dev.join(&name);
        // The kernel shows the partition in sysfs before its node is there.
        fs::metadata(&path).map_err(|source| DiskError::Io { path: path.display().to_string(), source })?;
        let agree = number(&sys.join("start"))?.saturating_mul(512) == partition.start
            && number(&sys.join("size"))?.saturating_mul(512) == partition.len;
        if agree { Ok(path) } else { Err(DiskError::Kernel(name)) }
    }
}

fn is_named(disk: &Disk, config: &Config) -> bool {
    if let Some(serial) = &config.serial {
        // virtio_blk has the file itself, NVMe and SCSI their device.
        return ["serial", "device/serial"]
            .iter()
            .any(|file| fs::read_to_string(disk.sys.join(file)).is_ok_and(|text| text.trim() == serial));
    }
    let Some(suffix) = &config.sysfs else { return false };
    let device = fs::canonicalize(disk.sys.join("device")).unwrap_or_default();
    device.ends_with(Path::new(suffix.trim_start_matches('/')))
}

fn one<'t>(disk: &Disk, table: &'t [Partition], label: &str) -> Result<&'t Partition, DiskError> {
    let mut found = table.iter().filter(|p| p.label == label);
    let missing = || DiskError::NoPartition { disk: disk.name.clone(), label: label.to_owned() };
    let first = found.next().ok_or_else(missing)?;
    let place = |p: &Partition| format!("{}, partition {}", disk.name, p.number);
    match found.next() {
        None => Ok(first),
        Some(second) => {
            Err(DiskError::Duplicate { label: label.to_owned(), first: place(first), second: place(second) })
        }
    }
}

fn number(path: &Path) -> Result<u64, DiskError> {
    let fail = |source| DiskError::Io { path: path.display().to_string(), source };
    let text = fs::read_to_string(path).map_err(fail)?;
    text.trim().parse().map_err(|_| fail(std::io::ErrorKind::InvalidData.into()))
}

/// Changes in a directory, as the kernel tells them.
struct Events(tokio::io::unix::AsyncFd<File>);

impl Events {
    fn watch(dir: &Path) -> std::io::Result<Self> {
        use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB)?;
        let file = File::from(std::os::fd::OwnedFd::from(inotify));
        register(file).map(Self)
    }

    async fn next(&self) {
        if let Ok(mut ready) = self.0.readable().await {
            // What changed does not matter: the disks are looked at again.
            let _ = std::io::Read::read(&mut self.0.get_ref(), &mut [0; 4096]);
            ready.clear_ready();
        }
    }
}

#[expect(unsafe_code, reason = "a promise about the descriptor")]
fn register(file: File) -> std::io::Result<tokio::io::unix::AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, the same one until it is dropped.
    unsafe { tokio::io::unix::AsyncFd::register(file) }.map_err(Into::into)
}

#[cfg(test)]
mod tests;
