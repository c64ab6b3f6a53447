//! `ccnode recover` and `ccnode disk open`, from the custodians' keys to the key of a volume on a disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ccnode_evidence::Sha256Digest;
use ccnode_luks_header::{HeaderDigest, Integrity};
use ccnode_luks_volume::{FormatSpec, RecoveryKey, Sources, VolumeKey, format};
use ccnode_protocol::recovery::{Custodian, Custodians};
use ccnode_recovery::{Volume, split};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use zeroize::Zeroizing;

const UUID: &str = "28632274-8c8a-493f-835b-da802e1c576b";
const ID: &str = "workers-a2b3c4d5e6/root";

/// A folder of one test's own, empty.
fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _old = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Exit code, standard output, standard error.
fn ccnode(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_ccnode")).current_dir(dir).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

fn good(dir: &Path, args: &[&str]) -> String {
    let (code, out, error) = ccnode(dir, args);
    assert_eq!(code, 0, "{args:?}: {error}");
    out
}

fn refused(dir: &Path, args: &[&str], exit: i32, want: &str) {
    let (code, out, error) = ccnode(dir, args);
    assert_eq!((code, out.as_str()), (exit, ""), "{args:?}: {error}");
    assert!(error.contains(want), "{args:?}: {error}");
}

/// A disk `NAME.img`, whose header two of the custodians `a`, `b` and `c` recover, and what the service would give out, `NAME.json`.
fn made(dir: &Path, name: &str, id: &str, seed: u8) {
    let sources = Sources {
        kernel: Zeroizing::new([seed; 64]),
        service: Zeroizing::new([2; 32]),
        tpm: Zeroizing::new([3; 32]),
    };
    let (key, seed) = RecoveryKey::generate(&sources);
    let spec = FormatSpec {
        uuid: UUID,
        volume: &id.parse().unwrap(),
        generation: 1,
        unlock_key: &Zeroizing::new([4; 32]),
        volume_key: &VolumeKey::generate(&sources, Integrity::None),
        tags: None,
        recovery_key: Some(&key),
    };
    let header = format(&spec).unwrap();
    let read = |who| Custodian::from_pem(&std::fs::read_to_string(dir.join(who)).unwrap()).unwrap();
    let custodians = Custodians::new(["a.pub", "b.pub", "c.pub"].map(read).to_vec(), 2).unwrap();
    let recovery = split(key.bytes(), seed, &Volume { id, uuid: UUID, generation: 1 }, &custodians).unwrap();
    let record = json!({
        "kind": "ccnode-recovery-shares/1",
        "content": {
            "volume": id, "uuid": UUID, "formatted": 1, "header-digests": [Sha256Digest(header.digest().0)],
            "recovery": recovery,
        },
    });
    std::fs::write(dir.join(format!("{name}.json")), record.to_string()).unwrap();
    let mut disk = header.bytes().to_vec();
    disk.resize(2 << 20, 0);
    std::fs::write(dir.join(format!("{name}.img")), disk).unwrap();
}

/// Three custodians, and what they are to recover.
fn custodians(name: &str) -> PathBuf {
    let dir = folder(name);
    for who in ["a", "b", "c"] {
        good(&dir, &["recover", "keygen", "-o", who]);
    }
    made(&dir, "disk", ID, 1);
    dir
}

fn open_share(dir: &Path, file: &str, who: &str, share: &str) {
    let said = good(dir, &["recover", "open-share", file, "--key", who, "-o", share]);
    assert!(said.ends_with("2 are needed\n"), "{said}");
}

fn edited(dir: &Path, from: &str, to: &str, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&std::fs::read_to_string(dir.join(from)).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(dir.join(to), value.to_string()).unwrap();
}

#[test]
fn two_of_three_custodians_recover_a_disk() {
    let dir = custodians("recover");
    let mode = |file: &str| std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("a.pub")), (0o600, 0o644));
    open_share(&dir, "disk.json", "c", "c.share");
    open_share(&dir, "disk.json", "a", "a.share");
    let said = good(&dir, &["recover", "combine", "c.share", "a.share", "-o", "key"]);
    assert_eq!(said, format!("the key of {ID} ({UUID})\n"));
    assert_eq!((mode("a.share"), mode("key")), (0o600, 0o600));
    let said = good(&dir, &["--json", "recover", "combine", "c.share", "a.share", "-o", "again"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((said["volume"].as_str(), said.get("key")), (Some(ID), None));
    // A file is nothing to map: header and key were found right before.
    let open = ["disk", "open", "disk.img", "rescued", "--recovery-key", "key"];
    refused(&dir, &open, 1, "disk.img: not a block device");
    refused(&dir, &["disk", "open", "disk.img", "a/b", "--recovery-key", "key"], 2, "not a device name");
}

#[test]
fn what_was_changed_on_the_way_is_refused() {
    let dir = custodians("recover-changed");
    open_share(&dir, "disk.json", "a", "a.share");
    open_share(&dir, "disk.json", "b", "b.share");
    refused(&dir, &["recover", "keygen", "-o", "a"], 2, "a is there already");
    refused(
        &dir,
        &["recover", "open-share", "disk.json", "--key", "a", "-o", "a.share"],
        2,
        "a.share is there already",
    );
    let combine = |shares: &[&str], exit, want: &str| {
        let args = [&["recover", "combine"], shares, &["-o", "key"]].concat();
        refused(&dir, &args, exit, want);
        assert!(!dir.join("key").exists());
    };
    combine(&["a.share"], 3, "1 shares, and 2 are needed: have more custodians");
    combine(&["a.share", "a.share"], 3, "1 shares, and 2 are needed");
    combine(&["a.share", "nowhere"], 2, "reading nowhere");
    combine(
        &["a.share", "disk.json"],
        3,
        "disk.json is not what `ccnode recover open-share` wrote (ccnode-recovery-share/1): it is of the kind",
    );
    combine(&["a.share", "disk.img"], 3, "disk.img");
    made(&dir, "other", "workers-other/root", 2);
    open_share(&dir, "other.json", "b", "other.share");
    combine(&["a.share", "other.share"], 3, "shares of two volumes");
    edited(&dir, "b.share", "bad.share", |v| v["content"]["share"] = json!("q6ur".repeat(10) + "q6s"));
    combine(&["a.share", "bad.share"], 3, "do not make the key that was split");
    edited(&dir, "b.share", "more.share", |v| v["content"]["more"] = json!(1));
    combine(&["a.share", "more.share"], 3, "unknown field `more`");

    let open = |file: &str, key: &str, exit, want: &str| {
        refused(&dir, &["recover", "open-share", file, "--key", key, "-o", "x.share"], exit, want);
        assert!(!dir.join("x.share").exists());
    };
    good(&dir, &["recover", "keygen", "-o", "d"]);
    open("disk.json", "d", 3, "none of the shares is sealed to this key");
    open("disk.json", "a.pub", 3, "not a private key of P-256");
    edited(&dir, "disk.json", "bad.json", |v| v["content"]["volume"] = json!("workers-other/root"));
    open("bad.json", "a", 3, "the share does not open");
}

#[test]
fn a_disk_that_is_not_on_record_is_not_opened() {
    let dir = custodians("recover-disk");
    for who in ["a", "b"] {
        open_share(&dir, "disk.json", who, &format!("{who}.share"));
    }
    good(&dir, &["recover", "combine", "a.share", "b.share", "-o", "key"]);
    let open = |disk: &str, key: &str, exit, want: &str| {
        refused(&dir, &["disk", "open", disk, "rescued", "--recovery-key", key], exit, want);
    };
    made(&dir, "other", "workers-other/root", 2);
    open("other.img", "key", 3, "luks-header-digest");
    open("nowhere.img", "key", 2, "reading nowhere.img");
    open(
        "disk.img",
        "disk.json",
        3,
        "disk.json is not what `ccnode recover combine` wrote (ccnode-recovery-key/1)",
    );
    open("disk.json", "key", 3, "see that this is the partition of workers-a2b3c4d5e6/root");
    // Whoever says what header is on record can't say whose it is, nor what key wrapped it.
    let other = std::fs::read(dir.join("other.img")).unwrap();
    let digest = HeaderDigest::of(&other[..ccnode_luks_header::HEADER_LEN]).to_string();
    edited(&dir, "key", "key-2", |v| v["content"]["header-digests"] = json!([digest]));
    open("other.img", "key-2", 3, "other.img is workers-other/root");
    edited(&dir, "key-2", "key-3", |v| v["content"]["volume"] = json!("workers-other/root"));
    open("other.img", "key-3", 3, "the recovery key does not unwrap the volume key");
}

#[test]
fn who_closes_nothing_is_told_so() {
    let (code, _, error) = ccnode(Path::new("."), &["disk", "close", "nothing-of-this-name"]);
    assert!(code == 1 && error.contains("closing nothing-of-this-name"), "{error}");
}
