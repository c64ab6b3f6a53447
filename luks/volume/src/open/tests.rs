//! Formatting and all of opening that needs no device-mapper, with cryptsetup as the judge of both.

use std::process::{Command, Output};

use ccnode_luks_header::{Allowlist, HEADER_LEN, Header, HeaderDigest, Integrity, judge};

use super::*;
use crate::dm::tests::table;
use crate::{FormatError, FormatSpec, Sources, format};

const UUID: &str = "28632274-8c8a-493f-835b-da802e1c576b";

fn unlock_key() -> UnlockKey {
    Zeroizing::new([4; 32])
}

fn volume_key() -> VolumeKey {
    VolumeKey::generate(
        &Sources {
            kernel: Zeroizing::new([1; 64]),
            service: Zeroizing::new([2; 32]),
            tpm: Zeroizing::new([3; 32]),
        },
        Integrity::None,
    )
}

fn formatted() -> Expected {
    let volume = "n-abc/root".parse().unwrap();
    let (unlock_key, volume_key) = (unlock_key(), volume_key());
    let spec = FormatSpec {
        uuid: UUID,
        volume: &volume,
        generation: 7,
        unlock_key: &unlock_key,
        volume_key: &volume_key,
        tags: None,
        recovery_key: None,
    };
    format(&spec).unwrap()
}

fn recovery_key(byte: u8) -> RecoveryKey {
    RecoveryKey::new(Zeroizing::new([byte; 32]))
}

/// The same volume with custodians.
fn recoverable() -> Expected {
    let volume = "n-abc/root".parse().unwrap();
    let (unlock_key, volume_key, recovery_key) = (unlock_key(), volume_key(), recovery_key(6));
    let spec = FormatSpec {
        uuid: UUID,
        volume: &volume,
        generation: 7,
        unlock_key: &unlock_key,
        volume_key: &volume_key,
        tags: None,
        recovery_key: Some(&recovery_key),
    };
    format(&spec).unwrap()
}

fn name() -> Name {
    "root".parse().unwrap()
}

/// A file as the partition would be: header, gap, some ciphertext.
fn partition(header: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), header).unwrap();
    file.as_file().set_len(2 << 20).unwrap();
    file
}

