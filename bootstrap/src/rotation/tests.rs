//! Rotations on the bytes of a disk, with the power cut after each sector, against a service that keeps what it is told.

use super::*;
use crate::refusal::Coded as _;
use crate::unlock::Rules;
use crate::unlock::read_header;
use ccnode_evidence::{Code, Secret};
use ccnode_luks_header::{Allowlist, HEADER_LEN, HeaderDigest, Integrity, find};
use ccnode_luks_volume::{FormatSpec, Sources, VolumeKey, format};
use ccnode_protocol::grants::Grant;

const SECTOR: usize = 512;
const SECTORS: usize = 2 * METADATA_SIZE as usize / SECTOR;

fn key(n: u8) -> UnlockKey {
    Zeroizing::new([n; 32])
}

fn formatted(current: &UnlockKey) -> Expected {
    let (volume, random) = ("n/root".parse().unwrap(), |n| Zeroizing::new([n; 32]));
    let sources = Sources { kernel: Zeroizing::new([1; 64]), service: random(2), tpm: random(3) };
    let volume_key = &VolumeKey::generate(&sources, Integrity::None);
    let uuid = "28632274-8c8a-493f-835b-da802e1c576b";
    format(&FormatSpec {
        uuid,
        volume: &volume,
        generation: 3,
        unlock_key: current,
        volume_key,
        tags: None,
        recovery_key: None,
    })
    .unwrap()
}

/// What the service has on record of one volume.
struct Service {
    current: (Sha256Digest, UnlockKey),
    generation: u64,
    next: Option<(Option<Sha256Digest>, UnlockKey)>,
}

impl Service {
    fn of(header: &Expected, current: UnlockKey, next: UnlockKey) -> Self {
        let digest = Sha256Digest(header.digest().0);
        Self { current: (digest, current), generation: header.token().generation, next: Some((None, next)) }
    }

    fn rotation(&self) -> Option<Rotation> {
        let (pending, key) = self.next.as_ref()?;
        let grant = Grant { id: "g".into(), secret: Secret::new([9; 32]), expires: u64::MAX };
        Some(Rotation { next_key: Secret::new(**key), pending: *pending, grant })
    }

    fn record(&mut self, message: &Rotated) -> Result<(), &'static str> {
        let (pending, _) = self.next.as_mut().ok_or("nothing was asked")?;
        assert_eq!(message.generation, self.generation + 1);
        assert_eq!(message.replaces, *pending, "what the release named is what is replaced");
        *pending = Some(message.header_digest);
        Ok(())
    }

    fn commit(&mut self, message: &Committed) -> Result<(), &'static str> {
        assert_eq!(message.generation, self.generation + 1);
        match self.next.take() {
            Some((Some(digest), key)) if digest == message.header_digest => {
                (self.current, self.generation) = ((digest, key), message.generation);
                Ok(())
            }
            _ => Err("another is on record"),
        }
    }
}

/// How far a boot comes before its power is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    BeforeRecorded,
    /// After so many sectors.
    Writing(usize),
    BeforeCommitted,
    Never,
}

/// A boot that opens what is on the disk, and rotates as far as it comes. It never fails to open.
async fn boot(disk: &mut [u8], service: &mut Service, cut: Cut) {
    let rotation = service.rotation();
    let pending = rotation.as_ref().and_then(|rotation| rotation.pending);
    let registered: Vec<_> =
        std::iter::once(service.current.0).chain(pending).map(|digest| HeaderDigest(digest.0)).collect();
    let found = find(disk.to_vec(), &Allowlist::VOLUME, &registered).unwrap();
    if let Some((_, offset, copy)) = found.mend() {
        disk[offset as usize..][..copy.len()].copy_from_slice(copy);
    }
    let header = found.into_header();
    assert_eq!(header.bytes(), disk, "what is believed is on the disk, and whole");
    let Some(rotation) = &rotation else {
        // The key that is on record opens it.
        assert!(rewrap(&header, &service.current.1, &key(0)).is_ok());
        return;
    };
    let written = match Written::found(&header, rotation) {
        Some(written) => {
            assert!(rewrap(&header, &next_key(rotation), &key(0)).is_ok(), "the next key opens it");
            written
        }
        None => {
            let made = Rewrapped::new(&header, &service.current.1, rotation).unwrap();
            if cut == Cut::BeforeRecorded {
                return;
            }
            let recorded = made.record(async |message| service.record(message)).await.unwrap();
            let mut left = if let Cut::Writing(sectors) = cut { sectors } else { SECTORS };
            let written = recorded.write(|offset, bytes| {
                for (at, sector) in (offset as usize..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                    left = left.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
                    disk[at..at + SECTOR].copy_from_slice(sector);
                }
                Ok(())
            });
            let Ok(written) = written else { return };
            written
        }
    };
    if cut != Cut::BeforeCommitted {
        written.commit(async |message| service.commit(message)).await.unwrap();
    }
}

