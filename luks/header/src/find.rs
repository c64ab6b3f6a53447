//! A registered header as a disk holds it: whole, or with one copy damaged and made again from the other.

use crate::allow::Allowlist;
use crate::binary::{Role, checksum_matches};
use crate::copies;
use crate::judge::{Expected, HeaderDigest, Judged, judge};
use crate::refusal::Refusal;

/// A registered header, and what of the disk differs from it.
#[derive(Debug, Clone)]
pub struct Found {
    header: Expected,
    mend: Option<(Role, u64)>,
}

impl Found {
    /// The header as it was registered.
    pub fn header(&self) -> &Expected {
        &self.header
    }

    /// The header alone.
    pub fn into_header(self) -> Expected {
        self.header
    }

    /// The copy that the disk holds otherwise: which, its byte offset, and the bytes that belong there.
    pub fn mend(&self) -> Option<(Role, u64, &[u8])> {
        let (role, size) = self.mend?;
        let copy = copy(self.header.bytes(), role, size)?;
        Some((role, role.at(size), copy))
    }
}

/// Judges `bytes`, the header from [`crate::read`], and demands one of the digests `wanted`.
///
/// Where one copy is damaged, it is made again from the other; what comes of it is judged as a whole and must have a wanted
/// digest, so that nothing is believed but the very bytes that were registered. Damaged is a copy whose checksum is wrong. One
/// whose checksum is right was written by somebody to say something else, and is refused; but where several headers are
/// wanted, each copy may belong to another of them: then one was about to take the other's place, and the primary counts.
pub fn find(bytes: Vec<u8>, allow: &Allowlist, wanted: &[HeaderDigest]) -> Result<Found, Refusal> {
    let reason = match judge(bytes.clone(), allow) {
        Ok(judged) => return expected(judged, wanted).map(|header| Found { header, mend: None }),
        Err(reason) => reason,
    };
    // Something else has taken the place of the header: it is not written over.
    if reason == Refusal::NotLuks2 {
        return Err(reason);
    }
    let size = allow.metadata_size;
    let mut judged = None;
    for role in [Role::Secondary, Role::Primary] {
        let Some(whole) = rebuilt(&bytes, allow, role) else { continue };
        let damaged = copy(&bytes, role, size).is_none_or(|copy| !checksum_matches(copy));
        let replaced =
            || rebuilt(&bytes, allow, role.other()).is_some_and(|other| wanted.contains(&other.digest()));
        match expected(whole, wanted) {
            Ok(header) if damaged || replaced() => return Ok(Found { header, mend: Some((role, size)) }),
            Err(unexpected) if damaged => judged = Some(unexpected),
            _ => {}
        }
    }
    Err(judged.unwrap_or(reason))
}

/// The header with the copy `role` made from the other, if that is acceptable.
fn rebuilt(bytes: &[u8], allow: &Allowlist, role: Role) -> Option<Judged> {
    let mut whole = bytes.to_vec();
    copies::rebuild(&mut whole, role, allow.metadata_size).ok()?;
    judge(whole, allow).ok()
}

fn copy(bytes: &[u8], role: Role, size: u64) -> Option<&[u8]> {
    let [at, size] = [role.at(size), size].map(usize::try_from);
    bytes.get(at.ok()?..)?.get(..size.ok()?)
}

fn expected(judged: Judged, wanted: &[HeaderDigest]) -> Result<Expected, Refusal> {
    let have = judged.digest();
    let want = wanted.iter().find(|want| **want == have).or(wanted.first());
    match want {
        Some(want) => judged.require_digest(want),
        None => Err(Refusal::Digest { have: have.to_string(), want: String::new() }),
    }
}
