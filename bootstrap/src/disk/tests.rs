//! Disks as image files below a made-up `/sys/block`.

use super::*;
use crate::gpt::tests as gpt_tests;
use ccnode_luks_header::Integrity;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

struct Machine {
    _dir: tempfile::TempDir,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { sys_block: dir.path().join("block"), dev: dir.path().join("dev") };
        fs::create_dir_all(&places.sys_block).unwrap();
        fs::create_dir_all(&places.dev).unwrap();
        Self { _dir: dir, places }
    }

    /// A disk with these partitions; the kernel's view of them agrees.
    fn disk(&self, name: &str, serial: &str, partitions: &[(&str, u64, u64)]) -> File {
        let sys = self.places.sys_block.join(name);
        let put = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(sys.join("serial"), serial);
        put(sys.join("size"), &format!("{}\n", gpt_tests::LEN / 512));
        put(sys.join("queue/logical_block_size"), "512\n");
        fs::create_dir_all(sys.join("device")).unwrap();
        for (i, (_, start, len)) in partitions.iter().enumerate() {
            put(sys.join(format!("{name}{}/start", i + 1)), &start.to_string());
            put(sys.join(format!("{name}{}/size", i + 1)), &len.to_string());
            put(self.places.dev.join(format!("{name}{}", i + 1)), "");
        }
        let path = self.places.dev.join(name);
        let disk = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        disk.set_len(gpt_tests::LEN).unwrap();
        gpt_tests::write(&disk, partitions, 1);
        gpt_tests::write(&disk, partitions, gpt_tests::LEN / 512 - 1);
        disk
    }
}

const GOOD: &[(&str, u64, u64)] = &[("esp", 64, 64), ("root-source", 128, 64), ("root", 192, 128)];

fn config() -> Config {
    Config {
        serial: Some("ccnode-root".into()),
        sysfs: None,
        root: "root".into(),
        source: Some("root-source".into()),
        swap: None,
        data: Vec::new(),
        integrity: Integrity::None,
    }
}

#[test]
fn partitions_are_found_on_the_named_disk() {
    let machine = Machine::new();
    machine.disk("vda", "other", &[("data", 64, 64)]);
    machine.disk("vdb", "ccnode-root", GOOD);
    let found = machine.places.find(&config()).unwrap();
    assert_eq!(found.root, machine.places.dev.join("vdb3"));
    assert_eq!(found.source().unwrap(), machine.places.dev.join("vdb2"));
    assert_eq!(found.root_len, 128 * 512);
}

#[test]
fn no_disk_or_two_of_the_name() {
    let machine = Machine::new();
    machine.disk("vda", "other", GOOD);
    assert_eq!(machine.places.find(&config()).unwrap_err().code(), Code::DiskMissing);
    machine.disk("vdb", "ccnode-root", GOOD);
    machine.disk("vdc", "ccnode-root", GOOD);
    assert_eq!(machine.places.find(&config()).unwrap_err().code(), Code::DuplicatePartition);
}

#[test]
fn no_root_partition() {
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", &[("root-source", 64, 64)]);
    let error = machine.places.find(&config()).unwrap_err();
    assert_eq!((error.code(), error.to_string()), (Code::RootMissing, "vda has no partition `root`".into()));
}

#[test]
fn t16_the_label_twice_on_the_disk() {
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", &[("root", 64, 64), ("root-source", 128, 64), ("root", 192, 64)]);
    let error = machine.places.find(&config()).unwrap_err();
    assert_eq!(error.code(), Code::DuplicatePartition);
    assert!(
        error.to_string().contains("partition 1") && error.to_string().contains("partition 3"),
        "{error}"
    );
}

#[test]
fn t16_the_label_on_another_disk() {
    for twin in ["root", "root-source"] {
        let machine = Machine::new();
        machine.disk("vda", "ccnode-root", GOOD);
        let other = machine.disk("vdb", "x", &[(twin, 64, 64)]);
        assert_eq!(machine.places.find(&config()).unwrap_err().code(), Code::DuplicatePartition);
        // Hidden in the backup table alone.
        other.write_all_at(&[0; 512], 512).unwrap();
        assert_eq!(machine.places.find(&config()).unwrap_err().code(), Code::DuplicatePartition);
        other.write_all_at(&[0; 512], gpt_tests::LEN - 512).unwrap();
        assert!(machine.places.find(&config()).is_ok());
    }
}

#[test]
fn t16_swap_is_where_its_label_is_named_and_nowhere_else() {
    let with_swap = [GOOD, &[("swap", 320, 64)]].concat();
    let named = Config { swap: Some("swap".into()), ..config() };
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", &with_swap);
    let found = machine.places.find(&named).unwrap();
    assert_eq!(found.swap, Some((machine.places.dev.join("vda4"), 64 * 512)));
    assert_eq!(machine.places.find(&config()).unwrap().swap, None, "nobody asked for it");
    machine.disk("vdb", "x", &[("swap", 64, 64)]);
    assert_eq!(machine.places.find(&named).unwrap_err().code(), Code::DuplicatePartition);
    assert!(machine.places.find(&config()).is_ok());
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", GOOD);
    assert_eq!(machine.places.find(&named).unwrap_err().code(), Code::RootMissing);
    // Volumes for data likewise.
    let data = crate::config::Data { name: "a".parse().unwrap(), label: "swap".into(), mount: "/a".into() };
    let named = Config { data: vec![data], ..config() };
    assert_eq!(machine.places.find(&named).unwrap_err().code(), Code::RootMissing);
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", &with_swap);
    assert_eq!(machine.places.find(&named).unwrap().data, [(machine.places.dev.join("vda4"), 64 * 512)]);
    machine.disk("vdb", "x", &[("swap", 64, 64)]);
    assert_eq!(machine.places.find(&named).unwrap_err().code(), Code::DuplicatePartition);
}