#[tokio::test]
async fn a_power_cut_anywhere_loses_nothing_and_the_next_boot_goes_on() {
    let old = formatted(&key(7));
    let cuts = [Cut::BeforeRecorded, Cut::BeforeCommitted, Cut::Never];
    for cut in cuts.into_iter().chain((0..SECTORS).map(Cut::Writing)) {
        for again in [Cut::BeforeRecorded, Cut::Writing(40), Cut::BeforeCommitted, Cut::Never] {
            let mut service = Service::of(&old, key(7), key(8));
            let mut disk = old.bytes().to_vec();
            boot(&mut disk, &mut service, cut).await;
            boot(&mut disk, &mut service, again).await;
            boot(&mut disk, &mut service, Cut::Never).await;
            boot(&mut disk, &mut service, Cut::Never).await;
            assert_eq!((service.generation, &*service.current.1), (4, &*key(8)), "{cut:?} {again:?}");
            assert!(service.next.is_none());
            // T05: what was there before is not the registered header any more, and its key is not the registered one.
            let registered = [HeaderDigest(service.current.0.0)];
            let put_back = find(old.bytes().to_vec(), &Allowlist::VOLUME, &registered).unwrap_err();
            assert_eq!(put_back.code(), "luks-header-digest");
            assert!(rewrap(&old, &service.current.1, &key(0)).is_err());
        }
    }
}

#[tokio::test]
async fn what_the_service_does_not_take_is_not_written() {
    let header = formatted(&key(7));
    let service = Service::of(&header, key(7), key(8));
    let rotation = service.rotation().unwrap();
    let made = Rewrapped::new(&header, &key(7), &rotation).unwrap();
    assert_eq!(made.record(async |_: &Rotated| Err::<(), _>("no")).await.err(), Some("no"));
    assert!(matches!(Rewrapped::new(&header, &key(6), &rotation), Err(RewrapError::UnlockKeyWrong)));
    assert!(Written::found(&header, &rotation).is_none(), "nothing is on record beside it");
}

#[tokio::test]
async fn a_rotated_header_is_on_the_partition_and_only_it() {
    let (header, file) = (formatted(&key(7)), tempfile::tempfile().unwrap());
    file.set_len(2 << 20).unwrap();
    put(&file)(0, header.bytes()).unwrap();
    let mut service = Service::of(&header, key(7), key(8));
    let rotation = service.rotation().unwrap();
    let recorded = Rewrapped::new(&header, &key(7), &rotation).unwrap();
    let recorded = recorded.record(async |message| service.record(message)).await.unwrap();
    let written = recorded.write(put(&file)).unwrap();
    assert_eq!(written.commit(async |message| service.commit(message)).await, Ok(4));
    let found = read_header(&file, &[service.current.0], Rules::default()).unwrap();
    assert!(found.mend().is_none());
    assert_eq!(found.header().bytes().len(), HEADER_LEN);
    assert_eq!(found.header().uuid(), header.uuid());
    let old = read_header(&file, &[Sha256Digest(header.digest().0)], Rules::default()).unwrap_err();
    assert_eq!(old.code(), Code::HeaderDigest);
}
