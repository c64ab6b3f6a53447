//! Formats and opens on image files; what a power cut leaves is simulated by stopping after each write.

use super::*;
use ccnode_luks_volume::open_recovered;
use ccnode_protocol::admin::RecoveryRecord;
use ccnode_protocol::grants::VolumeAction;
use ccnode_recovery::{CustodianKey, combine};

const UUID: &str = "28632274-8c8a-493f-835b-da802e1c576b";
const ROOM: u64 = 1 << 20;

fn partition(mark: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(DATA_OFFSET + ROOM).unwrap();
    file.write_all_at(mark, MARK_OFFSET).unwrap();
    file
}

fn grant(id: &str, generation: u64) -> VolumeGrant {
    VolumeGrant {
        id: id.into(),
        uuid: UUID.into(),
        generation,
        unlock_key: Secret::new([7; 32]),
        action: VolumeAction::Open {
            header_digest: Sha256Digest::ZERO,
            populated_from: Sha256Digest::ZERO,
            rotation: None,
        },
    }
}

fn may(root: &File, grant: &VolumeGrant) -> Result<Formattable, UnlockError> {
    may_format(root, DATA_OFFSET + ROOM, ROOM, grant, OnForeignDisk::Refuse)
}

fn key() -> UnlockKey {
    Zeroizing::new([7; 32])
}

fn recovered(custodians: &Custodians) -> Rules<'_> {
    Rules { custodians: Some(custodians), ..Rules::default() }
}

/// Three, of whom two recover.
fn custodians() -> (Vec<CustodianKey>, Custodians) {
    let keys: Vec<_> = (0..3).map(|_| CustodianKey::generate()).collect();
    let custodians = keys.iter().map(|key| key.custodian().unwrap()).collect();
    (keys, Custodians::new(custodians, 2).unwrap())
}

fn make(root: &File, grant: &VolumeGrant) -> Expected {
    let begun = begin_format(root, may(root, grant).unwrap()).unwrap();
    let sources = sources(&Secret::new([1; 32]), &[2; 32]).unwrap();
    let made =
        write_format((root, Path::new("/nowhere")), &begun, &key(), &sources, Rules::default()).unwrap();
    assert_eq!((made.recovery, made.header.token().recovery.as_ref()), (None, None));
    made.header
}

fn contents(root: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(DATA_OFFSET + ROOM).unwrap()];
    root.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_blank_partition_is_formatted_and_read_back() {
    let root = partition(&mark::blank());
    let header = make(&root, &grant("n/root", 1));
    let digest = Sha256Digest(header.digest().0);
    assert_eq!(read_header(&root, &[digest], Rules::default()).unwrap().header().bytes(), header.bytes());
    let other = read_header(&root, &[Sha256Digest::ZERO], Rules::default()).unwrap_err();
    assert_eq!(other.code(), Code::HeaderDigest);
}

#[test]
fn custodians_recover_what_a_node_made_for_them_and_no_other_image_opens_it() {
    let (keys, custodians) = custodians();
    let (root, grant) = (partition(&mark::blank()), grant("n/root", 4));
    let begun = begin_format(&root, may(&root, &grant).unwrap()).unwrap();
    let sources = sources(&Secret::new([1; 32]), &[2; 32]).unwrap();
    let Made { header, recovery } =
        write_format((&root, Path::new("/nowhere")), &begun, &key(), &sources, recovered(&custodians))
            .unwrap();
    let digest = Sha256Digest(header.digest().0);

    let record = RecoveryRecord {
        volume: "n/root".into(),
        uuid: UUID.into(),
        formatted: 4,
        header_digests: vec![digest],
        recovery: recovery.unwrap(),
    };
    let shares: Vec<_> = keys[1..].iter().map(|key| ccnode_recovery::open(&record, key).unwrap()).collect();
    let key = RecoveryKey::new(Zeroizing::new(*combine(&shares).unwrap().key.expose()));
    let name = "root".parse().unwrap();
    // There is no device to map: what is told is that the key is right.
    let right = open_recovered(&header, Path::new("/nonexistent"), &key, &name).unwrap_err();
    assert!(matches!(right, OpenError::Dm(_)), "{right}");
    let other = RecoveryKey::new(Zeroizing::new([9; 32]));
    let wrong = open_recovered(&header, Path::new("/nonexistent"), &other, &name).unwrap_err();
    assert!(matches!(wrong, OpenError::RecoveryKeyWrong), "{wrong}");

    assert!(read_header(&root, &[digest], recovered(&custodians)).is_ok());
    let error = read_header(&root, &[digest], Rules::default()).unwrap_err();
    assert_eq!(error.code(), Code::RecoveryMismatch, "{error}");
    let plain = partition(&mark::blank());
    let digest = Sha256Digest(make(&plain, &grant).digest().0);
    let error = read_header(&plain, &[digest], recovered(&custodians)).unwrap_err();
    assert_eq!(error.code(), Code::RecoveryMismatch, "{error}");
    let error = read_header(&plain, &[Sha256Digest::ZERO], recovered(&custodians)).unwrap_err();
    assert_eq!(error.code(), Code::HeaderDigest, "of what is on record alone");
}

