//! Volumes through libcryptsetup and device-mapper: formatted, opened from a judged header, checked afterwards.
//!
//! libcryptsetup never sees a header that was not judged: it works on a copy in memory, and reads of the disk
//! only ciphertext. The way of a volume is [`format()`] (once), [`open`], and [`rewrap`] where its unlock key
//! changes; the source of a root is opened by
//! [`verity::open`]. `DM_DISABLE_UDEV=1` must be set where no udev runs, and /proc mounted.

mod cryptsetup;
mod dm;
mod format;
mod keys;
mod name;
mod open;
mod rewrap;
mod tags;
pub mod verity;

pub use cryptsetup::CryptError;
pub use dm::{Device, DmError, TableError, close};
pub use format::{FormatError, FormatSpec, Tags, format};
pub use keys::{RecoveryKey, Sources, UnlockKey, VolumeKey};
pub use name::{Name, NameError};
pub use open::{Measurement, OpenError, Opened, open, open_by_passphrase, open_unwritten};
#[cfg(any(test, feature = "rescue"))]
pub use open::{close_volume, open_recovered};
pub use rewrap::{RewrapError, renew, rewrap};
