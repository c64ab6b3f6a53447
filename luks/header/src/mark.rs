//! The page before the ciphertext that says what a partition is: blank, or half-way through a format.
//!
//! Layout, big-endian: magic (16 bytes), generation (8), UUID as text (36), zeros (4), volume id padded with
//! zeros (64), zeros, SHA-256 over all that (bytes 480 to 511), zeros. The blank mark is magic, zeros, SHA-256, zeros.
//! All that tells two marks apart lies in the first 512 bytes, which a disk writes whole or not at all: where the power
//! is cut while one mark replaces another, the page is one of the two.

use sha2::{Digest, Sha256};

use crate::VolumeId;

/// Length in bytes of a mark.
pub const LEN: usize = 4096;

const BLANK: [u8; 16] = *b"ccnode-blank/1\0\0";
const FORMAT: [u8; 16] = *b"ccnode-format/1\0";
/// The least that a disk writes at once.
const SECTOR: usize = 512;
const SUM: usize = SECTOR - 32;

/// What a mark says about its partition. Anything else there is foreign and never touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The image builder left this partition to be formatted.
    Blank,
    /// A format of this volume was begun; nothing on the partition is worth keeping for others.
    Journal(Journal),
}

/// Whose format was begun. It is written, and flushed, before the first byte of the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The trust service's name for the volume.
    pub volume: VolumeId,
    /// UUID of the volume, canonical lower-case text.
    pub uuid: String,
    /// Generation of the grant.
    pub generation: u64,
}

/// The mark that image builders write.
pub fn blank() -> [u8; LEN] {
    Mark::Blank.encode()
}

impl Mark {
    /// Reads a page strictly: one changed bit, and it is no mark.
    pub fn read(page: &[u8; LEN]) -> Option<Self> {
        let (magic, rest) = page.split_first_chunk::<16>()?;
        let mark = match *magic {
            BLANK => Mark::Blank,
            FORMAT => {
                let (generation, rest) = rest.split_first_chunk::<8>()?;
                let (uuid, rest) = rest.split_first_chunk::<36>()?;
                let (volume, _) = rest.get(4..)?.split_first_chunk::<64>()?;
                let volume = volume.split(|b| *b == 0).next()?;
                Mark::Journal(Journal {
                    volume: std::str::from_utf8(volume).ok()?.parse().ok()?,
                    uuid: std::str::from_utf8(uuid).ok()?.to_owned(),
                    generation: u64::from_be_bytes(*generation),
                })
            }
            _ => return None,
        };
        // Encoding again covers the checksum, the zeros and every length at once.
        (mark.encode() == *page).then_some(mark)
    }

    /// Whether a grant to format `volume` at `generation` may use a partition with this mark: a blank one, or one on
    /// which a format of this very volume was begun, under this grant or an earlier one.
    pub fn permits(&self, volume: &VolumeId, generation: u64) -> bool {
        match self {
            Mark::Blank => true,
            Mark::Journal(journal) => journal.volume == *volume && journal.generation <= generation,
        }
    }

    /// The page of this mark.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = Vec::with_capacity(LEN);
        match self {
            Mark::Blank => bytes.extend(BLANK),
            Mark::Journal(journal) => {
                bytes.extend(FORMAT);
                bytes.extend(journal.generation.to_be_bytes());
                let mut field = |text: &str, len| {
                    bytes.extend(text.bytes().chain(std::iter::repeat(0)).take(len));
                };
                field(&journal.uuid, 36);
                field("", 4);
                field(journal.volume.as_str(), VolumeId::MAX);
            }
        }
        bytes.resize(SUM, 0);
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        bytes.resize(LEN, 0);
        let mut page = [0; LEN];
        page.copy_from_slice(&bytes);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Mark {
        Mark::Journal(Journal {
            volume: "v".repeat(64).parse().unwrap(),
            uuid: "28632274-8c8a-493f-835b-da802e1c576b".into(),
            generation: u64::MAX - 1,
        })
    }

