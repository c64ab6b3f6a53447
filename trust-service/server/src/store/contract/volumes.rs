//! Volumes: swapped by compare-and-swap, with what lies sealed in their rows.

use super::*;

pub(super) async fn a_swap_wants_the_very_version(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let granted = volume(VolumeState::Granted, 1);
    assert!(!tx.swap_volume((VolumeState::None, 1, None), &granted).await.unwrap());
    assert!(!tx.swap_volume((VolumeState::Granted, 0, None), &granted).await.unwrap());
    assert!(tx.swap_volume((VolumeState::None, 0, None), &granted).await.unwrap());
    assert!(!tx.swap_volume((VolumeState::None, 0, None), &granted).await.unwrap());
    tx.commit().await.unwrap();
}

pub(super) async fn a_next_key_lies_beside_the_current_one(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let plain = volume(VolumeState::Granted, 1);
    let with = |digest| VolumeRow { next: Some(NextKey { key: vec![7], digest }), ..plain.clone() };
    let [one, two] = [b"one", b"two"].map(|text| Some(Sha256Digest::of(text)));
    for (from, to) in [(&plain, with(None)), (&with(None), with(one)), (&with(one), with(two))] {
        for other in [one, two, None] {
            let (state, generation, digest) = from.version();
            if other != digest {
                assert!(!tx.swap_volume((state, generation, other), &to).await.unwrap(), "{other:?}");
            }
        }
        assert!(tx.swap_volume(from.version(), &to).await.unwrap());
        assert_eq!(tx.volume("a/root").await.unwrap().as_ref(), Some(&to));
    }
    let sealed = tx.sealed().await.unwrap().into_iter().find(|row| row.value == [7]).unwrap();
    assert_eq!(sealed.at, SealedAt::NextKey("a/root".into()));
    assert!(tx.set_sealed(&Sealed { value: vec![8], ..sealed }).await.unwrap());
    assert_eq!(tx.volume("a/root").await.unwrap().unwrap().next.unwrap().key, [8]);
    let shown = |row: VolumeRow| row.shown().rotation;
    assert_eq!(
        [plain.clone(), with(None), with(one)].map(shown),
        [None, Some(RotationState::Asked), Some(RotationState::Pending)]
    );
    assert!(tx.swap_volume(with(two).version(), &plain).await.unwrap());
    assert_eq!(tx.volume("a/root").await.unwrap(), Some(plain));
    tx.commit().await.unwrap();
}

pub(super) async fn what_recovers_a_volume_lies_beside_its_key(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let plain = volume(VolumeState::Granted, 1);
    let with = VolumeRow { recovery: Some(vec![9, 9]), ..plain.clone() };
    assert!(tx.swap_volume(plain.version(), &with).await.unwrap());
    assert_eq!(tx.volume("a/root").await.unwrap().as_ref(), Some(&with));
    let sealed = tx.sealed().await.unwrap().into_iter().find(|row| row.value == [9, 9]).unwrap();
    assert_eq!(sealed.at, SealedAt::Recovery("a/root".into()));
    assert_eq!(sealed.place, VolumeRow::recovery_place(&plain.identity, "a/root"));
    assert!(tx.set_sealed(&Sealed { value: vec![8], ..sealed }).await.unwrap());
    let other = VolumeRow { identity: Sha256Digest::of(b"r"), recovery: Some(vec![7]), ..with.clone() };
    assert!(tx.insert_node(&node("r", b"r")).await.unwrap());
    assert!(tx.move_volume(&plain.identity, &other).await.unwrap());
    assert_eq!(tx.volume("a/root").await.unwrap().as_ref(), Some(&other));
    assert!(tx.move_volume(&other.identity, &with).await.unwrap());
    assert!(tx.delete_node(&other.identity).await.unwrap());
    assert!(tx.swap_volume(with.version(), &plain).await.unwrap());
    assert_eq!(tx.volume("a/root").await.unwrap(), Some(plain));
    let record = VolumeRecord { id: "a/new".into(), ..with.record.clone() };
    let new = VolumeRow { record, ..with };
    assert!(tx.insert_volume(&new).await.unwrap());
    assert_eq!(tx.volume("a/new").await.unwrap(), Some(new));
    // Rolled back: other parts go on from what was there.
}
