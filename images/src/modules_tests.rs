//! Tests of the module resolver, on modules made here: ELF files with a `.modinfo` section.

use super::*;

/// An ELF64 relocatable file that holds only `.modinfo` and its name table.
fn module(info: &[&str]) -> Vec<u8> {
    let modinfo: Vec<u8> = info.iter().flat_map(|entry| entry.bytes().chain([0])).collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (data, strings) = (64u64, 64 + modinfo.len() as u64);
    let table = (strings + names.len() as u64).next_multiple_of(8);
    for half in [1u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for wide in [0u64, 0, table] {
        out.extend(wide.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 0, 0, 64, 3, 2] {
        out.extend(half.to_le_bytes());
    }
    out.extend(&modinfo);
    out.extend(names);
    out.resize(table as usize, 0);
    out.extend([0; 64]);
    for (name, kind, offset, size) in
        [(1u32, 1u32, data, modinfo.len() as u64), (10, 3, strings, names.len() as u64)]
    {
        out.extend(name.to_le_bytes());
        out.extend(kind.to_le_bytes());
        for wide in [0, 0, offset, size] {
            out.extend(wide.to_le_bytes());
        }
        out.extend([0; 8]);
        for wide in [1u64, 0] {
            out.extend(wide.to_le_bytes());
        }
    }
    out
}

struct Kernel(tempfile::TempDir);

impl Kernel {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("lib/modules/6.1.0-test");
        std::fs::create_dir_all(base.join("kernel")).unwrap();
        std::fs::write(base.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\nkernel/crypto/cbc.ko\n")
            .unwrap();
        let kernel = Self(dir);
        kernel.add("drivers/virtio/virtio.ko", &["name=virtio", "depends="]);
        kernel.add("drivers/virtio/virtio_ring.ko", &["depends=virtio"]);
        kernel.add("drivers/net/virtio_net.ko", &["depends=virtio_ring,virtio"]);
        kernel.add("drivers/block/virtio_blk.ko", &["depends=virtio_ring"]);
        kernel.add("drivers/md/dm-mod.ko", &["depends="]);
        kernel.add(
            "drivers/md/dm-crypt.ko",
            &["depends=dm-mod", "softdep=pre: xts cbc nothere post: virtio_net"],
        );
        kernel.add("crypto/xts.ko", &["softdep=pre: ecb", "depends="]);
        kernel.add("crypto/ecb.ko", &["depends="]);
        kernel
    }

    fn add(&self, path: &str, info: &[&str]) {
        self.add_bytes(path, &module(info));
    }

    fn add_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join("lib/modules/6.1.0-test/kernel").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn resolve(&self, names: &[&str]) -> Result<Vec<Module>, ModuleError> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        Tree::open(self.0.path()).unwrap().resolve(&names)
    }

    fn order(&self, names: &[&str]) -> Vec<(String, bool)> {
        self.resolve(names).unwrap().into_iter().map(|m| (m.name, m.late)).collect()
    }
}

fn named(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(name, late)| ((*name).to_owned(), *late)).collect()
}

#[test]
fn dependencies_come_first_and_block_drivers_late() {
    let got = Kernel::new().order(&["dm_crypt", "virtio-blk", "virtio_net", "ext4"]);
    let want = [
        ("virtio", false),
        ("virtio_ring", false),
        ("virtio_net", false),
        ("dm_mod", true),
        ("ecb", true),
        ("xts", true),
        ("dm_crypt", true),
        ("virtio_blk", true),
    ];
    assert_eq!(got, named(&want));
}

#[test]
fn whatever_is_not_known_to_be_harmless_waits_for_the_cap() {
    let kernel = Kernel::new();
    for path in ["drivers/usb/storage/usb-storage.ko", "drivers/nvdimm/virtio_pmem.ko", "drivers/ufs/ufs.ko"]
    {
        kernel.add(path, &["depends="]);
    }
    for name in ["usb-storage", "virtio_pmem", "ufs"] {
        assert!(kernel.order(&[name]).iter().all(|(_, late)| *late), "{name}");
    }
}

#[test]
fn init_data_is_measured_before_the_cap() {
    let kernel = Kernel::new();
    kernel.add("drivers/firmware/qemu_fw_cfg.ko", &["depends="]);
    kernel.add("drivers/firmware/dmi-sysfs.ko", &["depends="]);
    let got = kernel.order(&["dmi-sysfs", "qemu_fw_cfg"]);
    assert_eq!(got, named(&[("qemu_fw_cfg", false), ("dmi_sysfs", true)]));
}

#[test]
fn what_both_need_is_loaded_early_once() {
    let got = Kernel::new().order(&["virtio_blk", "virtio_net"]);
    assert_eq!(got.iter().filter(|(name, _)| name == "virtio_ring").count(), 1);
    assert_eq!(got.last().unwrap(), &("virtio_blk".to_owned(), true));
}

#[test]
fn compressed_modules_are_unpacked_whole() {
    let kernel = Kernel::new();
    let content = module(&["depends=virtio"]);
    kernel.add_bytes("drivers/net/a.ko.zst", &zstd::encode_all(content.as_slice(), 3).unwrap());
    let xz =
        crate::tool::Tool::new("xz", "xz-utils").args(["-c", "-"]).stdin(content.clone()).output().unwrap();
    kernel.add_bytes("drivers/net/b.ko.xz", &xz);
    for name in ["a", "b"] {
        let got = kernel.resolve(&[name]).unwrap();
        let last = got.last().unwrap();
        assert_eq!(last.path, format!("/lib/modules/6.1.0-test/kernel/drivers/net/{name}.ko"));
        assert_eq!(last.content, content);
    }
}

#[test]
fn each_refusal_is_named() {
    let kernel = Kernel::new();
    let error = kernel.resolve(&["nothere"]).unwrap_err();
    assert_eq!(error.to_string(), "the kernel 6.1.0-test has no module `nothere`: correct [kernel] modules");
    kernel.add("drivers/net/c.ko", &["depends=gone"]);
    assert!(
        matches!(kernel.resolve(&["c"]), Err(ModuleError::Unknown { needed_by: Some(by), .. }) if by == "c")
    );
    kernel.add("drivers/net/d.ko", &["depends=e"]);
    kernel.add("drivers/net/e.ko", &["depends=d"]);
    assert!(matches!(kernel.resolve(&["d"]), Err(ModuleError::Circle(name)) if name == "d"));
    kernel.add_bytes("drivers/net/f.ko", b"no ELF");
    assert!(matches!(kernel.resolve(&["f"]), Err(ModuleError::Malformed(_))));
    assert!(matches!(Tree::open(Path::new("/nowhere")), Err(ModuleError::Read { .. })));
    std::fs::create_dir_all(kernel.0.path().join("lib/modules/6.2.0")).unwrap();
    assert!(matches!(Tree::open(kernel.0.path()), Err(ModuleError::NoKernel(_))));
}
