//! Formats a volume in memory; the caller writes the finished bytes to the disk.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ccnode_luks_header::{
    Allowlist, CopyError, DATA_OFFSET, Expected, HEADER_LEN, HeaderDigest, Integrity, KEYSLOTS_SIZE,
    METADATA_SIZE, Refusal, SECTOR_SIZE, Token, VolumeId, judge, rebuild_secondary,
};
use libcryptsetup_rs::consts::flags::CryptPbkdf;
use libcryptsetup_rs::consts::vals::{CryptKdf, EncryptionFormat, KeyslotsSize, MetadataSize};
use libcryptsetup_rs::{CryptParamsLuks2, CryptParamsLuks2Ref, CryptPbkdfType, Either, TokenInput};

use crate::cryptsetup::{CryptError, HeaderFile, call};
use crate::keys::{RecoveryKey, UnlockKey, VolumeKey};

/// What to format.
#[derive(Debug)]
pub struct FormatSpec<'a> {
    /// UUID of the volume, canonical lower-case text; the trust service chose it.
    pub uuid: &'a str,
    /// The trust service's name for the volume.
    pub volume: &'a VolumeId,
    /// Generation of the grant, from 1.
    pub generation: u64,
    /// Wraps the volume key.
    pub unlock_key: &'a UnlockKey,
    /// A fresh key, of the length that the cipher takes.
    pub volume_key: &'a VolumeKey,
    /// Where the tags go; nothing is authenticated without.
    pub tags: Option<Tags<'a>>,
    /// Wraps the volume key once more, where somebody recovers the volume.
    pub recovery_key: Option<&'a RecoveryKey>,
}

/// Authenticated encryption, whose tags lie between the ciphertext.
#[derive(Debug, Clone, Copy)]
pub struct Tags<'a> {
    /// Which; [`Integrity::None`] is as no tags at all.
    pub integrity: Integrity,
    /// The partition of the volume: the kernel lays the tags out on it, from [`DATA_OFFSET`] on.
    pub partition: &'a Path,
}

impl FormatSpec<'_> {
    fn integrity(&self) -> Integrity {
        self.tags.map_or(Integrity::None, |tags| tags.integrity)
    }
}

/// A volume could not be formatted. Nothing was written to any disk but what lays out tags.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The grant's UUID is none.
    #[error("not a UUID: {0:?}")]
    Uuid(String),
    /// Memory for the header could not be had.
    #[error("the header's memory: {0}")]
    Memory(#[source] io::Error),
    /// libcryptsetup failed.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// The primary copy that libcryptsetup made cannot be read.
    #[error("the new header: {0}")]
    Copy(#[source] CopyError),
    /// The header that was made is not what the allowlist wants.
    #[error("the new header: {0}")]
    Refused(#[source] Refusal),
}

/// Makes the header of a new volume in memory, with our token and nothing else that opens it.
///
/// What is returned holds the bytes that must be written to the start of the partition
/// ([`ccnode_luks_header::Judged::bytes`]) and the digest that must be registered; they are never read
/// back from the disk. With tags the superblock of those is on the partition afterwards, and each of its sectors is unreadable
/// until it is first written.
pub fn format(spec: &FormatSpec<'_>) -> Result<Expected, FormatError> {
    let uuid = uuid::Uuid::parse_str(spec.uuid).ok().filter(|uuid| uuid.to_string() == spec.uuid);
    let uuid = uuid.ok_or_else(|| FormatError::Uuid(spec.uuid.chars().take(64).collect()))?;
    let memory = HeaderFile::new(&[], DATA_OFFSET + u64::from(SECTOR_SIZE)).map_err(FormatError::Memory)?;
    make(&memory, uuid, spec)?;
    let mut bytes = vec![0; HEADER_LEN];
    let used = bytes.split_at_mut(2 * METADATA_SIZE as usize).0;
    memory.file().read_exact_at(used, 0).map_err(FormatError::Memory)?;
    // The keyslots area stays zero: libcryptsetup's random filling would be bytes that nobody can judge.
    rebuild_secondary(&mut bytes).map_err(FormatError::Copy)?;
    let digest = HeaderDigest::of(&bytes);
    let judged = judge(bytes, &Allowlist::volume(spec.integrity())).map_err(FormatError::Refused)?;
    judged.require_digest(&digest).map_err(FormatError::Refused)
}

fn make(memory: &HeaderFile, uuid: uuid::Uuid, spec: &FormatSpec<'_>) -> Result<(), CryptError> {
    let integrity = spec.integrity();
    let partition = spec.tags.filter(|_| integrity.kind().is_some()).map(|tags| tags.partition);
    let mut device = memory.device(partition)?;
    call("set the data offset", || device.set_data_offset(DATA_OFFSET / 512))?;
    call("set the metadata size", || {
        let sizes = (MetadataSize::try_from(METADATA_SIZE)?, KeyslotsSize::try_from(KEYSLOTS_SIZE)?);
        device.settings_handle().set_metadata_size(sizes.0, sizes.1)
    })?;
    // The least that the library takes: the key it protects is no password but 512 random bits.
    let pbkdf = CryptPbkdfType {
        type_: CryptKdf::Pbkdf2,
        hash: Some("sha256".to_owned()),
        time_ms: 0,
        iterations: 1000,
        max_memory_kb: 0,
        parallel_threads: 0,
        flags: CryptPbkdf::NO_BENCHMARK,
    };
    call("set the key derivation", || device.settings_handle().set_pbkdf_type(&pbkdf))?;
    let params = CryptParamsLuks2 {
        pbkdf: None,
        integrity: integrity.kind().map(str::to_owned),
        integrity_params: None,
        data_alignment: 0,
        data_device: None,
        sector_size: SECTOR_SIZE,
        label: None,
        subsystem: None,
    };
    call("format", || {
        let mut params: CryptParamsLuks2Ref<'_> = (&params).try_into()?;
        let key = Either::Left(spec.volume_key.expose());
        let cipher = integrity.cipher();
        device.context_handle().format(EncryptionFormat::Luks2, cipher, Some(uuid), key, Some(&mut params))
    })?;
    let token = Token {
        volume: spec.volume.clone(),
        generation: spec.generation,
        wrapped: spec.volume_key.wrap(spec.unlock_key),
        recovery: spec.recovery_key.map(|key| spec.volume_key.wrap(key.bytes())),
    };
    call("store the token", || device.token_handle().json_set(TokenInput::AddToken(&token.to_json())))?;
    Ok(())
}
