//! Read-only devices under dm-verity: the superblock is judged once, the root hash alone is trusted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ccnode_luks_header::verity::{BLOCK, LEN, RootHash, Verity, VerityError, read_trailer};
use libcryptsetup_rs::consts::flags::{CryptActivate, CryptVerity};
use libcryptsetup_rs::consts::vals::EncryptionFormat;
use libcryptsetup_rs::{CryptInit, CryptParamsVerity, CryptParamsVerityRef, Either};

use crate::cryptsetup::{CryptError, call};
use crate::dm::{Device, DmError, Table, TableError, close, same};
use crate::name::Name;

/// A verity device could not be opened; nothing stays mapped.
#[derive(Debug, thiserror::Error)]
pub enum VerityOpenError {
    /// The partition could not be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The partition.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The last page of the partition does not say where the hash tree is.
    #[error("{0}: no trailer page")]
    Trailer(String),
    /// The superblock is refused.
    #[error(transparent)]
    Superblock(#[from] VerityError),
    /// libcryptsetup failed.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// Device-mapper or the partition failed.
    #[error(transparent)]
    Dm(#[from] DmError),
    /// The kernel maps something else than was judged.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Proof that the device is mapped under this root hash. A block that does not belong to it reads as an I/O error.
#[derive(Debug)]
pub struct OpenedVerity {
    name: Name,
    len: u64,
}

impl OpenedVerity {
    /// The mapped device's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// /dev/mapper/NAME.
    pub fn path(&self) -> std::path::PathBuf {
        self.name.path()
    }

    /// Length in bytes of the verified data.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no data; never so.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Maps the data on the partition `device` as /dev/mapper/`name`, read-only, under `root`.
///
/// The partition ends with a trailer page ([`ccnode_luks_header::verity::trailer`]) that says where the superblock
/// is. Both are read once and judged; libcryptsetup and the kernel get the judged values, not the disk's.
pub fn open(device: &Path, root: &RootHash, name: &Name) -> Result<OpenedVerity, VerityOpenError> {
    let device = Device::at(device)?;
    let verity = judge(&device)?;
    map(&device, &verity, root, name)?;
    let table = Table::read(name).map_err(VerityOpenError::from);
    if let Err(error) = table.and_then(|table| Ok(compare(&table, &verity, root, &device)?)) {
        // The first error is the one to tell; what is left mapped dies with the power-off that follows.
        let _ = close(name);
        return Err(error);
    }
    Ok(OpenedVerity { name: name.clone(), len: verity.data_len() })
}

fn judge(device: &Device) -> Result<Verity, VerityOpenError> {
    let path = device.path.display().to_string();
    let fail = |source| VerityOpenError::Unreadable { path: path.clone(), source };
    let file = File::open(&device.path).map_err(fail)?;
    let mut page = [0; BLOCK as usize];
    let last = device.len.checked_sub(BLOCK).ok_or_else(|| VerityOpenError::Trailer(path.clone()))?;
    file.read_exact_at(&mut page, last).map_err(fail)?;
    let offset = read_trailer(&page).ok_or_else(|| VerityOpenError::Trailer(path.clone()))?;
    if offset >= last {
        return Err(VerityError::HashOffset(offset).into());
    }
    let mut superblock = [0; LEN];
    file.read_exact_at(&mut superblock, offset).map_err(fail)?;
    Ok(Verity::judge(&superblock, offset, last)?)
}

fn map(device: &Device, verity: &Verity, root: &RootHash, name: &Name) -> Result<(), CryptError> {
    let params = CryptParamsVerity {
        hash_name: "sha256".to_owned(),
        data_device: device.path.clone(),
        hash_device: None,
        fec_device: None,
        salt: verity.salt.clone(),
        hash_type: 1,
        data_block_size: BLOCK as u32,
        hash_block_size: BLOCK as u32,
        data_size: verity.data_blocks,
        // Without a header this is where the tree itself begins.
        hash_area_offset: verity.tree_block().saturating_mul(BLOCK),
        fec_area_offset: 0,
        fec_roots: 0,
        flags: CryptVerity::NO_HEADER,
    };
    let mut crypt = call("initialize", || CryptInit::init(&device.path))?;
    // In memory alone: no header flag, no hash area to create.
    call("take the verity parameters", || {
        let mut params: CryptParamsVerityRef<'_> = (&params).try_into()?;
        let nothing = Either::Right(0);
        crypt.context_handle().format(EncryptionFormat::Verity, ("", ""), None, nothing, Some(&mut params))
    })?;
    call("map the verity device", || {
        let flags = CryptActivate::READONLY;
        crypt.activate_handle().activate_by_volume_key(Some(name.as_str()), Some(&root.0), flags)
    })
}

/// dm-verity's table line: version, data and hash device, block sizes, data blocks, tree block, hash, root, salt.
fn compare(table: &Table, verity: &Verity, root: &RootHash, device: &Device) -> Result<(), TableError> {
    same("target", &table.kind, "verity")?;
    same("start", table.start, 0)?;
    same("length in sectors", table.sectors, verity.data_len() / 512)?;
    same("read-only", table.readonly, true)?;
    let number = device.number_text();
    let salt: String = verity.salt.iter().map(|b| format!("{b:02x}")).collect();
    let salt = if salt.is_empty() { "-" } else { &salt };
    let (blocks, tree) = (verity.data_blocks, verity.tree_block());
    let want = format!("1 {number} {number} {BLOCK} {BLOCK} {blocks} {tree} sha256 {root} {salt}");
    same("mapping", table.params.trim_end(), want)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::tests::table;

    fn verity() -> Verity {
        Verity { data_blocks: 4, hash_offset: 5 * BLOCK, salt: vec![0xab, 1], uuid: String::new() }
    }

    fn device() -> Device {
        Device { path: "/dev/vda2".into(), number: (254, 2), len: 1 << 20 }
    }

    const ROOT: RootHash = RootHash([0x0f; 32]);

    fn check(params: &str, change: impl FnOnce(&mut Table)) -> Result<(), &'static str> {
        let mut table = table("verity", 32, params);
        table.readonly = true;
        change(&mut table);
        compare(&table, &verity(), &ROOT, &device()).map_err(|e| e.field)
    }

    #[test]
    fn a_live_table_that_was_not_judged_is_told() {
        let params = format!("1 254:2 254:2 4096 4096 4 6 sha256 {ROOT} ab01");
        assert_eq!(check(&params, |_| {}), Ok(()));
        let changes =
            [("254:2 4096", "254:3 4096"), (" 4 6 ", " 4 7 "), ("sha256", "sha1"), ("0f0f", "0e0f")];
        for (old, new) in changes {
            assert_eq!(check(&params.replacen(old, new, 1), |_| {}), Err("mapping"), "{new}");
        }
        assert_eq!(check(&format!("{params} 1 ignore_corruption"), |_| {}), Err("mapping"));
        assert_eq!(check(&params, |table| table.readonly = false), Err("read-only"));
        assert_eq!(check(&params, |table| table.kind = "linear".into()), Err("target"));
        assert_eq!(check(&params, |table| table.sectors = 33), Err("length in sectors"));
        assert_eq!(check(&params, |table| table.start = 8), Err("start"));
    }

    /// A file with data, tree and trailer, as `judge` reads it from a partition.
    fn image(trailer: [u8; 4096]) -> (tempfile::NamedTempFile, Device) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(40960).unwrap();
        let mut superblock = [0; LEN];
        superblock[..8].copy_from_slice(b"verity\0\0");
        superblock[8] = 1;
        superblock[12] = 1;
        superblock[32..38].copy_from_slice(b"sha256");
        superblock[65] = 16;
        superblock[69] = 16;
        superblock[72] = 4;
        file.as_file().write_all_at(&superblock, 5 * BLOCK).unwrap();
        file.as_file().write_all_at(&trailer, 9 * BLOCK).unwrap();
        let device = Device { path: file.path().to_owned(), number: (0, 0), len: 40960 };
        (file, device)
    }

    #[test]
    fn trailer_and_superblock_are_read_from_their_places() {
        use ccnode_luks_header::verity::trailer;
        let (_file, device) = image(trailer(5 * BLOCK));
        let found = judge(&device).unwrap();
        assert_eq!((found.data_blocks, found.tree_block()), (4, 6));
        let (_file, device) = image([0; 4096]);
        assert!(matches!(judge(&device), Err(VerityOpenError::Trailer(_))));
        let (_file, device) = image(trailer(4 * BLOCK));
        assert!(matches!(judge(&device), Err(VerityOpenError::Superblock(VerityError::Magic))));
        // The trailer itself is no place for a superblock, and there is nothing beyond it.
        for offset in [9 * BLOCK, 10 * BLOCK, u64::MAX] {
            let (_file, device) = image(trailer(offset));
            assert!(matches!(judge(&device), Err(VerityOpenError::Superblock(VerityError::HashOffset(_)))));
        }
    }
}
