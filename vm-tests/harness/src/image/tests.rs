//! Images made, spoilt and put right again.

use super::*;

fn disk(dir: &Path) -> Image {
    let parts = [("esp", TYPE_ESP, 4), ("root", TYPE_LINUX, 2)];
    let image = Image::create(dir.join("a,b disk.img"), &parts).unwrap();
    let esp = image.partition("esp").unwrap();
    let fat = dir.join("fat");
    File::create(&fat).unwrap().set_len(esp.len).unwrap();
    run(Command::new("mkfs.fat").arg(&fat), "").unwrap();
    image.load(&esp, &fat).unwrap();
    image
}

#[test]
fn partitions_as_made() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    let partitions = image.partitions().unwrap();
    assert_eq!(partitions.iter().map(|p| p.label.as_str()).collect::<Vec<_>>(), ["esp", "root"]);
    assert_eq!(partitions[0].kind, TYPE_ESP);
    assert_eq!((partitions[0].start, partitions[0].len), (1 << 20, 4 << 20));
    assert_eq!(partitions[1].len, 2 << 20);
}

#[test]
fn patches_stay_within_the_partition() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    let root = image.partition("root").unwrap();
    image.patch(&root, 10, b"abc").unwrap();
    image.flip(&root, 11).unwrap();
    assert_eq!(image.read_at(&root, 9, 5).unwrap(), [0, b'a', !b'b', b'c', 0]);
    assert!(image.patch(&root, root.len - 1, b"xy").is_err());
    assert!(image.read_at(&root, u64::MAX, 1).is_err());
    let copy = image.copy_to(dir.path().join("copy")).unwrap();
    image.wipe(&root).unwrap();
    assert_eq!(image.read_at(&root, 9, 5).unwrap(), [0; 5]);
    image.copy_partition("root", &copy).unwrap();
    assert_eq!(image.read_at(&root, 10, 1).unwrap(), b"a");
}

#[test]
fn dump_and_load() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    let root = image.partition("root").unwrap();
    image.patch(&root, root.len - 1, b"z").unwrap();
    let file = dir.path().join("dump");
    image.dump(&root, &file).unwrap();
    assert_eq!(fs::read(&file).unwrap().len() as u64, root.len);
    image.wipe(&root).unwrap();
    image.load(&root, &file).unwrap();
    assert_eq!(image.read_at(&root, root.len - 1, 1).unwrap(), b"z");
    File::create(&file).unwrap().set_len(root.len + 1).unwrap();
    assert!(image.load(&root, &file).is_err());
}

#[test]
fn files_on_fat() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    let esp = image.partition("esp").unwrap();
    let uki: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    image.fat_write(&esp, "/EFI/BOOT/BOOTX64.EFI", &uki).unwrap();
    image.fat_write(&esp, "/EFI/BOOT/BOOTX64.EFI.extra.d/x.cred", b"x").unwrap();
    assert_eq!(image.fat_read(&esp, "/EFI/BOOT/BOOTX64.EFI").unwrap(), uki);
    image.fat_write(&esp, "/EFI/BOOT/BOOTX64.EFI", b"short").unwrap();
    assert_eq!(image.fat_read(&esp, "/EFI/BOOT/BOOTX64.EFI").unwrap(), b"short");
    let files = image.fat_list(&esp).unwrap();
    assert_eq!(files, ["/EFI/BOOT/BOOTX64.EFI", "/EFI/BOOT/BOOTX64.EFI.extra.d/x.cred"]);
    image.fat_remove(&esp, "/EFI/BOOT/BOOTX64.EFI").unwrap();
    assert!(image.fat_read(&esp, "/EFI/BOOT/BOOTX64.EFI").is_err());
}

#[test]
fn added_and_renamed_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path());
    let root = image.partition("root").unwrap();
    image.patch(&root, 0, b"kept").unwrap();
    let swap = image.add_partition("swap", TYPE_SWAP, 1).unwrap();
    assert_eq!((swap.number, swap.kind.as_str(), swap.len), (3, TYPE_SWAP, 1 << 20));
    assert_eq!(image.partition("root").unwrap(), root);
    assert_eq!(image.read_at(&root, 0, 4).unwrap(), b"kept");
    image.set_label(&swap, "root").unwrap();
    assert!(image.partition("root").unwrap_err().to_string().contains("several"));
    assert!(image.partition("swap").unwrap_err().to_string().contains("no partition"));
}

#[test]
fn no_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blank");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(Image::at(path).partitions().unwrap_err().to_string().contains("no GPT"));
}
