//! LUKS2 headers: ours, those that a passphrase opens, and the small structures beside them.
//!
//! A fuzzer does not guess a checksum, so what it changes is judged twice: as it stands, and as the header of its first 512 bytes, its
//! rest as the JSON area, and both copies sealed.

use crate::printable;
use ccnode_evidence::Sha256Digest;
use ccnode_luks_header::inspect::{Branch, By, inspect};
use ccnode_luks_header::integrity::superblock;
use ccnode_luks_header::passphrase::{self, OpenedBy};
use ccnode_luks_header::{
    Allowlist, HEADER_LEN, HeaderDigest, Integrity, METADATA_SIZE, Refusal, examine, judge, mark,
    rebuild_secondary, verity,
};
use ccnode_protocol::jwe::Direct;

/// Bytes of a binary header that hold something.
pub const BINARY: usize = 512;
/// Bytes of the keyslots area of the seeds that a passphrase opens.
pub const PASSPHRASE_KEYSLOTS: usize = 0x8000;
const COPY: usize = METADATA_SIZE as usize;
const JSON: usize = 4096;
const SUM: std::ops::Range<usize> = 448..480;
const SUM_FIELD: std::ops::Range<usize> = 448..512;

/// The header that `bytes`, 512 of them binary and the rest JSON, become with both copies and checksums that are right; `len` is its
/// whole length.
pub fn sealed(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let (binary, json) = bytes.split_at_checked(BINARY)?;
    let mut header = vec![0; len];
    header.get_mut(..BINARY)?.copy_from_slice(binary);
    header.get_mut(JSON..COPY)?.get_mut(..json.len())?.copy_from_slice(json);
    let copy = header.get_mut(..COPY)?;
    copy.get_mut(SUM_FIELD)?.fill(0);
    let sum = Sha256Digest::of(copy);
    copy.get_mut(SUM)?.copy_from_slice(&sum.0);
    // A primary that is none is judged all the same.
    let _ = rebuild_secondary(&mut header);
    Some(header)
}

pub(crate) fn own(bytes: &[u8]) {
    as_own(bytes.to_vec());
    if let Some(header) = sealed(bytes, HEADER_LEN) {
        as_own(header);
    }
    if let Some(page) = bytes.first_chunk::<{ mark::LEN }>() {
        drop(mark::Mark::read(page));
        let _ = verity::read_trailer(page);
    }
    if let Some(block) = bytes.first_chunk::<{ verity::LEN }>() {
        match verity::Verity::judge(block, 1 << 20, 2 << 20) {
            Ok(tree) => {
                assert!(tree.data_len() <= 1 << 20);
                printable(&tree.uuid);
            }
            Err(error) => printable(&error.to_string()),
        }
    }
}

/// As the superblock of a volume's tags.
fn tags(bytes: &[u8]) {
    const ROOM: u64 = 1 << 40;
    for integrity in Integrity::ALL {
        match superblock(bytes, integrity, ROOM) {
            Ok(sectors) => assert!(sectors > 0 && sectors < ROOM),
            Err(refusal) => said(&refusal),
        }
    }
}

fn as_own(bytes: Vec<u8>) {
    tags(&bytes);
    let reasons = examine(&bytes, &Allowlist::VOLUME);
    let shown = inspect(&bytes, bytes.len() as u64, By::Own(Integrity::None));
    assert_eq!(shown.reasons.len(), lines(&shown.tree));
    reasons.iter().for_each(said);
    let digest = HeaderDigest::of(&bytes);
    match judge(bytes.clone(), &Allowlist::VOLUME) {
        Ok(judged) => {
            assert!(reasons.is_empty());
            // What was judged is what is used, and has one digest.
            match judged.require_digest(&digest) {
                Ok(expected) => {
                    assert_eq!(expected.bytes(), bytes);
                    assert_eq!(expected.segment().offset, ccnode_luks_header::DATA_OFFSET);
                    printable(expected.uuid());
                }
                Err(refusal) => said(&refusal),
            }
        }
        Err(refusal) => {
            assert!(!reasons.is_empty());
            said(&refusal);
        }
    }
}

pub(crate) fn by_passphrase(bytes: &[u8]) {
    as_passphrase(bytes.to_vec());
    if let Some(header) = sealed(bytes, 2 * COPY + PASSPHRASE_KEYSLOTS) {
        as_passphrase(header);
    }
}

fn as_passphrase(bytes: Vec<u8>) {
    for by in [OpenedBy::Clevis, OpenedBy::Passphrase] {
        match passphrase::judge(bytes.clone(), by) {
            Ok(header) => {
                assert!(bytes.starts_with(header.bytes()));
                assert!(header.segment().offset >= header.bytes().len() as u64);
                assert_eq!(header.clevis().is_some(), by == OpenedBy::Clevis);
                printable(header.uuid());
                if let Some(token) = header.clevis() {
                    assert!(token.keyslot < 32);
                    crate::secrets::jwe_direct(token.jwe.as_bytes());
                    drop(Direct::from_json(&token.jwe));
                }
            }
            Err(refusal) => said(&refusal),
        }
    }
}

/// How many reasons stand at the branches.
fn lines(branch: &Branch) -> usize {
    printable(&branch.text);
    branch.reasons.len() + branch.branches.iter().map(lines).sum::<usize>()
}

fn said(refusal: &Refusal) {
    printable(&refusal.to_string());
    assert!(!refusal.code().is_empty());
    if let Some(path) = refusal.path() {
        printable(path);
    }
    if let Some(value) = refusal.value() {
        printable(value);
    }
}
