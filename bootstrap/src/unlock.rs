//! The root volume: what may be formatted, what may be opened, and in which order bytes reach the disk.

use crate::fill::{self, FillError};
use crate::refusal::Coded;
use ccnode_evidence::{Code, Secret, Sha256Digest};
use ccnode_luks_header::mark::{self, Journal, Mark};
use ccnode_luks_header::verity::RootHash;
use ccnode_luks_header::{
    Allowlist, DATA_OFFSET, Expected, Found, HeaderDigest, Integrity, MARK_OFFSET, Refusal as HeaderRefusal,
    Role, VolumeId, find, read,
};
use ccnode_luks_volume::verity::{self, OpenedVerity, VerityOpenError};
use ccnode_luks_volume::{
    FormatError, FormatSpec, Name, OpenError, Opened, RecoveryKey, Sources, Tags, UnlockKey, VolumeKey,
    format, open, open_unwritten, renew,
};
use ccnode_protocol::grants::{self, OnForeignDisk, VolumeGrant};
use ccnode_protocol::recovery::{Custodians, Recovery};
use ccnode_recovery::{SplitError, Volume, split};
use std::fs::File;
use std::io::Seek as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Why the root volume can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The grant names no volume.
    #[error("the grant's volume: {0}")]
    Grant(#[from] ccnode_luks_header::VolumeIdError),
    /// The partition is not ours to format.
    #[error("the root partition is {0}")]
    NotBlank(String),
    /// The content does not fit.
    #[error("the root partition has room for {room} bytes, the source has {need}")]
    TooSmall {
        /// Bytes behind the header.
        room: u64,
        /// Bytes to copy.
        need: u64,
    },
    /// The header is refused.
    #[error("LUKS2 header: {0}")]
    Header(#[from] HeaderRefusal),
    /// The volume does not open.
    #[error("opening the volume: {0}")]
    Open(#[from] OpenError),
    /// The volume can't be formatted.
    #[error("formatting the volume: {0}")]
    Format(#[from] FormatError),
    /// The volume can't be wiped.
    #[error("wiping the volume: {0}")]
    Wipe(#[from] FillError),
    /// The root source does not open.
    #[error("root source: {0}")]
    Source(#[from] VerityOpenError),
    /// The recovery key can't be split.
    #[error("the recovery key: {0}")]
    Recovery(#[from] SplitError),
    /// Custodians recover the volume, or nobody does, and the configuration says otherwise.
    #[error("{0}")]
    Custodians(&'static str),
    /// No randomness from the kernel.
    #[error("no randomness from the kernel")]
    Random,
    /// The partition can't be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for UnlockError {
    fn code(&self) -> Code {
        use HeaderRefusal as H;
        match self {
            Self::Grant(_) => Code::ServiceGarbage,
            Self::NotBlank(_) => Code::DiskNotBlank,
            Self::TooSmall { .. } => Code::RootTooSmall,
            Self::Header(H::Unreadable(_)) | Self::Io { .. } => Code::DiskFailed,
            Self::Header(
                H::Truncated { .. } | H::NotLuks2 | H::Version(_) | H::Damaged { .. } | H::CopyDamaged { .. },
            ) => Code::HeaderMalformed,
            Self::Header(H::Digest { .. }) => Code::HeaderDigest,
            Self::Header(_) => Code::HeaderRefused,
            Self::Open(
                OpenError::UnlockKeyWrong | OpenError::VolumeKeyWrong | OpenError::PassphraseWrong,
            ) => Code::UnlockKeyWrong,
            Self::Open(OpenError::Table(_) | OpenError::Tags(_)) => Code::HeaderRefused,
            Self::Open(OpenError::Length { .. }) => Code::PartitionTable,
            Self::Open(_) => Code::DiskFailed,
            Self::Format(FormatError::Uuid(_)) => Code::ServiceGarbage,
            Self::Custodians(_) => Code::RecoveryMismatch,
            Self::Wipe(error) => error.code(),
            Self::Format(_) | Self::Recovery(_) | Self::Random => Code::NodeInternal,
            Self::Source(VerityOpenError::Trailer(_) | VerityOpenError::Superblock(_)) => {
                Code::VerityMismatch
            }
            Self::Source(VerityOpenError::Table(_)) => Code::VerityMismatch,
            Self::Source(_) => Code::DiskFailed,
        }
    }
}

/// Proof that the partition may be formatted under this grant: room is enough, and what is there is nobody's.
#[derive(Debug)]
pub struct Formattable {
    journal: Journal,
    /// What was there, in words.
    pub was: &'static str,
}

/// Proof that the journal mark is on the disk.
#[derive(Debug)]
pub struct Begun(Journal);

/// Looks at the mark and at the room; writes nothing.
pub fn may_format(
    root: &File,
    root_len: u64,
    source_len: u64,
    grant: &VolumeGrant,
    foreign: OnForeignDisk,
) -> Result<Formattable, UnlockError> {
    let room = root_len.saturating_sub(DATA_OFFSET);
    if room < source_len {
        return Err(UnlockError::TooSmall { room, need: source_len });
    }
    let volume: VolumeId = grant.id.parse()?;
    let mut page = [0; mark::LEN];
    root.read_exact_at(&mut page, MARK_OFFSET).map_err(io("reading the mark of the root partition"))?;
    let was = match Mark::read(&page) {
        Some(mark) if mark.permits(&volume, grant.generation) => match mark {
            Mark::Blank => "blank",
            Mark::Journal(_) => "a half-made format of this volume",
        },
        other => match foreign {
            OnForeignDisk::Wipe => "foreign, and the pool says wipe",
            OnForeignDisk::Refuse => return Err(UnlockError::NotBlank(whose(other))),
        },
    };
    let journal = Journal { volume, uuid: grant.uuid.clone(), generation: grant.generation };
    Ok(Formattable { journal, was })
}

fn whose(mark: Option<Mark>) -> String {
    match mark {
        Some(Mark::Journal(other)) => {
            format!(
                "a volume `{}` of generation {}, made under another grant",
                other.volume, other.generation
            )
        }
        _ => "neither blank nor a half-made format".to_owned(),
    }
}

/// Writes the journal mark, before the first byte of the format.
pub fn begin_format(root: &File, may: Formattable) -> Result<Begun, UnlockError> {
    let page = Mark::Journal(may.journal.clone()).encode();
    root.write_all_at(&page, MARK_OFFSET)
        .and_then(|()| root.sync_all())
        .map_err(io("writing the mark of the root partition"))?;
    Ok(Begun(may.journal))
}

/// A header that is on the disk, and the sealed shares of its recovery key, where there are custodians.
#[derive(Debug)]
pub struct Made {
    /// The header.
    pub header: Expected,
    /// The shares; the key itself is gone.
    pub recovery: Option<Recovery>,
}

/// Makes the volume key and the header in memory and writes the header.
pub fn write_format(
    (root, partition): (&File, &Path),
    begun: &Begun,
    unlock_key: &UnlockKey,
    sources: &Sources,
    rules: Rules<'_>,
) -> Result<Made, UnlockError> {
    let Journal { volume, uuid, generation } = &begun.0;
    let volume_key = VolumeKey::generate(sources, rules.integrity);
    let recovery = rules.custodians.map(|custodians| (custodians, RecoveryKey::generate(sources)));
    let header = format(&FormatSpec {
        uuid,
        volume,
        generation: *generation,
        unlock_key,
        volume_key: &volume_key,
        tags: Some(Tags { integrity: rules.integrity, partition }),
        recovery_key: recovery.as_ref().map(|(_, (key, _))| key),
    })?;
    finish(root, begun, header, recovery)
}

/// A recovery key, the seed that splits it, and who gets the shares.
type Recovers<'a> = (&'a Custodians, (RecoveryKey, Zeroizing<[u8; 32]>));

/// Seals the shares and writes the header.
fn finish(
    root: &File,
    begun: &Begun,
    header: Expected,
    recovery: Option<Recovers<'_>>,
) -> Result<Made, UnlockError> {
    let Journal { volume, uuid, generation } = &begun.0;
    let of = Volume { id: volume.as_str(), uuid, generation: *generation };
    let recovery =
        recovery.map(|(custodians, (key, seed))| split(key.bytes(), seed, &of, custodians)).transpose()?;
    root.write_all_at(header.bytes(), 0)
        .and_then(|()| root.sync_all())
        .map_err(io("writing the LUKS2 header"))?;
    Ok(Made { header, recovery })
}

/// The volume that an earlier boot formatted and did not get ready, taken over under this grant with the same volume key, so that
/// tags that were written stay good, and with another recovery key; none where the disk does not hold it as the service has it on record.
pub fn take_over(
    root: &File,
    begun: &Begun,
    before: &grants::Begun,
    unlock_key: &UnlockKey,
    sources: &Sources,
    rules: Rules<'_>,
) -> Result<Option<Made>, UnlockError> {
    // Whoever had a share of this volume key keeps it: others make the volume anew.
    if before.holders != rules.custodians.map(Custodians::holders) {
        return Ok(None);
    }
    let Ok(found) = read_header(root, &[before.header_digest], rules) else { return Ok(None) };
    let recovery = rules.custodians.map(|custodians| (custodians, RecoveryKey::generate(sources)));
    let key = recovery.as_ref().map(|(_, (key, _))| key);
    let Ok(header) = renew(found.header(), unlock_key, key) else { return Ok(None) };
    let Journal { volume, uuid, generation } = &begun.0;
    if (&header.token().volume, header.uuid(), header.token().generation) != (volume, uuid, *generation) {
        return Ok(None);
    }
    finish(root, begun, header, recovery).map(Some)
}

/// Randomness for a volume key: the kernel's, the service's, the TPM's.
pub fn sources(service: &Secret<32>, tpm: &[u8]) -> Result<Sources, UnlockError> {
    let mut kernel = Zeroizing::new([0; 64]);
    getrandom::fill(kernel.as_mut()).map_err(|_| UnlockError::Random)?;
    let tpm = <[u8; 32]>::try_from(tpm).map_err(|_| UnlockError::Random)?;
    Ok(Sources { kernel, service: Zeroizing::new(*service.expose()), tpm: Zeroizing::new(tpm) })
}

/// What the measured configuration says of a volume.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// How changed ciphertext is noticed.
    pub integrity: Integrity,
    /// Who recovers it.
    pub custodians: Option<&'a Custodians>,
}

/// Reads the header once, judges it, and demands a registered digest; of a damaged copy the other stands in. Integrity protection, and
/// whether custodians recover the volume, must be what the measured configuration says.
pub fn read_header(root: &File, registered: &[Sha256Digest], rules: Rules<'_>) -> Result<Found, UnlockError> {
    let allow = Allowlist::volume(rules.integrity);
    let mut root = root;
    root.rewind().map_err(io("reading the LUKS2 header"))?;
    let registered: Vec<_> = registered.iter().map(|digest| HeaderDigest(digest.0)).collect();
    let found = find(read(root, &allow)?, &allow, &registered)?;
    match (found.header().token().recovery.is_some(), rules.custodians.is_some()) {
        (true, false) => Err(UnlockError::Custodians(
            "the volume has a recovery key, and this image's [recovery] names no custodians",
        )),
        (false, true) => Err(UnlockError::Custodians(
            "the volume was made without a recovery key, and this image's [recovery] names custodians",
        )),
        _ => Ok(found),
    }
}

/// Writes the copy anew that the disk holds otherwise, and says which.
pub fn mend(root: &File, found: &Found) -> Result<Option<Role>, UnlockError> {
    let Some((role, offset, copy)) = found.mend() else { return Ok(None) };
    root.write_all_at(copy, offset)
        .and_then(|()| root.sync_all())
        .map_err(io("writing a copy of the LUKS2 header anew"))?;
    Ok(Some(role))
}

/// Maps the volume as /dev/mapper/`name`.
pub fn open_volume(
    header: &Expected,
    root: &Path,
    unlock_key: &UnlockKey,
    name: &Name,
) -> Result<Opened, UnlockError> {
    Ok(open(header, root, unlock_key, name)?)
}

/// Writes every sector of a volume with tags once, from byte `from` on, where it has room for `need` bytes, for a sector that was never written can't be read.
///
/// With `resume` it goes on where an earlier boot was cut short. `progress` is told the bytes done and all. Returns where it began.
pub fn wipe(
    header: &Expected,
    root: &Path,
    unlock_key: &UnlockKey,
    name: &Name,
    (from, need, resume): (u64, u64, bool),
    progress: impl FnMut(u64, u64),
) -> Result<u64, UnlockError> {
    let opened = open_unwritten(header, root, unlock_key, name)?;
    // Tags take of the room that the partition has.
    let room = opened.len();
    let wiped = match room < need {
        true => Err(UnlockError::TooSmall { room, need }),
        false => fill::wipe(&opened.path(), from, room, resume, progress).map_err(UnlockError::from),
    };
    opened.close().map_err(OpenError::from)?;
    wiped
}

/// Maps the root source under dm-verity as /dev/mapper/`name`.
pub fn open_source(source: &Path, hash: &RootHash, name: &Name) -> Result<OpenedVerity, UnlockError> {
    Ok(verity::open(source, hash, name)?)
}

/// The root partition, for the steps above.
pub fn open_partition(path: &Path, write: bool) -> Result<File, UnlockError> {
    File::options().read(true).write(write).open(path).map_err(io("opening the root partition"))
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> UnlockError {
    move |source| UnlockError::Io { what, source }
}

#[cfg(test)]
mod tests;
