//! Both copies of the header as bytes: read once, compared, measured, with nothing hidden in them.

use super::{ALLOW, changed, good, refusal};
use crate::common::{Liar, Parts, metadata, patch, reseal};
use ccnode_luks_header::{
    Allowlist, CopyError, HEADER_LEN, HeaderDigest, Kind, METADATA_SIZE, Refusal, Role, Rule, examine, judge,
    read, rebuild_secondary, retoken,
};
use serde_json::json;
use std::io::Read;

#[test]
fn t01_a_disk_that_lies_on_the_second_read_gains_nothing() {
    let lie = changed(|json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    let mut disk = Liar::new(good(), lie.clone());
    let bytes = read(&mut disk, &ALLOW).unwrap();
    let expected = judge(bytes, &ALLOW).unwrap().require_digest(&HeaderDigest::of(&good())).unwrap();
    assert_eq!(expected.bytes(), good());
    // What is used later are the judged bytes, although the disk now shows others.
    disk.rewind();
    assert_eq!(read(&mut disk, &ALLOW).unwrap(), lie);
    assert_eq!(expected.bytes(), good());
}

#[test]
fn t01_a_patched_header_with_right_checksums_is_not_the_registered_one() {
    let registered = HeaderDigest::of(&good());
    for bytes in [
        changed(|json| json["tokens"]["0"]["wrapped-key"] = json!("B".repeat(96))),
        changed(|json| json["tokens"]["0"]["generation"] = json!(2)),
        changed(|json| json["digests"]["0"]["salt"] = json!("BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        Parts { seqid: 2, ..Parts::new(metadata()) }.header(),
    ] {
        let have = HeaderDigest::of(&bytes).to_string();
        let refused = judge(bytes, &ALLOW).unwrap().require_digest(&registered).unwrap_err();
        assert_eq!(refused, Refusal::Digest { have, want: registered.to_string() });
        assert_eq!((refused.kind(), refused.code()), (Kind::Unexpected, "luks-header-digest"));
    }
}

#[test]
fn t05_an_older_header_of_the_same_volume_is_refused() {
    let current = changed(|json| json["tokens"]["0"]["generation"] = json!(2));
    let older = judge(good(), &ALLOW).unwrap();
    assert!(older.clone().require_digest(&older.digest()).is_ok());
    let refused = older.require_digest(&HeaderDigest::of(&current)).unwrap_err();
    assert_eq!(refused.code(), "luks-header-digest");
}

#[test]
fn t01_one_patched_copy_is_refused_and_named() {
    let cut = METADATA_SIZE as usize;
    let other = changed(|json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    let (mut primary, mut secondary) = (good(), good());
    primary[..cut].copy_from_slice(&other[..cut]);
    secondary[cut..2 * cut].copy_from_slice(&other[cut..2 * cut]);
    // The primary counts at equal sequence numbers, so there the cipher itself is the first reason.
    assert_eq!(refusal(primary.clone()).code(), "luks-cipher");
    assert!(examine(&primary, &ALLOW).contains(&Refusal::CopiesDiffer("JSON area")));
    assert_eq!(refusal(secondary), Refusal::CopiesDiffer("JSON area"));
    // A newer secondary would be taken by cryptsetup; it is judged, and the difference named.
    let newer = Parts { seqid: 9, ..Parts::new(metadata()) }.copy(true);
    let mut bytes = good();
    bytes[cut..2 * cut].copy_from_slice(&newer);
    assert_eq!(refusal(bytes), Refusal::CopiesDiffer("sequence number"));
}

#[test]
fn a_damaged_copy_is_refused_and_named() {
    for (at, role) in [(100, Role::Primary), (METADATA_SIZE as usize + 5000, Role::Secondary)] {
        let mut bytes = good();
        bytes[at] ^= 1;
        let error = CopyError::Checksum;
        assert_eq!(refusal(bytes), Refusal::CopyDamaged { role, error });
    }
    let mut bytes = good();
    bytes[100] ^= 1;
    bytes[METADATA_SIZE as usize + 100] ^= 1;
    let (primary, secondary) = (CopyError::Checksum, CopyError::Checksum);
    assert_eq!(refusal(bytes), Refusal::Damaged { primary, secondary });
}

#[test]
fn a_secondary_is_rebuilt_from_its_primary() {
    let mut bytes = good();
    rebuild_secondary(&mut bytes).unwrap();
    let whole = bytes.clone();
    assert!(judge(whole.clone(), &ALLOW).is_ok());
    bytes[METADATA_SIZE as usize..].fill(0);
    rebuild_secondary(&mut bytes).unwrap();
    assert_eq!(bytes, whole);
    bytes[0] = 0;
    assert_eq!(rebuild_secondary(&mut bytes), Err(CopyError::Magic));
    let short = &mut whole.clone()[..METADATA_SIZE as usize + 1];
    assert!(matches!(rebuild_secondary(short), Err(CopyError::Truncated { .. })));
}

#[test]
fn labels_uuid_and_padding_of_the_binary_header_are_pinned() {
    let label = Parts { label: "root", ..Parts::new(metadata()) }.header();
    let expected = Refusal::Forbidden { rule: Rule::Label, path: "label".into(), value: "root".into() };
    assert_eq!(refusal(label), expected);
    for uuid in
        ["", "28632274-8c8a-493f-835b-da802e1c576B", "../../x", "28632274-8c8a-493f-835bda80-2e1c576b0000"]
    {
        assert_eq!(refusal(Parts { uuid, ..Parts::new(metadata()) }.header()).code(), "luks-uuid");
    }
    for at in [300, 440, 490, 600, 4095] {
        let mut bytes = good();
        patch(&mut bytes, |copy| copy[at] = 1);
        if at == 490 {
            bytes[490] = 1;
        }
        assert_eq!(refusal(bytes), Refusal::NotCanonical(Role::Primary), "byte {at}");
    }
    let mut bytes = good();
    bytes[METADATA_SIZE as usize + 600] = 1;
    reseal(&mut bytes[METADATA_SIZE as usize..2 * METADATA_SIZE as usize]);
    assert_eq!(refusal(bytes), Refusal::NotCanonical(Role::Secondary));
}

#[test]
fn sizes_are_pinned() {
    let bytes = changed(|json| json["config"]["keyslots_size"] = json!("8192"));
    assert_eq!(refusal(bytes.clone()).code(), "luks-keyslots-size");
    // Under a list that allows it, the bytes that go with it must be there.
    let allow = Allowlist { keyslots_size: 8192, ..ALLOW };
    assert!(matches!(judge(bytes, &allow), Err(Refusal::Truncated { .. })));
    let allow = Allowlist { metadata_size: 0x8000, ..ALLOW };
    assert!(examine(&good(), &allow).iter().any(|r| r.code() == "luks-metadata-size"));
}

#[test]
fn nothing_hides_in_the_keyslots_area() {
    let mut bytes = good();
    bytes[HEADER_LEN - 1] = 1;
    assert_eq!(refusal(bytes), Refusal::KeyslotArea(HEADER_LEN as u64 - 1));
}

#[test]
fn what_is_no_header_is_said_so() {
    assert_eq!(refusal(vec![0; HEADER_LEN]), Refusal::NotLuks2);
    let mut luks1 = vec![0; HEADER_LEN];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    assert_eq!(refusal(luks1), Refusal::Version(1));
    for len in [0, 5, 4096, 0x4000, HEADER_LEN - 1] {
        let (need, have) = (HEADER_LEN as u64, len as u64);
        assert_eq!(read(&good()[..len], &ALLOW), Err(Refusal::Truncated { need, have }));
        assert_eq!(refusal(good()[..len].to_vec()), Refusal::Truncated { need, have });
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    assert_eq!(read(Broken, &ALLOW), Err(Refusal::Unreadable(std::io::ErrorKind::TimedOut)));
}

#[test]
fn a_leftover_secondary_under_something_else_is_no_header() {
    let mut bytes = good();
    bytes[..METADATA_SIZE as usize].fill(0x5a);
    assert_eq!(refusal(bytes), Refusal::NotLuks2);
}

#[test]
fn another_token_changes_the_token_and_the_sequence_number_alone() {
    let header = judge(good(), &ALLOW).unwrap();
    let digest = header.digest();
    let header = header.require_digest(&digest).unwrap();
    let token = ccnode_luks_header::Token { generation: 9, wrapped: vec![7; 72], ..header.token().clone() };
    let made = retoken(&header, &token).unwrap();
    assert_eq!(made.token(), &token);
    let mut json = metadata();
    json["tokens"]["0"] = token.to_json();
    let parsed = ccnode_luks_header::Header::parse(made.bytes(), u64::MAX).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&parsed.metadata()).unwrap(), json);
    let before = ccnode_luks_header::Header::parse(header.bytes(), u64::MAX).unwrap().binary;
    assert_eq!(parsed.binary, ccnode_luks_header::BinaryHeader { seqid: before.seqid + 1, ..before });
    assert_eq!(retoken(&header, &token).unwrap().bytes(), made.bytes());
    assert!(retoken(&header, &ccnode_luks_header::Token { generation: 0, ..token }).is_err(), "judged, too");
}
