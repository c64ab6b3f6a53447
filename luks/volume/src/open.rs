//! Opens a volume from its judged header and proves that the kernel maps what was judged.

use std::io;
use std::path::Path;

use ccnode_luks_header::{Expected, SECTOR_SIZE};
use libcryptsetup_rs::CryptDevice;
use libcryptsetup_rs::consts::flags::CryptActivate;
use libcryptsetup_rs::consts::vals::EncryptionFormat;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::cryptsetup::{CryptError, HeaderFile, call};
use crate::dm::{Device, DmError, Table, TableError, close, same};
use crate::keys::{UnlockKey, VolumeKey};
use crate::name::Name;

/// A volume could not be opened; nothing stays mapped.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The unlock key is not the one that wrapped this volume's key. Nothing was touched.
    #[error("the unlock key does not unwrap the volume key")]
    UnlockKeyWrong,
    /// The unwrapped volume key is not the one that the header's digest vouches for.
    #[error("the volume key is not that of the header's digest")]
    VolumeKeyWrong,
    /// The partition holds no whole number of encryption sectors behind the header, or none.
    #[error("{path}: a length of {len} bytes does not fit encryption sectors of {SECTOR_SIZE}")]
    Length {
        /// The partition.
        path: String,
        /// Its length in bytes.
        len: u64,
    },
    /// Memory for the header could not be had.
    #[error("the header's memory: {0}")]
    Memory(#[source] io::Error),
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

/// Proof that the volume is mapped as judged.
#[derive(Debug)]
pub struct Opened {
    name: Name,
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
    let key = VolumeKey::unwrap(&header.token().wrapped, unlock_key).ok_or(OpenError::UnlockKeyWrong)?;
    let device = Device::at(device)?;
    let len = data_len(header, &device)?;
    let (_memory, mut crypt) = load(header, Some(&device.path))?;
    call("map the volume", || {
        // No discards: they would show the host which blocks are free.
        let flags = CryptActivate::empty();
        crypt.activate_handle().activate_by_volume_key(Some(name.as_str()), Some(key.expose()), flags)
    })
    .map_err(|e| if e.errno() == Some(nix::libc::EPERM) { OpenError::VolumeKeyWrong } else { e.into() })?;
    let verdict = Table::read(name).map_err(OpenError::from).and_then(|table| {
        compare(&table, header, &device, &key)?;
        Ok(())
    });
    if let Err(error) = verdict {
        // The first error is the one to tell; what is left mapped dies with the power-off that follows.
        let _ = close(name);
        return Err(error);
    }
    let text = format!("cryptsetup:{name}:{}", header.uuid());
    let digest = key.pcr15_digest(name.as_str(), header.uuid());
    Ok(Opened { name: name.clone(), len, measurement: Measurement { digest, text } })
}

/// The library's handle on the judged header; the memory must outlive it.
fn load(header: &Expected, data: Option<&Path>) -> Result<(HeaderFile, CryptDevice), OpenError> {
    let memory = HeaderFile::new(header.bytes(), header.bytes().len() as u64).map_err(OpenError::Memory)?;
    let mut crypt = memory.device(data)?;
    call("load the header", || crypt.context_handle().load::<()>(Some(EncryptionFormat::Luks2), None))?;
    Ok((memory, crypt))
}

fn data_len(header: &Expected, device: &Device) -> Result<u64, OpenError> {
    let wrong = || OpenError::Length { path: device.path.display().to_string(), len: device.len };
    let len = device.len.checked_sub(header.segment().offset).ok_or_else(wrong)?;
    match len > 0 && len.is_multiple_of(u64::from(header.segment().sector_size)) {
        true => Ok(len),
        false => Err(wrong()),
    }
}

/// dm-crypt's table line: cipher, key, IV offset, device, offset, then a count and that many options.
fn compare(table: &Table, header: &Expected, device: &Device, key: &VolumeKey) -> Result<(), TableError> {
    let segment = header.segment();
    let data = device.len.saturating_sub(segment.offset);
    same("target", &table.kind, "crypt")?;
    same("start", table.start, 0)?;
    same("length in sectors", table.sectors, data / 512)?;
    same("read-only", table.readonly, false)?;
    let (cipher, rest) = table.params.split_once(' ').unwrap_or((&table.params, ""));
    let (found, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    same("cipher", cipher, segment.cipher)?;
    if !is_key(found, header.uuid(), key) {
        // Whatever stands there may be a key: it is not shown.
        return Err(TableError { field: "key", have: "another".into(), want: "the volume key".into() });
    }
    let sector = format!("sector_size:{}", segment.sector_size);
    let want = format!("0 {} {} 1 {sector}", device.number_text(), segment.offset / 512);
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
