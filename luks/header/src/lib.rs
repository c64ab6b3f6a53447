//! LUKS2 headers as hostile input: parsed in memory, judged by an allowlist, pinned by a digest.
//!
//! Nothing here does I/O beyond [`std::io::Read`], and nothing links C. The way of a header is
//! [`read`] once → [`judge`] → [`Judged::require_digest`] → [`Expected`]; only an [`Expected`] is
//! ever handed to the code that opens a volume. [`find()`] goes it for a disk one of whose copies is damaged, too. Format: LUKS2 On-Disk Format Specification 1.1.
//!
//! The partition of a volume, in bytes:
//!
//! | from | to | what |
//! |---|---|---|
//! | 0 | 0x4000 | primary binary header and JSON area |
//! | 0x4000 | 0x8000 | secondary binary header and JSON area |
//! | 0x8000 | [`HEADER_LEN`] | keyslots area, empty: the volume key is wrapped in our token |
//! | [`MARK_OFFSET`] | [`DATA_OFFSET`] | one page: a [`mark::Mark`] or nothing |
//! | [`DATA_OFFSET`] | end | ciphertext |

mod allow;
mod binary;
mod copies;
mod escape;
mod find;
pub mod inspect;
pub mod integrity;
mod json;
mod judge;
mod keyslots;
pub mod mark;
mod metadata;
pub mod passphrase;
mod reasons;
mod refusal;
mod retoken;
pub mod template;
mod token;
pub mod verity;

pub use allow::{Allowlist, Argon2, Foreign, Keyslots};
pub use binary::{BinaryHeader, CopyError, Role};
pub use copies::{Copies, Header, ParseError, rebuild_secondary};
pub use find::{Found, find};
pub use integrity::Integrity;
pub use judge::{Expected, HeaderDigest, Judged, Segment, examine, judge, read};
pub use metadata::{Invalid, Problem};
pub use refusal::{Kind, Refusal, Rule};
pub use retoken::retoken;
pub use token::{TOKEN_TYPE, Token, TokenError, VolumeId, VolumeIdError, WRAP};

/// Size in bytes of one metadata copy (binary header and JSON area).
pub const METADATA_SIZE: u64 = 0x4000;
/// Size in bytes of the keyslots area; LUKS2 knows no smaller one than a page.
pub const KEYSLOTS_SIZE: u64 = 0x1000;
/// Length in bytes of everything that is written, judged and digested as the header.
pub const HEADER_LEN: usize = 0x9000;
/// Byte offset on the partition of the page that holds a [`mark::Mark`].
pub const MARK_OFFSET: u64 = DATA_OFFSET - mark::LEN as u64;
/// Byte offset on the partition of the first ciphertext byte.
pub const DATA_OFFSET: u64 = 0x10_0000;
/// Encryption sector in bytes; the partition's length must be a multiple of it.
pub const SECTOR_SIZE: u32 = 4096;
/// Length in bytes of the volume key where nothing is authenticated: two AES-256 keys of XTS.
pub const VOLUME_KEY_LEN: usize = 64;

const _: () = assert!(HEADER_LEN as u64 == 2 * METADATA_SIZE + KEYSLOTS_SIZE);
const _: () = assert!(HEADER_LEN as u64 <= MARK_OFFSET);
