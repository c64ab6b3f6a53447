//! A volume's LUKS2 header: read from the disk, judged, and compared with the digest on record, as at every boot.

use crate::clock;
use ccnode_luks_header::{Allowlist, HeaderDigest, judge, read};
use std::hint::black_box;

/// What a node formats.
const OWN: &[u8] = include_bytes!("../../../cli/tests/disk/own.img");
/// The same with a few members patched, checksums right.
const HOSTILE: &[u8] = include_bytes!("../../../cli/tests/disk/hostile.img");

/// Milliseconds.
pub(crate) struct Times {
    pub(crate) own: f64,
    /// Until it is refused.
    pub(crate) hostile: f64,
}

pub(crate) fn times() -> Times {
    let digest = HeaderDigest::of(OWN);
    let judged =
        |bytes| read(black_box(bytes), &Allowlist::VOLUME).and_then(|bytes| judge(bytes, &Allowlist::VOLUME));
    let [own, hostile] = clock::millis([
        &mut || {
            let judged = judged(OWN).expect("an acceptable header");
            black_box(judged.require_digest(&digest).expect("the header on record"));
        },
        &mut || {
            black_box(judged(HOSTILE).expect_err("a hostile header"));
        },
    ]);
    Times { own, hostile }
}