#[test]
fn t16_a_table_of_another_disk_that_only_the_kernel_understands() {
    for lba in [1, gpt_tests::LEN / 512 - 1] {
        let machine = Machine::new();
        machine.disk("vda", "ccnode-root", GOOD);
        let other = machine.disk("vdb", "x", &[("data", 64, 64)]);
        // A larger header: the specification allows it, and we don't read it.
        other.write_all_at(&[93], lba * 512 + 12).unwrap();
        let error = machine.places.find(&config()).unwrap_err();
        assert_eq!(error.code(), Code::PartitionTable);
        assert!(error.to_string().starts_with("vdb: "), "{error}");
    }
}

#[test]
fn another_disk_without_table_or_medium_is_nobodys_business() {
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", GOOD);
    machine.disk("vdb", "x", &[]).set_len(0).unwrap();
    machine.disk("vdc", "y", &[]);
    fs::remove_file(machine.places.dev.join("vdc")).unwrap();
    assert!(machine.places.find(&config()).is_ok());
}

#[test]
fn a_damaged_table_is_not_guessed_at() {
    let machine = Machine::new();
    let disk = machine.disk("vda", "ccnode-root", GOOD);
    disk.write_all_at(&[0xff], 1024 + 60).unwrap();
    assert_eq!(machine.places.find(&config()).unwrap_err().code(), Code::PartitionTable);
}

#[test]
fn kernel_and_table_must_agree() {
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", GOOD);
    fs::write(machine.places.sys_block.join("vda/vda3/start"), "193").unwrap();
    assert_eq!(machine.places.find(&config()).unwrap_err().code(), Code::PartitionTable);
}

#[test]
fn a_disk_can_be_named_by_its_path() {
    let machine = Machine::new();
    machine.disk("vda", "", GOOD);
    let device = machine.places.sys_block.join("pci0000:00/0000:00:04.0/virtio2");
    fs::create_dir_all(&device).unwrap();
    let link = machine.places.sys_block.join("vda/device");
    fs::remove_dir(&link).unwrap();
    std::os::unix::fs::symlink(&device, &link).unwrap();
    let by = |path: &str| Config { serial: None, sysfs: Some(path.into()), ..config() };
    assert!(machine.places.find(&by("0000:00:04.0/virtio2")).is_ok());
    let other = machine.places.find(&by("0000:00:04.0/virtio")).unwrap_err();
    assert_eq!(other.code(), Code::DiskMissing);
}

#[tokio::test]
async fn a_late_disk_is_waited_for_and_a_missing_one_is_not_waited_for_forever() {
    let machine = Machine::new();
    let soon = Deadline::after(Duration::from_millis(50));
    assert_eq!(machine.places.wait(&config(), soon).await.unwrap_err().code(), Code::DiskMissing);
    let config = config();
    let (found, ()) =
        tokio::join!(machine.places.wait(&config, Deadline::after(Duration::from_secs(20))), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            machine.disk("vda", "ccnode-root", GOOD);
            // The node comes last, as from the kernel.
            fs::rename(machine.places.dev.join("vda"), machine.places.dev.join("x")).unwrap();
            fs::copy(machine.places.dev.join("x"), machine.places.dev.join("vda")).unwrap();
        });
    assert!(found.is_ok(), "{found:?}");
}

#[tokio::test]
async fn partitions_that_come_after_their_disk_are_waited_for() {
    let machine = Machine::new();
    machine.disk("vda", "ccnode-root", GOOD);
    let (sys, dev) = (machine.places.sys_block.join("vda/vda3"), machine.places.dev.join("vda3"));
    let config = config();
    let far = || Deadline::after(Duration::from_secs(20));
    let late = || tokio::time::sleep(Duration::from_millis(200));
    // The node, the whole partition, the kernel's mind.
    for case in 0..3 {
        match case {
            0 => fs::remove_file(&dev).unwrap(),
            1 => fs::rename(&sys, machine.places.sys_block.join("away")).unwrap(),
            _ => fs::write(sys.join("start"), "193").unwrap(),
        }
        let soon = Deadline::after(Duration::from_millis(50));
        assert!(machine.places.wait(&config, soon).await.is_err(), "{case}");
        let (found, ()) = tokio::join!(machine.places.wait(&config, far()), async {
            late().await;
            if case == 1 {
                fs::rename(machine.places.sys_block.join("away"), &sys).unwrap();
            }
            fs::write(sys.join("start"), "192").unwrap();
            let _ = fs::remove_file(&dev);
            fs::write(&dev, "").unwrap();
        });
        assert!(found.is_ok(), "{case}: {found:?}");
    }
}
