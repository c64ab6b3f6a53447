//! Opens a volume from its judged header and proves that the kernel maps what was judged.

use std::io;
use std::path::Path;

use ccnode_luks_header::passphrase::PassphraseHeader;
use ccnode_luks_header::{Expected, Refusal, Segment, VOLUME_KEY_LEN};
use libcryptsetup_rs::CryptDevice;
use libcryptsetup_rs::consts::flags::CryptActivate;
use libcryptsetup_rs::consts::vals::EncryptionFormat;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cryptsetup::{CryptError, HeaderFile, call};
use crate::dm::{Device, DmError, Table, TableError, close, same};
#[cfg(feature = "rescue")]
use crate::keys::RecoveryKey;
use crate::keys::{UnlockKey, VolumeKey};
use crate::name::{Name, NameError};
use crate::tags::{self, Laid};

/// A volume could not be opened; nothing stays mapped.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The unlock key is not the one that wrapped this volume's key. Nothing was touched.
    #[error("the unlock key does not unwrap the volume key")]
    UnlockKeyWrong,
    /// The volume was made without custodians. Nothing was touched.
    #[error("the volume was made without custodians: it has no recovery key")]
    NoRecovery,
    /// The recovery key is not the one that wrapped this volume's key. Nothing was touched.
    #[error("the recovery key does not unwrap the volume key")]
    RecoveryKeyWrong,
    /// The passphrase opens no keyslot that it may open. Nothing was touched.
    #[error("the passphrase opens no keyslot")]
    PassphraseWrong,
    /// The unwrapped volume key is not the one that the header's digest vouches for.
    #[error("the volume key is not that of the header's digest")]
    VolumeKeyWrong,
    /// The partition holds no whole number of encryption sectors behind the header, or none.
    #[error("{path}: a length of {len} bytes does not fit encryption sectors of {sector}")]
    Length {
        /// The partition.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// The encryption sector in bytes.
        sector: u32,
    },
    /// The volume's name leaves no room for that of its tags.
    #[error(transparent)]
    Name(NameError),
    /// Memory for the header could not be had.
    #[error("the header's memory: {0}")]
    Memory(#[source] io::Error),
    /// libcryptsetup failed.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// The superblock of the tags is refused.
    #[error("tags: {0}")]
    Tags(#[from] Refusal),
    /// The superblock of the tags can't be read.
    #[error("reading the superblock of the tags: {0}")]
    Superblock(#[source] io::Error),
    /// Device-mapper or the partition failed.
    #[error(transparent)]
    Dm(#[from] DmError),
    /// The kernel maps something else than was judged.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Proof that the volume is mapped as judged.
#[derive(Debug)]
pub struct Opened {
    name: Name,
    tags: Option<Name>,
    len: u64,
    measurement: Measurement,
}

/// What identifies an opened volume in PCR 15.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The digest to extend: HMAC-SHA256 under the volume key over [`Measurement::text`].
    pub digest: [u8; 32],
    /// `cryptsetup:<name>:<uuid>`, for the event log.
    pub text: String,
}

impl Opened {
    /// The mapped device's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// /dev/mapper/NAME.
    pub fn path(&self) -> std::path::PathBuf {
        self.name.path()
    }

    /// Length in bytes of the mapped device.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the device has no byte; never so.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Unmaps the volume.
    pub fn close(self) -> Result<(), DmError> {
        close(&self.name)?;
        self.tags.as_ref().map_or(Ok(()), close)
    }

    /// What must go into PCR 15 before anything on the volume is used.
    pub fn measurement(&self) -> &Measurement {
        &self.measurement
    }
}

/// Maps the volume on the partition `device`, whose header is `header`, as /dev/mapper/`name`.
///
/// The partition's own header is not read: libcryptsetup gets the judged bytes. Afterwards the live table is
/// compared with the judgement; if it differs, the device is unmapped and the error says in what.
pub fn open(
    header: &Expected,
    device: &Path,
    unlock_key: &UnlockKey,
    name: &Name,
) -> Result<Opened, OpenError> {
    by_unlock_key(header, device, unlock_key, name, Writing::Journaled)
}

/// As [`open`], for a volume that nothing was written to yet: with tags, a power cut while it is open may leave sectors that can't be
/// read, and writing goes twice as fast. Without tags there is no difference.
pub fn open_unwritten(
    header: &Expected,
    device: &Path,
    unlock_key: &UnlockKey,
    name: &Name,
) -> Result<Opened, OpenError> {
    by_unlock_key(header, device, unlock_key, name, Writing::Direct)
}

fn by_unlock_key(
    header: &Expected,
    device: &Path,
    unlock_key: &UnlockKey,
    name: &Name,
    writing: Writing,
) -> Result<Opened, OpenError> {
    let key = VolumeKey::unwrap(&header.token().wrapped, unlock_key).ok_or(OpenError::UnlockKeyWrong)?;
    map(&Target::from(header), device, &key, name, writing)
}

/// As [`open`], by the recovery key, on a rescue machine. What a node runs is built without it.
#[cfg(any(test, feature = "rescue"))]
pub fn open_recovered(
    header: &Expected,
    device: &Path,
    recovery_key: &RecoveryKey,
    name: &Name,
) -> Result<Opened, OpenError> {
    let wrapped = header.token().recovery.as_ref().ok_or(OpenError::NoRecovery)?;
    let key = VolumeKey::unwrap(wrapped, recovery_key.bytes()).ok_or(OpenError::RecoveryKeyWrong)?;
    map(&Target::from(header), device, &key, name, Writing::Journaled)
}

/// Unmaps a volume by its name, in another process than the one that opened it; with it goes the device below that keeps its tags.
#[cfg(any(test, feature = "rescue"))]
pub fn close_volume(name: &Name) -> Result<(), DmError> {
    close(name)?;
    match tags::name(name) {
        Ok(tags) if tags.path().exists() => close(&tags),
        _ => Ok(()),
    }
}

/// Maps the volume on the partition `device`, whose header is `header`, by a passphrase of the keyslot that its token names, or of
/// any where it has none. The rest is as in [`open`].
pub fn open_by_passphrase(
    header: &PassphraseHeader,
    device: &Path,
    passphrase: &[u8],
    name: &Name,
) -> Result<Opened, OpenError> {
    let target = Target::from(header);
    let key = unlock(&target, header.clevis().map(|token| token.keyslot), passphrase)?;
    map(&target, device, &key, name, Writing::Journaled)
}

/// The volume key out of a keyslot, in memory alone; the digest has vouched for it.
fn unlock(target: &Target<'_>, keyslot: Option<u32>, passphrase: &[u8]) -> Result<VolumeKey, OpenError> {
    let (_memory, mut crypt) = load(target, None)?;
    let mut bytes = Zeroizing::new(vec![0; VOLUME_KEY_LEN]);
    let got = call("open a keyslot", || {
        crypt.volume_key_handle().get(keyslot, bytes.as_mut_slice(), Some(passphrase))
    });
    match got {
        Ok((_, VOLUME_KEY_LEN)) => Ok(VolumeKey::of(bytes)),
        Ok(_) => Err(OpenError::VolumeKeyWrong),
        Err(e) if matches!(e.errno(), Some(nix::libc::EPERM | nix::libc::ENOENT)) => {
            Err(OpenError::PassphraseWrong)
        }
        Err(e) => Err(e.into()),
    }
}

/// What is mapped, whoever judged it.
struct Target<'h> {
    bytes: &'h [u8],
    uuid: &'h str,
    segment: &'h Segment,
}

impl<'h> From<&'h Expected> for Target<'h> {
    fn from(header: &'h Expected) -> Self {
        Self { bytes: header.bytes(), uuid: header.uuid(), segment: header.segment() }
    }
}

impl<'h> From<&'h PassphraseHeader> for Target<'h> {
    fn from(header: &'h PassphraseHeader) -> Self {
        Self { bytes: header.bytes(), uuid: header.uuid(), segment: header.segment() }
    }
}