#[test]
fn t03_what_is_not_ours_is_not_formatted_and_not_changed() {
    let luks = {
        let foreign = partition(&mark::blank());
        make(&foreign, &grant("other/root", 1));
        contents(&foreign)
    };
    let foreign = [vec![0; 0], b"data".to_vec(), luks];
    for bytes in foreign {
        let root = partition(&[0; mark::LEN]);
        root.write_all_at(&bytes, 0).unwrap();
        let before = contents(&root);
        let error = may(&root, &grant("n/root", 5)).unwrap_err();
        assert_eq!(error.code(), Code::DiskNotBlank, "{error}");
        assert_eq!(contents(&root), before);
        let wipe = may_format(&root, DATA_OFFSET + ROOM, ROOM, &grant("n/root", 5), OnForeignDisk::Wipe);
        assert!(wipe.is_ok());
    }
}

#[test]
fn a_later_generation_is_not_overwritten_by_an_earlier_grant() {
    let root = partition(&mark::blank());
    make(&root, &grant("n/root", 3));
    assert_eq!(may(&root, &grant("n/root", 2)).unwrap_err().code(), Code::DiskNotBlank);
    assert!(may(&root, &grant("n/root", 3)).is_ok());
    assert!(may(&root, &grant("n/root", 4)).is_ok());
}

#[test]
fn after_a_power_cut_at_any_write_the_next_grant_starts_again() {
    // After the mark.
    let root = partition(&mark::blank());
    begin_format(&root, may(&root, &grant("n/root", 1)).unwrap()).unwrap();
    assert_eq!(
        read_header(&root, &[Sha256Digest::ZERO], Rules::default()).unwrap_err().code(),
        Code::HeaderMalformed
    );
    make(&root, &grant("n/root", 2));

    // Within the header: any prefix of it reached the disk.
    for len in [1, 4096, 0x4000, 0x8fff] {
        let root = partition(&mark::blank());
        let header = make(&root, &grant("n/root", 1));
        let tail = vec![0; header.bytes().len() - len];
        root.write_all_at(&tail, u64::try_from(len).unwrap()).unwrap();
        let header = make(&root, &grant("n/root", 2));
        assert_eq!(header.token().generation, 2);
        assert!(read_header(&root, &[Sha256Digest(header.digest().0)], Rules::default()).is_ok());
    }

    // A damaged mark is nobody's (no power cut leaves one): the service's word to wipe is needed.
    let root = partition(&mark::blank());
    begin_format(&root, may(&root, &grant("n/root", 1)).unwrap()).unwrap();
    root.write_all_at(&[0; 512], MARK_OFFSET + 512).unwrap();
    root.write_all_at(&[1; 512], MARK_OFFSET + 1024).unwrap();
    assert_eq!(may(&root, &grant("n/root", 2)).unwrap_err().code(), Code::DiskNotBlank);
}

#[test]
fn too_small_is_said_before_anything_is_written() {
    let root = partition(&mark::blank());
    let before = contents(&root);
    let error = may_format(&root, DATA_OFFSET + ROOM, ROOM + 1, &grant("n/root", 1), OnForeignDisk::Wipe)
        .unwrap_err();
    assert_eq!(error.code(), Code::RootTooSmall);
    assert_eq!(error.to_string(), "the root partition has room for 1048576 bytes, the source has 1048577");
    assert!(may_format(&root, 0, 1, &grant("n/root", 1), OnForeignDisk::Wipe).is_err());
    assert_eq!(contents(&root), before);
}

