//! The way of a key from the node to its custodians and back, and everything that is changed on it.

use super::*;
use ccnode_evidence::{Secret, Sha256Digest};
use ccnode_protocol::admin::RecoveryRecord;
use ccnode_protocol::recovery::{Custodians, RecoveryError};
use zeroize::Zeroizing;

const KEY: [u8; 32] = [0x5a; 32];

/// Something that is changed, and how.
type Change<T> = (&'static str, fn(&mut T));

fn keys<const N: usize>() -> [CustodianKey; N] {
    std::array::from_fn(|_| CustodianKey::generate())
}

fn custodians(keys: &[CustodianKey], threshold: u8) -> Custodians {
    let all = keys.iter().map(|key| key.custodian().unwrap()).collect();
    Custodians::new(all, threshold).unwrap()
}

/// What the service would answer, for this seed of the split.
fn record(keys: &[CustodianKey], threshold: u8, seed: u8) -> RecoveryRecord {
    let (id, uuid) = ("n-abc/root", "28632274-8c8a-493f-835b-da802e1c576b");
    let volume = Volume { id, uuid, generation: 3 };
    let seed = Zeroizing::new([seed; 32]);
    RecoveryRecord {
        volume: id.into(),
        uuid: uuid.into(),
        formatted: 3,
        header_digests: vec![Sha256Digest::of(b"header")],
        recovery: split(&KEY, seed, &volume, &custodians(keys, threshold)).unwrap(),
    }
}

fn opened(record: &RecoveryRecord, keys: &[CustodianKey]) -> Vec<Share> {
    keys.iter().map(|key| open(record, key).unwrap()).collect()
}

#[test]
fn any_two_of_three_make_the_key() {
    let keys = keys::<3>();
    let record = record(&keys, 2, 1);
    let text = serde_json::to_string(&record).unwrap();
    let shares = opened(&serde_json::from_str(&text).unwrap(), &keys);
    for (a, b) in [(0, 1), (0, 2), (1, 2), (2, 0)] {
        let key = combine(&[shares[a].clone(), shares[b].clone()]).unwrap();
        assert_eq!((key.key, key.volume.as_str()), (Secret::new(KEY), "n-abc/root"));
        assert_eq!(key.header_digests, record.header_digests);
    }
    assert_eq!(combine(&shares).unwrap().key, Secret::new(KEY), "all of them, too");
    let text = serde_json::to_string(&shares[0]).unwrap();
    assert_eq!(serde_json::from_str::<Share>(&text).unwrap(), shares[0]);
}

#[test]
fn one_short_of_the_threshold_makes_nothing() {
    let keys = keys::<5>();
    let record = record(&keys, 4, 1);
    let shares = opened(&record, &keys);
    for have in 0..4 {
        let need = if have == 0 { 2 } else { 4 };
        assert_eq!(combine(&shares[..have]).unwrap_err(), CombineError::TooFew { have, need });
    }
    let twice = [&shares[..3], &shares[..3]].concat();
    assert_eq!(combine(&twice).unwrap_err(), CombineError::TooFew { have: 3, need: 4 });
    // Who lies about the threshold gets another key, and is told so.
    for claimed in [0, 1, 2, 3] {
        let lie = |share: &Share| Share { threshold: claimed, ..share.clone() };
        let three: Vec<Share> = shares[..3].iter().map(lie).collect();
        assert_eq!(combine(&three).unwrap_err(), CombineError::Wrong("n-abc/root".into()));
        let one = combine(&three[..1]).unwrap_err();
        assert!(matches!(one, CombineError::TooFew { have: 1, .. }));
    }
    assert_eq!(combine(&shares[1..]).unwrap().key, Secret::new(KEY));
}

/// For each value that a share has there is a seed by which any other key has it, too: counted for one byte of the share.
#[test]
fn a_share_alone_says_nothing_of_the_key() {
    let keys = keys::<2>();
    let custodians = custodians(&keys, 2);
    let volume = Volume { id: "v", uuid: "u", generation: 1 };
    let first = |key: [u8; 32], seed: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        let recovery = split(&key, Zeroizing::new(bytes), &volume, &custodians).unwrap();
        let (id, uuid) = ("v".to_owned(), "u".to_owned());
        let record = RecoveryRecord { volume: id, uuid, formatted: 1, header_digests: vec![], recovery };
        *open(&record, &keys[0]).unwrap().share.expose()
    };
    assert_ne!(first([0; 32], 0), first([0; 32], 1), "the seed counts");
    let mut seen = [[0u32; 2]; 2];
    for seed in 0..200 {
        // Of 32 bytes and 200 seeds, the lowest bits.
        for (key, counts) in seen.iter_mut().enumerate() {
            let key = [u8::try_from(key * 0xff).unwrap(); 32];
            for byte in first(key, seed) {
                counts[usize::from(byte & 1)] += 1;
            }
        }
    }
    for counts in seen {
        assert!(counts.iter().all(|count| (2_900..3_500).contains(count)), "{counts:?}");
    }
}

