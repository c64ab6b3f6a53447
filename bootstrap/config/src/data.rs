//! `[[disk.data]]`: volumes for data beside the root, each with a key of its own.

use ccnode_evidence::{DATA_VOLUMES, DataName};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Folders of the root that something else is mounted over, and those of programs and of what they are told, which are measured.
const HIDDEN: [&str; 11] = ["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr"];
/// Folders that a volume may be in, and not hide.
const SHARED: [&str; 2] = ["/tmp", "/var"];

/// A volume for data.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// Its name, of which the service makes an id.
    pub name: DataName,
    /// Label of its partition.
    pub label: String,
    /// Where it is mounted, nosuid and nodev: an absolute path of a folder that the root has.
    pub mount: PathBuf,
}

/// What of the list can't be obeyed.
pub(super) fn check(data: &[Data]) -> Option<&'static str> {
    let names: BTreeSet<_> = data.iter().map(|data| &data.name).collect();
    let plain = |path: &Path| {
        let mut parts = path.components();
        parts.next() == Some(Component::RootDir)
            && parts.clone().next().is_some_and(|first| !HIDDEN.iter().any(|name| first.as_os_str() == *name))
            && parts.all(|part| matches!(part, Component::Normal(_)))
            && path.as_os_str().len() < 256
            && !SHARED.iter().any(|shared| path == Path::new(shared))
    };
    let below =
        |one: &Data| data.iter().any(|other| other.name != one.name && one.mount.starts_with(&other.mount));
    [
        (names.len() != data.len(), "[disk] data has a name twice"),
        (data.len() > DATA_VOLUMES, "[disk] data has more than eight volumes"),
        (
            data.iter().any(|data| !plain(&data.mount)),
            "[disk] data: mount is an absolute path of a folder, without `..`, not /var or /tmp itself, and not in /bin, /boot, /dev, /etc, /lib, /lib64, /proc, /run, /sbin, /sys or /usr",
        ),
        (data.iter().any(below), "[disk] data has two mounts of which one is in the other"),
    ]
    .into_iter()
    .find_map(|(broken, rule)| broken.then_some(rule))
}