/// The byte at `offset`, changed.
fn flip(root: &File, offset: u64) {
    let mut byte = [0];
    root.read_exact_at(&mut byte, offset).unwrap();
    root.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn t01_patched_and_truncated_headers_are_refused() {
    let root = partition(&mark::blank());
    let digest = Sha256Digest(make(&root, &grant("n/root", 1)).digest().0);
    // The salt, the JSON, both with right checksums, and the keyslots area.
    for (copy, at) in [(0, 200), (0, 0x1000), (0x4000, 200), (0x4000, 0x1000), (0x8000, 0)] {
        let before = contents(&root);
        flip(&root, copy + at);
        if copy < 0x8000 {
            reseal(&root, copy, |_| {});
        }
        let error = read_header(&root, &[digest], Rules::default()).unwrap_err();
        assert!(
            matches!(error.code(), Code::HeaderMalformed | Code::HeaderRefused | Code::HeaderDigest),
            "{error}"
        );
        root.write_all_at(&before, 0).unwrap();
    }
    assert!(read_header(&root, &[digest], Rules::default()).is_ok());
    root.set_len(0x8000).unwrap();
    assert_eq!(read_header(&root, &[digest], Rules::default()).unwrap_err().code(), Code::HeaderMalformed);
}

#[test]
fn a_damaged_copy_is_written_anew_and_said() {
    let root = partition(&mark::blank());
    let header = make(&root, &grant("n/root", 1));
    let (digest, whole) = (Sha256Digest(header.digest().0), contents(&root));
    assert_eq!(mend(&root, &read_header(&root, &[digest], Rules::default()).unwrap()).unwrap(), None);
    for (offset, role) in [(0x1000, Role::Primary), (0x4000, Role::Secondary), (0x5000, Role::Secondary)] {
        flip(&root, offset);
        let found = read_header(&root, &[digest], Rules::default()).unwrap();
        assert_eq!(found.header().bytes(), header.bytes());
        assert_ne!(contents(&root), whole, "looking changes nothing");
        assert_eq!(mend(&root, &found).unwrap(), Some(role));
        assert_eq!(contents(&root), whole);
    }
    flip(&root, 0x1000);
    flip(&root, 0x5000);
    assert_eq!(read_header(&root, &[digest], Rules::default()).unwrap_err().code(), Code::HeaderMalformed);
}

#[test]
fn a_half_made_volume_goes_on_under_the_next_grant() {
    let root = partition(&mark::blank());
    let header = make(&root, &grant("n/root", 1));
    let before = grants::Begun { header_digest: Sha256Digest(header.digest().0), holders: None };
    let random = sources(&Secret::new([1; 32]), &[2; 32]).unwrap();
    let over = |volume: &VolumeGrant, before: &grants::Begun, key: &UnlockKey, rules| {
        let begun = begin_format(&root, may(&root, volume).unwrap()).unwrap();
        let whole = contents(&root);
        let made = take_over(&root, &begun, before, key, &random, rules).unwrap();
        assert_eq!(made.is_none(), contents(&root) == whole, "what is not taken over is not changed");
        made
    };
    let (_, custodians) = custodians();
    let (second, plain) = (grant("n/root", 2), Rules::default());
    let tagged = Rules { integrity: Integrity::HmacSha256, ..plain };
    let other = grants::Begun { header_digest: Sha256Digest::ZERO, holders: None };
    assert!(over(&second, &other, &key(), plain).is_none(), "another header");
    assert!(over(&second, &before, &Zeroizing::new([8; 32]), plain).is_none(), "another key");
    assert!(over(&second, &before, &key(), tagged).is_none(), "no tags");
    assert!(over(&second, &before, &key(), recovered(&custodians)).is_none(), "no custodians");
    let made = over(&second, &before, &key(), plain).unwrap();
    let next = &made.header;
    assert_eq!((next.token().generation, next.uuid()), (2, header.uuid()));
    assert_eq!(next.token().wrapped, header.token().wrapped, "one volume key under one unlock key");
    let digest = Sha256Digest(next.digest().0);
    assert_eq!(read_header(&root, &[digest], plain).unwrap().header().bytes(), next.bytes());
    assert!(read_header(&root, &[before.header_digest], plain).is_err());
    let before = grants::Begun { header_digest: digest, holders: None };
    assert!(over(&grant("n/root", 4), &before, &key(), plain).is_none(), "a grant that came later");
}

#[test]
fn what_goes_on_has_another_recovery_key() {
    let root = partition(&mark::blank());
    let (_, custodians) = custodians();
    let made = |tpm| {
        let begun = begin_format(&root, may(&root, &grant("n/root", 1)).unwrap()).unwrap();
        let random = sources(&Secret::new([1; 32]), &[tpm; 32]).unwrap();
        let place = (&root, Path::new("/nowhere"));
        write_format(place, &begun, &key(), &random, recovered(&custodians)).unwrap()
    };
    let first = made(2);
    let header_digest = Sha256Digest(first.header.digest().0);
    let before = grants::Begun { header_digest, holders: Some(custodians.holders()) };
    let begun = begin_format(&root, may(&root, &grant("n/root", 2)).unwrap()).unwrap();
    let random = sources(&Secret::new([1; 32]), &[3; 32]).unwrap();
    let all = custodians.all().to_vec();
    let others = [Custodians::new(all[1..].to_vec(), 2).unwrap(), Custodians::new(all, 3).unwrap()];
    let take = |before: &grants::Begun, custodians| {
        take_over(&root, &begun, before, &key(), &random, recovered(custodians)).unwrap()
    };
    // Others may not have what these had: neither other people, nor as many of them.
    for other in &others {
        assert!(take(&before, other).is_none());
    }
    assert!(take(&grants::Begun { header_digest, holders: None }, &custodians).is_none());
    let next = take(&before, &custodians).unwrap();
    let of = |made: &Made| made.header.token().recovery.clone().unwrap();
    assert_ne!(of(&first), of(&next));
    assert!(next.recovery.is_some() && next.recovery != first.recovery, "shares of the new key are reported");
}

#[test]
fn a_bad_grant_is_the_services_fault() {
    let root = partition(&mark::blank());
    assert_eq!(may(&root, &grant("a b", 1)).unwrap_err().code(), Code::ServiceGarbage);
    let bad = VolumeGrant { uuid: "nonsense".into(), ..grant("n/root", 1) };
    let begun = begin_format(&root, may(&root, &bad).unwrap()).unwrap();
    let random = sources(&Secret::new([1; 32]), &[2; 32]).unwrap();
    assert_eq!(
        write_format((&root, Path::new("/nowhere")), &begun, &key(), &random, Rules::default())
            .unwrap_err()
            .code(),
        Code::ServiceGarbage
    );
    assert!(matches!(sources(&Secret::new([1; 32]), &[2; 31]), Err(UnlockError::Random)));
}

/// The copy of the header at `offset`, changed by `change`, with a checksum that fits.
fn reseal(root: &File, offset: u64, change: impl Fn(&mut [u8])) {
    let mut copy = vec![0; 0x4000];
    root.read_exact_at(&mut copy, offset).unwrap();
    change(&mut copy);
    copy[448..512].fill(0);
    let sum = Sha256Digest::of(&copy);
    copy[448..480].copy_from_slice(&sum.0);
    root.write_all_at(&copy, offset).unwrap();
}

fn patched(root: &File, change: impl Fn(&mut [u8])) {
    for offset in [0, 0x4000] {
        reseal(root, offset, &change);
    }
}

#[test]
fn t01_a_sound_header_that_says_what_is_not_allowed_is_refused() {
    let root = partition(&mark::blank());
    make(&root, &grant("n/root", 1));
    let (cipher, null) = (b"aes-xts-plain64", b"cipher_null-ecb");
    patched(&root, |copy| {
        let at = copy.windows(cipher.len()).position(|w| w == cipher).unwrap();
        copy[at..at + null.len()].copy_from_slice(null);
    });
    let error = read_header(&root, &[Sha256Digest::ZERO], Rules::default()).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().contains("cipher_null")),
        (Code::HeaderRefused, true),
        "{error}"
    );
}

#[test]
fn a_key_that_is_not_this_volumes_is_told_from_a_disk_that_fails() {
    let root = partition(&mark::blank());
    let header = make(&root, &grant("n/root", 1));
    let name = "root".parse().unwrap();
    let nowhere = Path::new("/nonexistent");
    let other = open_volume(&header, nowhere, &Zeroizing::new([8; 32]), &name).unwrap_err();
    assert_eq!(other.code(), Code::UnlockKeyWrong, "{other}");
    let gone = open_volume(&header, nowhere, &key(), &name).unwrap_err();
    assert_eq!(gone.code(), Code::DiskFailed, "{gone}");
}
