//! An attacker's hands: change the UKI on a disk so that it still boots, or its LUKS2 header so that its checksum is right.

use anyhow::{Context as _, Result, ensure};
use ccnode_evidence::Sha256Digest;
use ccnode_images::uki::Uki;
use ccnode_vm_harness::Image;

/// Where firmware looks for the UKI on the ESP.
pub const UKI: &str = "EFI/BOOT/BOOTX64.EFI";
/// The data file in which [`initramfs`] changes one byte.
pub const DATA_FILE: &str = "etc/ccnode/build-time";

/// Appends to the command line inside the UKI.
///
/// # Errors
/// When the disk's UKI can't be read or written.
pub fn cmdline(disk: &Image, more: &str) -> Result<()> {
    change(disk, |uki| {
        let old = uki.section(".cmdline").context("a UKI without .cmdline")?.to_vec();
        let text = String::from_utf8(old)?;
        let kept = text.trim_end_matches(['\0', '\n', ' ']);
        uki.set(".cmdline", format!("{kept} {more}").into_bytes());
        Ok(())
    })
}

/// Changes one byte of [`DATA_FILE`] in the initramfs and packs it again.
///
/// # Errors
/// When the disk's UKI can't be read or written, or has no such file.
pub fn initramfs(disk: &Image) -> Result<()> {
    change(disk, |uki| {
        let packed = uki.section(".initrd").context("a UKI without .initrd")?;
        let mut cpio = zstd::decode_all(packed).context("the initramfs is not zstd")?;
        let name = format!("{DATA_FILE}\0");
        let at = cpio.windows(name.len()).position(|w| w == name.as_bytes()).context("no such data file")?;
        // newc: the name and then the content are padded to four bytes, counted from the archive's start.
        let content = (at + name.len()).next_multiple_of(4);
        // The seconds' last digit: nothing behaves differently for it.
        let rest = cpio.get_mut(content..).context("the archive ends early")?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        ensure!(digits > 0, "{DATA_FILE} does not begin with a digit");
        let byte = rest.get_mut(digits - 1).context("the archive ends early")?;
        *byte = if *byte == b'1' { b'2' } else { b'1' };
        uki.set(".initrd", zstd::encode_all(cpio.as_slice(), 3)?);
        Ok(())
    })
}

/// Replaces the UKI whole.
///
/// # Errors
/// When the ESP can't be written.
pub fn replace(disk: &Image, uki: &[u8]) -> Result<()> {
    disk.fat_write(&disk.partition("esp")?, UKI, uki)
}

/// Changes the generation in the copy of the root's LUKS2 header that begins at `offset`, checksum and all.
///
/// # Errors
/// When the disk has no such copy.
pub fn header_copy(disk: &Image, offset: u64) -> Result<()> {
    const GENERATION: &[u8] = b"\"generation\":";
    let root = disk.partition("root")?;
    let mut copy = disk.read_at(&root, offset, 0x4000)?;
    let at = copy.windows(GENERATION.len()).position(|w| w == GENERATION).context("no generation")?;
    let digit = copy.get_mut(at + GENERATION.len()).context("no generation")?;
    *digit = if *digit == b'9' { b'8' } else { b'9' };
    copy.get_mut(448..512).context("a short copy")?.fill(0);
    let sum = Sha256Digest::of(&copy);
    copy.get_mut(448..480).context("a short copy")?.copy_from_slice(&sum.0);
    disk.patch(&root, offset, &copy)
}

fn change(disk: &Image, edit: impl FnOnce(&mut Uki) -> Result<()>) -> Result<()> {
    let bytes = disk.fat_read(&disk.partition("esp")?, UKI)?;
    let mut uki = Uki::parse(&bytes)?;
    edit(&mut uki)?;
    replace(disk, &uki.to_bytes()?)
}
