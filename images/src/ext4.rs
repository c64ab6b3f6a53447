//! The times that mke2fs takes from the folder it copies: set to what does not change from one build to the next.
//!
//! mke2fs copies each file's access and change time, which differ for each unpacking of the same archive. Here every
//! inode's access, change and creation time become its modification time, and the inode's checksum is computed anew.
//! (Layout: the kernel's documentation of ext4, "Inode Table".)

use crate::bytes::{array, crc, put, u16_at, u32_at};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Byte length of a block; mke2fs is told so.
pub(crate) const BLOCK: u64 = 4096;
const CRC32C: u32 = 0x82f6_3b78;
const METADATA_CSUM: u32 = 0x400;
const CSUM_SEED: u32 = 0x2000;
const BIT64: u32 = 0x80;

/// Offsets in an inode.
mod inode {
    pub(super) const ATIME: usize = 0x08;
    pub(super) const CTIME: usize = 0x0c;
    pub(super) const MTIME: usize = 0x10;
    pub(super) const GENERATION: usize = 0x64;
    pub(super) const CHECKSUM: usize = 0x7c;
    pub(super) const EXTRA: usize = 0x80;
    pub(super) const CHECKSUM_HIGH: usize = 0x82;
    pub(super) const CTIME_EXTRA: usize = 0x84;
    pub(super) const MTIME_EXTRA: usize = 0x88;
    pub(super) const ATIME_EXTRA: usize = 0x8c;
    pub(super) const CREATED: usize = 0x90;
    pub(super) const CREATED_EXTRA: usize = 0x94;
}

/// What of the superblock matters here.
struct Super {
    inodes: u32,
    per_group: u32,
    inode_size: usize,
    descriptor: usize,
    wide: bool,
    seed: Option<u32>,
}

impl Super {
    fn read(block: &[u8]) -> Option<Self> {
        if u16_at(block, 0x38)? != 0xef53 || u32_at(block, 0x18)? != 2 {
            return None;
        }
        let (incompatible, ro_compatible) = (u32_at(block, 0x60)?, u32_at(block, 0x64)?);
        let wide = incompatible & BIT64 != 0;
        let uuid: [u8; 16] = array(block, 0x68)?;
        let seed = match incompatible & CSUM_SEED {
            0 => crc(CRC32C, !0, &uuid),
            _ => u32_at(block, 0x270)?,
        };
        Some(Self {
            inodes: u32_at(block, 0x00)?,
            per_group: u32_at(block, 0x28).filter(|n| *n > 0)?,
            inode_size: usize::from(u16_at(block, 0x58)?),
            descriptor: if wide { usize::from(u16_at(block, 0xfe)?) } else { 32 },
            wide,
            seed: (ro_compatible & METADATA_CSUM != 0).then_some(seed),
        })
    }
}

/// Settles the times of every used inode of the file system in `file` (4096-byte blocks).
pub(crate) fn settle_times(file: &File) -> io::Result<()> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "not the ext4 that mke2fs was asked for");
    let mut block = [0; 1024];
    file.read_exact_at(&mut block, 1024)?;
    let fs = Super::read(&block).ok_or_else(odd)?;
    if fs.inode_size < 160 || fs.inode_size > 4096 || !fs.inode_size.is_power_of_two() {
        return Err(odd());
    }
    for group in 0..fs.inodes.div_ceil(fs.per_group) {
        let mut descriptor = vec![0; fs.descriptor];
        file.read_exact_at(&mut descriptor, BLOCK + u64::from(group) * fs.descriptor as u64)?;
        let low = u64::from(u32_at(&descriptor, 0x08).ok_or_else(odd)?);
        let high = if fs.wide { u64::from(u32_at(&descriptor, 0x28).ok_or_else(odd)?) } else { 0 };
        let start = (high << 32 | low) * BLOCK;
        let mut table = vec![0; fs.per_group as usize * fs.inode_size];
        file.read_exact_at(&mut table, start)?;
        for (index, inode) in table.chunks_exact_mut(fs.inode_size).enumerate() {
            // Unused inodes are zero throughout, and stay so.
            if u16_at(inode, 0).unwrap_or_default() != 0
                || u32_at(inode, inode::MTIME).unwrap_or_default() != 0
            {
                let number = group * fs.per_group + index as u32 + 1;
                settle(inode, number, fs.seed).ok_or_else(odd)?;
                file.write_all_at(inode, start + (index * fs.inode_size) as u64)?;
            }
        }
    }
    Ok(())
}

