//! `[disk]` of the node's configuration.

use super::Data;
use ccnode_luks_header::Integrity;
use serde::Deserialize;

/// `[disk]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disk {
    /// The disk's serial number, as virtio and NVMe report it.
    #[serde(default)]
    pub serial: Option<String>,
    /// Or the end of its path in sysfs, below `/sys/devices`: `pci0000:00/0000:00:04.0/virtio2`.
    #[serde(default)]
    pub sysfs: Option<String>,
    /// Label of the root partition.
    pub root: String,
    /// Label of the partition from which the root is filled; none in stock mode, where nothing is.
    #[serde(default)]
    pub source: Option<String>,
    /// Label of the partition that memory is swapped to, under a key of each boot's own; no swap without it.
    #[serde(default)]
    pub swap: Option<String>,
    /// How changed ciphertext is noticed; by default it is not, and decrypts to noise. Of all volumes but swap.
    #[serde(default)]
    pub integrity: Integrity,
    /// Volumes for data.
    #[serde(default)]
    pub data: Vec<Data>,
}

impl Disk {
    /// Every label, the root's first.
    pub fn labels(&self) -> impl Iterator<Item = &String> {
        let data = self.data.iter().map(|data| &data.label);
        [Some(&self.root), self.source.as_ref(), self.swap.as_ref()].into_iter().flatten().chain(data)
    }
}