fn cryptsetup(args: &[&str], file: &Path) -> Output {
    let out = Command::new("cryptsetup").args(args).arg(file).output().expect("cryptsetup is needed");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

#[test]
fn what_is_formatted_is_acceptable_and_ours() {
    let header = formatted();
    assert_eq!(header.bytes().len(), HEADER_LEN);
    assert_eq!((header.uuid(), header.token().generation), (UUID, 7));
    let judged = judge(header.bytes().to_vec(), &Allowlist::VOLUME).unwrap();
    assert!(judged.require_digest(&HeaderDigest::of(header.bytes())).is_ok());
    let key = VolumeKey::unwrap(&header.token().wrapped, &unlock_key()).unwrap();
    assert_eq!(key.expose(), volume_key().expose());
}

#[test]
fn a_damaged_secondary_is_restored_to_the_registered_digest() {
    let header = formatted();
    let mut bytes = header.bytes().to_vec();
    bytes[0x4000..0x8000].fill(0xff);
    ccnode_luks_header::rebuild_secondary(&mut bytes).unwrap();
    assert_eq!(HeaderDigest::of(&bytes), header.digest());
}

#[test]
fn no_key_stands_in_the_header() {
    let header = formatted();
    for secret in [&volume_key().expose()[..32], &volume_key().expose()[32..], &*unlock_key()] {
        assert!(!header.bytes().windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn cryptsetup_likes_the_volume() {
    let header = formatted();
    let file = partition(header.bytes());
    cryptsetup(&["isLuks", "--type", "luks2"], file.path());
    let dump = String::from_utf8(cryptsetup(&["luksDump"], file.path()).stdout).unwrap();
    for line in
        [UUID, "0: ccnode", "cipher: aes-xts-plain64", "offset: 1048576 [bytes]", "sector: 4096 [bytes]"]
    {
        assert!(dump.contains(line), "{line} is not in:\n{dump}");
    }
    // And reads in it what we do.
    let theirs = cryptsetup(&["luksDump", "--dump-json-metadata"], file.path()).stdout;
    let ours = Header::parse(header.bytes(), 2 << 20).unwrap().metadata();
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&theirs), json(ours.as_bytes()));
}

#[test]
fn cryptsetup_opens_the_volume_with_our_volume_key_alone() {
    let file = partition(formatted().bytes());
    let key = tempfile::NamedTempFile::new().unwrap();
    let key_path = key.path().to_str().unwrap();
    let test = [
        "open",
        "--test-passphrase",
        "--disable-locks",
        "--key-size",
        "512",
        "--volume-key-file",
        key_path,
        "-q",
    ];
    std::fs::write(key.path(), volume_key().expose()).unwrap();
    cryptsetup(&test, file.path());
    std::fs::write(key.path(), [0; 64]).unwrap();
    let out = Command::new("cryptsetup").args(test).arg(file.path()).output().unwrap();
    assert!(!out.status.success());
}

#[test]
fn the_library_loads_the_judged_bytes_and_checks_the_volume_key() {
    let header = formatted();
    let (_memory, mut crypt) = load(&Target::from(&header), None).unwrap();
    assert!(crypt.volume_key_handle().verify(volume_key().expose()).is_ok());
    let activate = |crypt: &mut CryptDevice, key: &[u8]| {
        let none = CryptActivate::empty();
        call("check", || crypt.activate_handle().activate_by_volume_key(None, Some(key), none))
    };
    assert!(activate(&mut crypt, volume_key().expose()).is_ok());
    let wrong = activate(&mut crypt, &[0; 64]).unwrap_err();
    assert_eq!(wrong.errno(), Some(nix::libc::EPERM));
    // What the library says goes into the error and not to the terminal.
    assert_eq!(wrong.log, "Volume key does not match the volume.");
}

#[test]
fn a_wrong_unlock_key_is_told_before_the_device_is_touched() {
    let refused = open(&formatted(), Path::new("/nonexistent"), &Zeroizing::new([5; 32]), &name());
    assert!(matches!(refused, Err(OpenError::UnlockKeyWrong)));
    let missing = open(&formatted(), Path::new("/nonexistent"), &unlock_key(), &name());
    assert!(matches!(missing, Err(OpenError::Dm(DmError::Device { .. }))));
}

#[test]
fn a_recovery_key_is_told_right_or_wrong_before_the_device_is_touched() {
    let nowhere = |header: &Expected, byte| {
        open_recovered(header, Path::new("/nonexistent"), &recovery_key(byte), &name()).unwrap_err()
    };
    assert!(matches!(nowhere(&recoverable(), 5), OpenError::RecoveryKeyWrong));
    assert!(matches!(nowhere(&formatted(), 6), OpenError::NoRecovery));
    assert!(matches!(nowhere(&recoverable(), 6), OpenError::Dm(DmError::Device { .. })));
}

#[test]
fn the_key_of_recovery_outlives_another_unlock_key() {
    let header = recoverable();
    let wrapped = header.token().recovery.clone().unwrap();
    assert_ne!(wrapped, header.token().wrapped);
    let by = |key: &RecoveryKey| VolumeKey::unwrap(&wrapped, key.bytes());
    assert_eq!(by(&recovery_key(6)).unwrap().expose(), volume_key().expose());
    assert!(by(&recovery_key(5)).is_none() && VolumeKey::unwrap(&wrapped, &unlock_key()).is_none());
    let rotated = crate::rewrap(&header, &unlock_key(), &Zeroizing::new([5; 32])).unwrap();
    assert_eq!(rotated.token().recovery, Some(wrapped));
    assert!(crate::rewrap(&header, recovery_key(6).bytes(), &unlock_key()).is_err(), "it rotates nothing");
}

#[test]
fn formatting_refuses_other_uuids() {
    let volume = "v".parse().unwrap();
    let (unlock_key, volume_key) = (unlock_key(), volume_key());
    for uuid in ["", "x", "28632274-8C8A-493f-835b-da802e1c576b", "286322748c8a493f835bda802e1c576b"] {
        let spec = FormatSpec {
            uuid,
            volume: &volume,
            generation: 1,
            unlock_key: &unlock_key,
            volume_key: &volume_key,
            tags: None,
            recovery_key: None,
        };
        assert!(matches!(format(&spec), Err(FormatError::Uuid(_))));
    }
    let spec = FormatSpec {
        uuid: UUID,
        volume: &volume,
        generation: 0,
        unlock_key: &unlock_key,
        volume_key: &volume_key,
        tags: None,
        recovery_key: None,
    };
    assert!(matches!(format(&spec), Err(FormatError::Refused(_))));
}

fn device() -> Device {
    Device { path: "/dev/vda3".into(), number: (254, 3), len: (1 << 20) + 8192 }
}

const PARAMS: &str = "aes-xts-plain64 :64:logon:cryptsetup:28632274-8c8a-493f-835b-da802e1c576b-d0 0 254:3 2048 1 sector_size:4096";

fn differs(change: impl FnOnce(&mut Table)) -> &'static str {
    let mut table = table("crypt", 16, PARAMS);
    change(&mut table);
    compare(&table, &Target::from(&formatted()), &device(), &volume_key()).unwrap_err().field
}

#[test]
fn t01_a_live_table_that_was_not_judged_is_told() {
    assert_eq!(
        compare(&table("crypt", 16, PARAMS), &Target::from(&formatted()), &device(), &volume_key()),
        Ok(())
    );
    let params = |old: &str, new: &str| {
        let params = Zeroizing::new(PARAMS.replacen(old, new, 1));
        assert_ne!(*params, PARAMS);
        move |table: &mut Table| table.params = params
    };
    assert_eq!(differs(params("aes-xts-plain64", "cipher_null-ecb")), "cipher");
    assert_eq!(differs(params("aes-xts-plain64", "capi:xts(aes)-plain64")), "cipher");
    assert_eq!(differs(params("-d0 0", "-d0 8")), "mapping");
    assert_eq!(differs(params("254:3", "254:4")), "mapping");
    assert_eq!(differs(params("2048", "4096")), "mapping");
    assert_eq!(differs(params("1 sector_size:4096", "")), "mapping");
    assert_eq!(differs(params("1 sector", "2 allow_discards sector")), "mapping");
    assert_eq!(differs(params("-d0", "-d1")), "key");
    assert_eq!(differs(params(":64:", ":32:")), "key");
    assert_eq!(differs(|table| table.params = Zeroizing::new(String::new())), "cipher");
    assert_eq!(differs(|table| table.kind = "linear".into()), "target");
    assert_eq!(differs(|table| table.start = 1), "start");
    assert_eq!(differs(|table| table.sectors = 8), "length in sectors");
    assert_eq!(differs(|table| table.readonly = true), "read-only");
}

#[test]
fn a_key_in_the_table_is_compared_and_not_told() {
    let hex: String = volume_key().expose().iter().map(|b| format!("{b:02x}")).collect();
    let with = |key: &str| {
        let params = format!("aes-xts-plain64 {key} 0 254:3 2048 1 sector_size:4096");
        compare(&table("crypt", 16, &params), &Target::from(&formatted()), &device(), &volume_key())
    };
    assert_eq!(with(&hex), Ok(()));
    let other = hex.replacen(&hex[..1], if hex.starts_with('0') { "1" } else { "0" }, 1);
    let error = with(&other).unwrap_err();
    assert_eq!(error.field, "key");
    assert!(!error.to_string().contains(&other[1..]));
}

/// A volume that cryptsetup formatted with the passphrases `pass` and, in another keyslot, `other`.
fn by_cryptsetup(dir: &Path, kdf: &[&str], sector: &str) -> std::path::PathBuf {
    let (image, key, other) = (dir.join("image"), dir.join("key"), dir.join("other"));
    std::fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
    std::fs::write(&key, "pass").unwrap();
    std::fs::write(&other, "other").unwrap();
    let (first, second) = (key.to_str().unwrap(), other.to_str().unwrap());
    let format = [&["luksFormat", "-q", "--sector-size", sector, "--key-file", first][..], kdf].concat();
    cryptsetup(&format, &image);
    let add = [&["luksAddKey", "-q", "--key-file", first][..], kdf, &[image.to_str().unwrap()]].concat();
    cryptsetup(&add, Path::new(second));
    image
}

#[test]
fn a_passphrase_opens_what_cryptsetup_formatted() {
    use ccnode_luks_header::passphrase::{OpenedBy, judge, read};
    let kdfs: [(&[&str], &str); 2] = [
        (&["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"], "4096"),
        (&["--pbkdf-memory", "1024", "--pbkdf-force-iterations", "4"], "512"),
    ];
    for (kdf, sector) in kdfs {
        let dir = tempfile::tempdir().unwrap();
        let image = by_cryptsetup(dir.path(), kdf, sector);
        let bytes = read(std::fs::File::open(&image).unwrap()).unwrap();
        let header = judge(bytes, OpenedBy::Passphrase).unwrap();
        assert_eq!(header.segment().offset, 16 << 20);
        let target = Target::from(&header);
        let key = unlock(&target, None, b"pass").unwrap();
        assert_eq!(unlock(&target, None, b"other").unwrap().expose(), key.expose());
        for (keyslot, passphrase) in [(None, "wrong"), (Some(0), "other"), (Some(1), "pass")] {
            let refused = unlock(&target, keyslot, passphrase.as_bytes());
            assert!(
                matches!(refused, Err(OpenError::PassphraseWrong)),
                "{keyslot:?} {passphrase}: {refused:?}"
            );
        }
        // cryptsetup has the same key.
        let file = dir.path().join("volume-key");
        std::fs::write(&file, key.expose()).unwrap();
        let file = file.to_str().unwrap();
        cryptsetup(
            &[
                "open",
                "--test-passphrase",
                "--disable-locks",
                "--key-size",
                "512",
                "--volume-key-file",
                file,
                "-q",
            ],
            &image,
        );
        let refused = open_by_passphrase(&header, Path::new("/nonexistent"), b"wrong", &name());
        assert!(matches!(refused, Err(OpenError::PassphraseWrong)), "told before the device is touched");
    }
}

#[test]
fn sectors_of_512_bytes_are_not_spelled_out() {
    let segment = Segment { integrity: Integrity::None, offset: 1 << 20, sector_size: 512 };
    let formatted = formatted();
    let target = Target { segment: &segment, ..Target::from(&formatted) };
    let with = |rest: &str| {
        let params = PARAMS.replace(" 1 sector_size:4096", rest);
        compare(&table("crypt", 16, &params), &target, &device(), &volume_key())
    };
    assert_eq!(with(""), Ok(()));
    assert_eq!(with(" 1 sector_size:4096").unwrap_err().field, "mapping");
    assert_eq!(with(" 1 allow_discards").unwrap_err().field, "mapping");
}

#[test]
fn a_partition_must_hold_whole_sectors() {
    let len = |len| data_len(&Target::from(&formatted()), &Device { len, ..device() });
    assert_eq!(len((1 << 20) + 4096).unwrap(), 4096);
    for wrong in [0, 1 << 20, (1 << 20) - 1, (1 << 20) + 512, (1 << 20) + 4097] {
        assert!(matches!(len(wrong), Err(OpenError::Length { .. })), "{wrong}");
    }
}

#[test]
fn a_volume_under_another_unlock_key_is_the_same_volume() {
    let (header, next) = (formatted(), Zeroizing::new([5; 32]));
    let rotated = crate::rewrap(&header, &unlock_key(), &next).unwrap();
    assert_eq!((rotated.uuid(), rotated.token().generation), (UUID, 8));
    assert_eq!((&rotated.token().volume, rotated.segment()), (&header.token().volume, header.segment()));
    assert_eq!(VolumeKey::unwrap(&rotated.token().wrapped, &next).unwrap().expose(), volume_key().expose());
    assert!(VolumeKey::unwrap(&rotated.token().wrapped, &unlock_key()).is_none());
    // What was begun and cut short is begun again alike.
    assert_eq!(crate::rewrap(&header, &unlock_key(), &next).unwrap().bytes(), rotated.bytes());
    assert!(crate::rewrap(&header, &next, &next).is_err());
    // And cryptsetup takes it for the volume that it was, and our volume key for its.
    let file = partition(rotated.bytes());
    let theirs = cryptsetup(&["luksDump", "--dump-json-metadata"], file.path()).stdout;
    let ours = Header::parse(rotated.bytes(), 2 << 20).unwrap().metadata();
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&theirs), json(ours.as_bytes()));
    let (_memory, mut crypt) = load(&Target::from(&rotated), None).unwrap();
    assert!(crypt.volume_key_handle().verify(volume_key().expose()).is_ok());
}