fn settle(inode: &mut [u8], number: u32, seed: Option<u32>) -> Option<()> {
    let time: [u8; 4] = array(inode, inode::MTIME)?;
    let extra: [u8; 4] = array(inode, inode::MTIME_EXTRA)?;
    for at in [inode::ATIME, inode::CTIME, inode::CREATED] {
        put(inode, at, &time)?;
    }
    for at in [inode::ATIME_EXTRA, inode::CTIME_EXTRA, inode::CREATED_EXTRA] {
        put(inode, at, &extra)?;
    }
    let Some(seed) = seed else { return Some(()) };
    let has_high = u16_at(inode, inode::EXTRA)? >= 4;
    put(inode, inode::CHECKSUM, &[0; 2])?;
    if has_high {
        put(inode, inode::CHECKSUM_HIGH, &[0; 2])?;
    }
    let generation: [u8; 4] = array(inode, inode::GENERATION)?;
    let sum = crc(CRC32C, crc(CRC32C, crc(CRC32C, seed, &number.to_le_bytes()), &generation), inode);
    let [a, b, c, d] = sum.to_le_bytes();
    put(inode, inode::CHECKSUM, &[a, b])?;
    if has_high {
        put(inode, inode::CHECKSUM_HIGH, &[c, d])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Tool;
    use std::path::Path;

    fn make(dir: &Path, image: &Path) {
        File::create(image).unwrap().set_len(8 << 20).unwrap();
        Tool::new("mke2fs", "e2fsprogs")
            .env("E2FSPROGS_FAKE_TIME", "1700000000")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-U", "8d7a7b38-45a5-4a0b-9a3b-1f0f5d1c2e3f"])
            .args(["-E", "hash_seed=8d7a7b38-45a5-4a0b-9a3b-1f0f5d1c2e3f,lazy_itable_init=0", "-d"])
            .arg(dir)
            .arg(image)
            .run()
            .unwrap();
    }

    #[test]
    fn two_copies_of_one_tree_become_one_image() {
        let work = tempfile::tempdir().unwrap();
        let mut images = Vec::new();
        for name in ["a", "b"] {
            let dir = work.path().join(name);
            std::fs::create_dir_all(dir.join("sub")).unwrap();
            std::fs::write(dir.join("sub/file"), "content").unwrap();
            std::os::unix::fs::symlink("file", dir.join("sub/link")).unwrap();
            let fixed = ["-h", "-m", "-d", "@1600000000"];
            let all = ["sub/file", "sub/link", "sub", "."].map(|p| dir.join(p));
            Tool::new("touch", "coreutils").args(fixed).args(all).run().unwrap();
            let image = work.path().join(format!("{name}.ext4"));
            make(&dir, &image);
            let file = File::options().read(true).write(true).open(&image).unwrap();
            settle_times(&file).unwrap();
            // A repair that fsck would make is a wrong checksum of ours: -n fails on any.
            Tool::new("e2fsck", "e2fsprogs").args(["-f", "-n"]).arg(&image).run().unwrap();
            images.push(std::fs::read(&image).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        assert!(images[0] == images[1], "the images differ");
    }

    #[test]
    fn other_bytes_are_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(settle_times(&file).is_err());
        file.set_len(1 << 20).unwrap();
        assert_eq!(settle_times(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