#[test]
fn what_a_share_is_bound_to_can_t_be_changed() {
    let keys = keys::<3>();
    let good = record(&keys, 2, 1);
    open(&good, &keys[1]).unwrap();
    let changes: [Change<RecoveryRecord>; 8] = [
        ("volume", |r| r.volume = "n-abd/root".into()),
        ("uuid", |r| r.uuid.replace_range(..1, "3")),
        ("generation", |r| r.formatted += 1),
        ("threshold", |r| r.recovery.threshold = 3),
        ("number of shares", |r| drop(r.recovery.shares.pop())),
        ("commitment", |r| r.recovery.commitment = Sha256Digest::ZERO),
        ("index", |r| r.recovery.shares.swap(0, 1)),
        ("custodian", |r| {
            let other = r.recovery.shares[0].jwe.clone();
            r.recovery.shares[1].jwe = other;
        }),
    ];
    for (what, change) in changes {
        let mut record = good.clone();
        change(&mut record);
        let error = open(&record, &keys[1]).unwrap_err();
        assert!(matches!(error, OpenError::Changed(_)), "{what}: {error}");
    }
    let mut garbled = good.clone();
    garbled.recovery.shares[1].jwe.ciphertext.0[0] ^= 1;
    assert!(matches!(open(&garbled, &keys[1]), Err(OpenError::Changed(_))));
}

#[test]
fn who_is_no_custodian_opens_nothing() {
    let good = record(&keys::<2>(), 2, 1);
    let other = CustodianKey::generate();
    let error = open(&good, &other).unwrap_err();
    assert!(matches!(error, OpenError::NotMine(_)), "{error}");
    let mut renamed = good.clone();
    renamed.recovery.shares[0].custodian = other.custodian().unwrap().id();
    assert!(matches!(open(&renamed, &other), Err(OpenError::Changed(_))));
    let mut short = good;
    short.recovery.shares.truncate(1);
    let error = open(&short, &other).unwrap_err();
    assert!(matches!(error, OpenError::Form(RecoveryError::Number { .. })), "{error}");
}

#[test]
fn shares_of_two_splits_are_told_apart() {
    let keys = keys::<3>();
    let (one, two) = (opened(&record(&keys, 2, 1), &keys), opened(&record(&keys, 2, 2), &keys));
    // The same key, volume and custodians: only the polynomial is another.
    let mixed = combine(&[one[0].clone(), two[1].clone()]).unwrap_err();
    assert_eq!(mixed, CombineError::Wrong("n-abc/root".into()));
    assert_eq!(combine(&[one[0].clone(), two[0].clone()]).unwrap_err(), CombineError::Twice(1));
    let changes: [Change<Share>; 6] = [
        ("volume", |s| s.volume = "n-abd/root".into()),
        ("uuid", |s| s.uuid.clear()),
        ("format", |s| s.formatted = 4),
        ("header", |s| s.header_digests = vec![Sha256Digest::ZERO]),
        ("threshold", |s| s.threshold = 3),
        ("commitment", |s| s.commitment = Sha256Digest::ZERO),
    ];
    for (what, change) in changes {
        let mut other = one[1].clone();
        change(&mut other);
        let error = combine(&[one[0].clone(), other]).unwrap_err();
        assert!(matches!(error, CombineError::Mixed(..)), "{what}: {error}");
    }
    let changed = Share { share: Secret::new([1; 32]), ..one[1].clone() };
    assert!(matches!(combine(&[one[0].clone(), changed]), Err(CombineError::Wrong(_))));
    let nought = Share { index: 0, ..one[1].clone() };
    assert!(matches!(combine(&[one[0].clone(), nought]), Err(CombineError::Wrong(_))));
}

#[test]
fn a_key_survives_its_pem_and_is_not_printed() {
    let key = CustodianKey::generate();
    let pem = key.pem().unwrap();
    let again = CustodianKey::from_pem(&pem).unwrap();
    assert_eq!(again.public_pem().unwrap(), key.public_pem().unwrap());
    assert_eq!(format!("{key:?}"), "CustodianKey(…)");
    for bad in ["", "x", &key.public_pem().unwrap()] {
        assert_eq!(CustodianKey::from_pem(bad).unwrap_err(), KeyError);
    }
}