/// How sectors and their tags reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Both or neither.
    Journaled,
    /// One after the other.
    Direct,
}

fn map(
    target: &Target<'_>,
    device: &Path,
    key: &VolumeKey,
    name: &Name,
    writing: Writing,
) -> Result<Opened, OpenError> {
    let device = Device::at(device)?;
    let room = data_len(target, &device)?;
    let laid = Laid::read(&device, target.segment, room)?;
    let len = laid.as_ref().map_or(room, |laid| laid.len);
    let tags = laid.as_ref().map(|_| tags::name(name)).transpose()?;
    let (_memory, mut crypt) = load(target, Some(&device.path))?;
    call("map the volume", || {
        // No discards: they would show the host which blocks are free.
        let flags = match (&laid, writing) {
            (Some(_), Writing::Direct) => CryptActivate::NO_JOURNAL,
            _ => CryptActivate::empty(),
        };
        crypt.activate_handle().activate_by_volume_key(Some(name.as_str()), Some(key.expose()), flags)
    })
    .map_err(|e| if e.errno() == Some(nix::libc::EPERM) { OpenError::VolumeKeyWrong } else { e.into() })?;
    let verdict = verify(target, &device, (laid.as_ref(), tags.as_ref()), writing, key, name);
    if let Err(error) = verdict {
        // The first error is the one to tell; what is left mapped dies with the power-off that follows.
        let _ = close(name);
        let _ = tags.as_ref().map(close);
        return Err(error);
    }
    let text = format!("cryptsetup:{name}:{}", target.uuid);
    let digest = key.pcr15_digest(name.as_str(), target.uuid);
    Ok(Opened { name: name.clone(), tags, len, measurement: Measurement { digest, text } })
}

