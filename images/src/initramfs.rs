//! The initramfs: `/init`, its libraries, kernel modules in two ordered lists, the measured configuration; no shell.

use crate::cpio::{Archive, CpioError, Entry};
use crate::elf::{self, ElfError};
use crate::modules::Module;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Libraries that ccnode-init opens at run time: the TPM's character device, and the unwinder of libcryptsetup's threads.
const OPENED: [&str; 2] = ["libtss2-tcti-device.so.0", "libgcc_s.so.1"];
/// Mount points.
const EMPTY: [&str; 6] = ["dev", "proc", "sys", "run", "tmp", "sysroot"];
/// zstd's level: small before fast, the kernel unpacks all levels alike.
pub(crate) const LEVEL: i32 = 19;

/// What goes into an initramfs.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// The binary that becomes `/init`.
    pub init: &'a Path,
    /// Modules in load order.
    pub modules: &'a [Module],
    /// `/etc/ccnode/node.toml`.
    pub config: &'a [u8],
    /// Certificates in PEM by their absolute path.
    pub certificates: &'a BTreeMap<String, Vec<u8>>,
    /// An empty file system, for nodes that make volumes which no copy of the root fills.
    pub empty: Option<&'a [u8]>,
    /// `/etc/ccnode/build-time`, Unix seconds: the clock is never believed to be earlier.
    pub build_time: u64,
}

/// Why no initramfs can be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A library is missing.
    #[error(transparent)]
    Elf(ElfError),
    /// A file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The archive can't be written or read.
    #[error("initramfs: {0}")]
    Cpio(CpioError),
    /// Compression or decompression failed.
    #[error("initramfs: zstd: {0}")]
    Zstd(std::io::Error),
}

/// Assembles the archive.
pub fn assemble(contents: &Contents<'_>) -> Result<Archive, InitramfsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| InitramfsError::Read { path: path.to_owned(), source })
    };
    let mut archive = Archive::default();
    for dir in EMPTY {
        archive.directory(dir);
    }
    archive.file("init", 0o755, read(contents.init)?);
    for (guest, host) in elf::closure(contents.init, &OPENED).map_err(InitramfsError::Elf)? {
        archive.file(&guest, 0o755, read(&host)?);
    }
    for module in contents.modules {
        archive.file(&module.path, 0o644, module.content.clone());
    }
    for (name, late) in [("modules-early", false), ("modules-late", true)] {
        let lines = contents.modules.iter().filter(|m| m.late == late).map(|m| format!("{}\n", m.path));
        archive.file(&format!("etc/ccnode/{name}"), 0o644, lines.collect::<String>().into_bytes());
    }
    archive.file("etc/ccnode/node.toml", 0o644, contents.config.to_vec());
    for (path, pem) in contents.certificates {
        archive.file(path, 0o644, pem.clone());
    }
    if let Some(empty) = contents.empty {
        archive.file(crate::empty::PATH, 0o644, empty.to_vec());
    }
    archive.file("etc/ccnode/build-time", 0o644, format!("{}\n", contents.build_time).into_bytes());
    Ok(archive)
}

/// Compresses an archive as the builder does.
pub fn pack(archive: &Archive) -> Result<Vec<u8>, InitramfsError> {
    let raw = archive.to_bytes().map_err(InitramfsError::Cpio)?;
    zstd::encode_all(raw.as_slice(), LEVEL).map_err(InitramfsError::Zstd)
}

/// Reads what [`pack`] wrote.
pub fn unpack(compressed: &[u8]) -> Result<Archive, InitramfsError> {
    let raw = zstd::decode_all(compressed).map_err(InitramfsError::Zstd)?;
    Archive::parse(&raw).map_err(InitramfsError::Cpio)
}

/// Bytes by part, unpacked: init, libraries, modules, configuration.
pub fn sizes(archive: &Archive) -> BTreeMap<&'static str, u64> {
    let mut sizes = BTreeMap::from([("init", 0), ("libraries", 0), ("modules", 0), ("configuration", 0)]);
    for (path, entry) in archive.entries() {
        let Entry::File(_, content) = entry else { continue };
        let part = match path {
            "init" => "init",
            _ if path.starts_with("lib/modules/") => "modules",
            _ if path.starts_with("lib") => "libraries",
            _ => "configuration",
        };
        *sizes.entry(part).or_default() += content.len() as u64;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(time: u64) -> Archive {
        let init = PathBuf::from("/bin/true");
        let module = |name: &str, late| Module {
            name: name.into(),
            path: format!("/lib/modules/6/kernel/{name}.ko"),
            content: vec![1; 10],
            late,
        };
        let modules = [module("virtio", false), module("dm_mod", true), module("dm_crypt", true)];
        let certificates = BTreeMap::from([("/etc/ccnode/ca-current.pem".to_owned(), b"pem".to_vec())]);
        assemble(&Contents {
            init: &init,
            modules: &modules,
            config: b"mode = \"ccnode/1\"\n",
            certificates: &certificates,
            empty: None,
            build_time: time,
        })
        .unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn holds_what_init_reads_and_nothing_else() {
        let archive = built(1_700_000_000);
        assert_eq!(archive.content("etc/ccnode/build-time").unwrap(), b"1700000000\n");
        assert_eq!(
            archive.content("etc/ccnode/modules-early").unwrap(),
            b"/lib/modules/6/kernel/virtio.ko\n"
        );
        assert_eq!(
            archive.content("etc/ccnode/modules-late").unwrap(),
            b"/lib/modules/6/kernel/dm_mod.ko\n/lib/modules/6/kernel/dm_crypt.ko\n"
        );
        assert_eq!(archive.content("etc/ccnode/ca-current.pem").unwrap(), b"pem");
        for dir in EMPTY {
            assert!(
                archive.entries().any(|(path, entry)| path == dir && *entry == Entry::Directory),
                "{dir}"
            );
        }
        let shell = ["bin/sh", "bin/bash", "bin/busybox", "usr/bin/sh"];
        assert!(archive.entries().all(|(path, _)| !shell.contains(&path)));
    }

    #[test]
    fn same_contents_same_bytes_and_back() {
        let packed = pack(&built(1)).unwrap();
        assert_eq!(packed, pack(&built(1)).unwrap());
        assert_ne!(packed, pack(&built(2)).unwrap());
        assert_eq!(unpack(&packed).unwrap(), built(1));
    }

    #[test]
    fn sizes_cover_every_file() {
        let archive = built(1);
        let files =
            archive.entries().map(|(_, e)| if let Entry::File(_, c) = e { c.len() as u64 } else { 0 });
        assert_eq!(sizes(&archive).values().sum::<u64>(), files.sum::<u64>());
        assert_eq!(sizes(&archive)["modules"], 30);
    }
}
