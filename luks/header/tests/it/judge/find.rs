//! A registered header on a disk one of whose copies is damaged, patched, or of another registered header.

use super::{ALLOW, changed, good};
use crate::common::reseal;
use ccnode_luks_header::{HEADER_LEN, HeaderDigest, METADATA_SIZE, Refusal, Role, find, rebuild_secondary};
use serde_json::json;

const SIZE: usize = METADATA_SIZE as usize;

/// As this product makes them: the secondary is the primary's.
fn made(mut bytes: Vec<u8>) -> (Vec<u8>, HeaderDigest) {
    rebuild_secondary(&mut bytes).unwrap();
    let digest = HeaderDigest::of(&bytes);
    (bytes, digest)
}

fn next() -> (Vec<u8>, HeaderDigest) {
    made(changed(|json| json["tokens"]["0"]["generation"] = json!(2)))
}

fn place(role: Role) -> std::ops::Range<usize> {
    match role {
        Role::Primary => 0..SIZE,
        Role::Secondary => SIZE..2 * SIZE,
    }
}

/// What `find` makes of a good header with one copy changed.
fn with(role: Role, change: impl FnOnce(&mut [u8])) -> Result<Option<Role>, Refusal> {
    let (whole, digest) = made(good());
    let mut bytes = whole.clone();
    change(&mut bytes[place(role)]);
    let found = find(bytes, &ALLOW, &[digest])?;
    assert_eq!(found.header().bytes(), whole, "the registered bytes, and no others");
    if let Some((role, offset, copy)) = found.mend() {
        assert_eq!((offset as usize, copy), (place(role).start, &whole[place(role)]));
    }
    Ok(found.mend().map(|(role, ..)| role))
}

#[test]
fn what_is_whole_needs_no_mending() {
    assert_eq!(with(Role::Secondary, |_| {}), Ok(None));
}

#[test]
fn a_damaged_copy_is_made_from_the_other() {
    for role in [Role::Primary, Role::Secondary] {
        for at in [6, 8, 16, 72, 104, 168, 256, 448, 600, 4096, 5000, SIZE - 1] {
            assert_eq!(with(role, |copy| copy[at] ^= 1), Ok(Some(role)), "{role}, byte {at}");
        }
        assert_eq!(with(role, |copy| copy.fill(0)), Ok(Some(role)));
        // A write that was cut short.
        assert_eq!(with(role, |copy| copy[512..].fill(0xee)), Ok(Some(role)));
    }
    assert_eq!(with(Role::Secondary, |copy| copy.fill(0xff)), Ok(Some(Role::Secondary)));
    assert_eq!(with(Role::Secondary, |copy| copy[0] ^= 1), Ok(Some(Role::Secondary)));
}

#[test]
fn t01_a_copy_that_says_something_else_is_refused() {
    for role in [Role::Primary, Role::Secondary] {
        for at in [0, 6, 16, 72, 104, 168, 256, 600, 4096, 4100, SIZE - 1] {
            let patched = with(role, |copy| {
                copy[at] ^= 1;
                reseal(copy);
            });
            assert!(patched.is_err(), "{role}, byte {at}");
        }
    }
}

#[test]
fn t01_a_damaged_copy_excuses_nothing_else() {
    let (_, digest) = made(good());
    let (mut other, of_other) = next();
    other[place(Role::Secondary)].fill(0);
    let want = digest.to_string();
    let refused = find(other, &ALLOW, &[digest]).unwrap_err();
    assert_eq!(refused, Refusal::Digest { have: of_other.to_string(), want }, "t05: another header");

    let (mut null, _) = made(changed(|json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb")));
    null[place(Role::Secondary)].fill(0);
    assert_eq!(find(null, &ALLOW, &[digest]).unwrap_err().code(), "luks-cipher");

    let (mut hidden, digest) = made(good());
    hidden[place(Role::Secondary)].fill(0);
    hidden[HEADER_LEN - 1] = 1;
    assert_eq!(find(hidden, &ALLOW, &[digest]).unwrap_err().code(), "luks-copy-damaged");

    let (mut both, digest) = made(good());
    both[5000] ^= 1;
    both[SIZE + 5000] ^= 1;
    assert_eq!(find(both, &ALLOW, &[digest]).unwrap_err().code(), "luks-damaged");
}

#[test]
fn something_else_on_the_disk_is_not_written_over() {
    let (mut bytes, digest) = made(good());
    bytes[..SIZE].fill(0xef);
    assert_eq!(find(bytes, &ALLOW, &[digest]).unwrap_err(), Refusal::NotLuks2);
}

#[test]
fn where_one_header_takes_the_place_of_another_each_state_between_is_one_of_them() {
    let (old, new) = (made(good()), next());
    let mut disk = old.0.clone();
    for role in [Role::Secondary, Role::Primary] {
        for written in (0..=SIZE).step_by(512) {
            let at = place(role).start;
            disk[at..at + written].copy_from_slice(&new.0[at..at + written]);
            let found = find(disk.clone(), &ALLOW, &[old.1, new.1]).unwrap();
            let whole = found.header().bytes();
            assert!(whole == old.0 || whole == new.0);
            let mut mended = disk.clone();
            if let Some((_, offset, copy)) = found.mend() {
                mended[offset as usize..][..copy.len()].copy_from_slice(copy);
            }
            assert_eq!(mended, whole, "{role}, {written} bytes");
        }
    }
    assert_eq!(find(disk.clone(), &ALLOW, &[old.1, new.1]).unwrap().header().bytes(), new.0);
    // The primary counts while the two are of one header each, and only while both are on record.
    disk[..SIZE].copy_from_slice(&old.0[..SIZE]);
    assert_eq!(find(disk.clone(), &ALLOW, &[new.1, old.1]).unwrap().header().bytes(), old.0);
    for alone in [old.1, new.1] {
        assert_eq!(find(disk.clone(), &ALLOW, &[alone]).unwrap_err().code(), "luks-copies-differ");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wanted() {
    assert_eq!(find(good(), &ALLOW, &[]).unwrap_err().code(), "luks-header-digest");
}