/// The library's handle on the judged header; the memory must outlive it.
fn load(target: &Target<'_>, data: Option<&Path>) -> Result<(HeaderFile, CryptDevice), OpenError> {
    let memory = HeaderFile::new(target.bytes, target.bytes.len() as u64).map_err(OpenError::Memory)?;
    let mut crypt = memory.device(data)?;
    call("load the header", || crypt.context_handle().load::<()>(Some(EncryptionFormat::Luks2), None))?;
    Ok((memory, crypt))
}

fn data_len(target: &Target<'_>, device: &Device) -> Result<u64, OpenError> {
    let wrong = || OpenError::Length {
        path: device.path.display().to_string(),
        len: device.len,
        sector: target.segment.sector_size,
    };
    let len = device.len.checked_sub(target.segment.offset).ok_or_else(wrong)?;
    match len > 0 && len.is_multiple_of(u64::from(target.segment.sector_size)) {
        true => Ok(len),
        false => Err(wrong()),
    }
}

/// The live tables of the volume and, where it has tags, of the device below that keeps them.
fn verify(
    target: &Target<'_>,
    device: &Device,
    (laid, tags): (Option<&Laid>, Option<&Name>),
    writing: Writing,
    key: &VolumeKey,
    name: &Name,
) -> Result<(), OpenError> {
    let table = Table::read(name)?;
    let below = match (laid, tags) {
        (Some(laid), Some(tags)) => {
            laid.compare(&Table::read(tags)?, device, writing)?;
            // What the volume lies on is that very device.
            Device { number: Device::number_of(tags)?, len: laid.len, path: tags.path() }
        }
        _ => device.clone(),
    };
    compare(&table, target, &below, key)?;
    Ok(())
}

/// dm-crypt's table line: cipher, key, IV offset, device, offset, then a count and that many options.
fn compare(table: &Table, target: &Target<'_>, device: &Device, key: &VolumeKey) -> Result<(), TableError> {
    let segment = target.segment;
    // Where there are tags, the device below is the data alone.
    let offset = if segment.integrity.kind().is_some() { 0 } else { segment.offset };
    let data = device.len.saturating_sub(offset);
    same("target", &table.kind, "crypt")?;
    same("start", table.start, 0)?;
    same("length in sectors", table.sectors, data / 512)?;
    same("read-only", table.readonly, false)?;
    let (cipher, rest) = table.params.split_once(' ').unwrap_or((&table.params, ""));
    let (found, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    same("cipher", cipher, segment.integrity.dm_cipher())?;
    if !is_key(found, target.uuid, key) {
        // Whatever stands there may be a key: it is not shown.
        return Err(TableError { field: "key", have: "another".into(), want: "the volume key".into() });
    }
    let mut options = Vec::new();
    if let Some(len) = segment.integrity.tag_len() {
        options.push(format!("integrity:{len}:aead"));
    }
    // Sectors of 512 bytes are dm-crypt's own; it does not show what was not asked for.
    if segment.sector_size != 512 {
        options.push(format!("sector_size:{}", segment.sector_size));
    }
    let mut want = format!("0 {} {}", device.number_text(), offset / 512);
    if !options.is_empty() {
        want.push_str(&format!(" {} {}", options.len(), options.join(" ")));
    }
    same("mapping", rest, want)
}

/// The key stands in the table by its name in the kernel's keyring or, where dm-crypt lacks that, in hexadecimal.
fn is_key(found: &str, uuid: &str, key: &VolumeKey) -> bool {
    let by_name = format!(":{}:logon:cryptsetup:{uuid}-d0", key.expose().len());
    let mut hex = Zeroizing::new(String::with_capacity(2 * key.expose().len()));
    for nibble in key.expose().iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        hex.extend(char::from_digit(nibble.into(), 16));
    }
    found == by_name || bool::from(found.as_bytes().ct_eq(hex.as_bytes()))
}

#[cfg(test)]
mod tests;