    #[test]
    fn marks_survive_the_way_to_the_disk_and_back() {
        assert_eq!(Mark::read(&blank()), Some(Mark::Blank));
        assert_eq!(Mark::read(&journal().encode()), Some(journal()));
    }

    #[test]
    fn the_layout_is_fixed() {
        let page = blank();
        assert!(page.starts_with(b"ccnode-blank/1\0"));
        assert!(page[15..SUM].iter().all(|b| *b == 0));
        assert_eq!(page[SUM..SECTOR], Sha256::digest(&page[..SUM])[..]);
        assert!(page[SECTOR..].iter().all(|b| *b == 0));
        let page = journal().encode();
        assert!(page.starts_with(b"ccnode-format/1\0\xff\xff\xff\xff\xff\xff\xff\xfe28632274-"));
    }

    #[test]
    fn t03_only_a_blank_or_own_half_made_partition_is_formatted() {
        let (ours, other) = ("a/root".parse().unwrap(), "b/root".parse().unwrap());
        let begun = |volume: &VolumeId, generation| {
            let uuid = "28632274-8c8a-493f-835b-da802e1c576b".into();
            Mark::Journal(Journal { volume: volume.clone(), uuid, generation })
        };
        assert!(Mark::Blank.permits(&ours, 1));
        assert!(begun(&ours, 2).permits(&ours, 2));
        assert!(begun(&ours, 1).permits(&ours, 2));
        assert!(!begun(&ours, 3).permits(&ours, 2));
        assert!(!begun(&other, 2).permits(&ours, 2));
        // A volume that someone formatted before bears no mark at all.
        assert_eq!(Mark::read(&[0; LEN]), None);
        let mut luks = [0; LEN];
        luks[..6].copy_from_slice(b"LUKS\xba\xbe");
        assert_eq!(Mark::read(&luks), None);
    }

    #[test]
    fn a_power_cut_while_marks_change_leaves_one_of_the_two() {
        let later = Mark::Journal(Journal {
            volume: "v".repeat(64).parse().unwrap(),
            uuid: "00000000-8c8a-493f-835b-da802e1c576b".into(),
            generation: u64::MAX,
        });
        for (old, new) in [(Mark::Blank, journal()), (journal(), later)] {
            // Sectors reach the disk in any order, each whole.
            for written in 0..1u32 << (LEN / SECTOR) {
                let mut page = old.encode();
                for (n, sector) in new.encode().chunks_exact(SECTOR).enumerate() {
                    if written >> n & 1 == 1 {
                        page[n * SECTOR..][..SECTOR].copy_from_slice(sector);
                    }
                }
                let read = Mark::read(&page);
                assert!(read.as_ref() == Some(&old) || read.as_ref() == Some(&new), "{written:#b}: {read:?}");
            }
        }
    }

    #[test]
    fn one_changed_bit_makes_it_no_mark() {
        for page in [blank(), journal().encode()] {
            for at in 0..LEN {
                let mut page = page;
                page[at] ^= 1;
                assert_eq!(Mark::read(&page), None, "byte {at}");
            }
        }
        assert_eq!(Mark::read(&[0; LEN]), None);
    }

    #[test]
    fn a_right_checksum_does_not_excuse_a_wrong_page() {
        let forge = |at: usize, byte: u8| {
            let mut page = journal().encode();
            page[at] = byte;
            let sum = Sha256::digest(&page[..SUM]);
            page[SUM..SECTOR].copy_from_slice(&sum);
            Mark::read(&page)
        };
        assert_eq!(forge(60, 1), None);
        assert_eq!(forge(64, 0), None);
        assert_eq!(forge(64, b' '), None);
        assert_eq!(forge(200, 1), None);
        assert_eq!(forge(SECTOR, 1), None);
        assert_eq!(forge(LEN - 1, 1), None);
        assert_eq!(forge(24, 0xff), None);
        assert!(forge(64, b'w').is_some());
    }
}
