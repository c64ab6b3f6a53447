//! A root that lasts one boot: key and header in memory alone, so that nothing on the disk leads to its content afterwards.

use crate::unlock::{UnlockError, open_partition};
use ccnode_evidence::Secret;
use ccnode_luks_header::mark::{self, Mark};
use ccnode_luks_header::{DATA_OFFSET, Expected, MARK_OFFSET};
use ccnode_luks_volume::{FormatSpec, Sources, Tags, UnlockKey, VolumeKey, format};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Proof that the partition may hold a root of one boot: room is enough, and it bears the blank mark.
#[derive(Debug)]
pub struct Usable(());

/// A header that is nowhere but here, and the key that opens it.
#[derive(Debug)]
pub struct Made {
    /// The header.
    pub header: Expected,
    /// Its unlock key.
    pub unlock_key: UnlockKey,
}

/// Looks at the mark and at the room; writes nothing. The mark stays: a later boot finds the partition as blank as this one.
pub fn may_use(path: &Path, len: u64, source_len: u64) -> Result<Usable, UnlockError> {
    let room = len.saturating_sub(DATA_OFFSET);
    if room < source_len {
        return Err(UnlockError::TooSmall { room, need: source_len });
    }
    let root: File = open_partition(path, false)?;
    let mut page = [0; mark::LEN];
    let what = "reading the mark of the root partition";
    root.read_exact_at(&mut page, MARK_OFFSET).map_err(|source| UnlockError::Io { what, source })?;
    match Mark::read(&page) {
        Some(Mark::Blank) => Ok(Usable(())),
        Some(Mark::Journal(other)) => {
            let whose = format!("a volume `{}` that persists, and this boot's root does not", other.volume);
            Err(UnlockError::NotBlank(whose))
        }
        None => Err(UnlockError::NotBlank("not blank".to_owned())),
    }
}

/// Randomness for the key: the kernel's, the service's, and the TPM's where there is one.
pub fn sources(service: &Secret<32>, tpm: Option<&[u8]>) -> Result<Sources, UnlockError> {
    let mut kernel = Zeroizing::new([0; 64]);
    getrandom::fill(kernel.as_mut()).map_err(|_| UnlockError::Random)?;
    let tpm = match tpm {
        Some(bytes) => <[u8; 32]>::try_from(bytes).map_err(|_| UnlockError::Random)?,
        None => [0; 32],
    };
    Ok(Sources { kernel, service: Zeroizing::new(*service.expose()), tpm: Zeroizing::new(tpm) })
}

/// Makes key and header, both in memory.
pub fn make(_usable: Usable, sources: &Sources, tags: Tags<'_>) -> Result<Made, UnlockError> {
    let mut unlock_key = Zeroizing::new([0; 32]);
    getrandom::fill(unlock_key.as_mut()).map_err(|_| UnlockError::Random)?;
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid).map_err(|_| UnlockError::Random)?;
    let header = format(&FormatSpec {
        uuid: &uuid::Builder::from_random_bytes(uuid).into_uuid().to_string(),
        volume: &"ephemeral".parse()?,
        generation: 1,
        unlock_key: &unlock_key,
        volume_key: &VolumeKey::generate(sources, tags.integrity),
        tags: Some(tags),
        recovery_key: None,
    })?;
    Ok(Made { header, unlock_key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Coded as _;
    use ccnode_evidence::Code;
    use ccnode_luks_header::Integrity;
    use ccnode_luks_header::mark::Journal;

    const MIB: u64 = 1 << 20;

    fn partition(page: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 * MIB).unwrap();
        file.as_file().write_all_at(page, MARK_OFFSET).unwrap();
        file
    }

    #[test]
    fn t03_only_a_blank_partition_is_used() {
        let journal = Mark::Journal(Journal {
            volume: "workers-a/root".parse().unwrap(),
            uuid: "28632274-8c8a-493f-835b-da802e1c576b".into(),
            generation: 1,
        });
        may_use(partition(&mark::blank()).path(), 8 * MIB, 7 * MIB).unwrap();
        for page in [journal.encode().to_vec(), vec![0; mark::LEN], vec![7; mark::LEN]] {
            let error = may_use(partition(&page).path(), 8 * MIB, MIB).unwrap_err();
            assert_eq!(error.code(), Code::DiskNotBlank, "{error}");
        }
    }

    #[test]
    fn room_is_needed() {
        let blank = partition(&mark::blank());
        let error = may_use(blank.path(), 8 * MIB, 7 * MIB + 1).unwrap_err();
        assert_eq!(error.code(), Code::RootTooSmall, "{error}");
        let gone = may_use(Path::new("/nowhere"), 8 * MIB, MIB).unwrap_err();
        assert_eq!(gone.code(), Code::DiskFailed, "{gone}");
    }

    #[test]
    fn t29_two_boots_have_nothing_in_common() {
        let blank = partition(&mark::blank());
        let before = std::fs::read(blank.path()).unwrap();
        let made = || {
            let usable = may_use(blank.path(), 8 * MIB, MIB).unwrap();
            // The service and the TPM say the same each time.
            let tags = Tags { integrity: Integrity::None, partition: blank.path() };
            make(usable, &sources(&Secret::new([1; 32]), Some(&[2; 32])).unwrap(), tags).unwrap()
        };
        let (a, b) = (made(), made());
        assert_ne!(a.unlock_key, b.unlock_key);
        assert_ne!(a.header.bytes(), b.header.bytes());
        // Nothing of it is on the disk.
        assert_eq!(std::fs::read(blank.path()).unwrap(), before);
    }

    #[test]
    fn t29_each_source_counts() {
        let of = |service, tpm: Option<&[u8]>| sources(&Secret::new([service; 32]), tpm).unwrap();
        let (plain, with) = (of(1, None), of(1, Some(&[3; 32])));
        assert_ne!(plain.kernel, with.kernel);
        assert_eq!((*plain.service, *plain.tpm, *with.tpm), ([1; 32], [0; 32], [3; 32]));
        assert!(matches!(sources(&Secret::new([1; 32]), Some(&[3; 31])), Err(UnlockError::Random)));
    }
}
