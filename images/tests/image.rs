//! Whole images of the shipped recipe: built twice the same, and like what other tools make. Needs root or uidmap, and apt.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use ccnode_images::pe::Pe;
use ccnode_images::uki::Uki;
use ccnode_images::{BuildReport, Inputs, SecureBoot, build, measure_uki};
use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/debian-12-worker/recipe.toml");

fn run(program: &str, args: &[&str]) {
    let output =
        Command::new(program).args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds into `name` below the target folder, with parts kept in `cache`. The certificate is kept too: it is an input.
fn built(name: &str, cache: &Path) -> BuildReport {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ca = tmp.join("image-ca.pem");
    if !ca.exists() {
        let mut params = rcgen::CertificateParams::new(vec!["images test".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let fresh = tmp.join(format!("image-ca.{name}.pem"));
        fs::write(&fresh, pem).unwrap();
        fs::rename(&fresh, &ca).unwrap();
    }
    let inputs =
        Inputs { init: "/bin/true".into(), certificates: vec![ca], cache: cache.to_owned(), epoch: None };
    build(Path::new(RECIPE), &tmp.join(name), &inputs, &mut |_| ()).unwrap_or_else(|e| panic!("{e}"))
}

/// One image for all tests; its parts stay in the target folder from run to run.
fn image() -> &'static BuildReport {
    static IMAGE: OnceLock<BuildReport> = OnceLock::new();
    IMAGE.get_or_init(|| built("image", &Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-cache")))
}

fn uki() -> Uki {
    Uki::parse(&fs::read(&image().uki).unwrap()).unwrap()
}

#[test]
fn two_builds_from_nothing_are_the_same() {
    let fresh = |name| built(name, tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().path());
    let (mut first, second) = (image().clone(), fresh("image-again"));
    let same = |a: &PathBuf, b: &PathBuf| fs::read(a).unwrap() == fs::read(b).unwrap();
    if !same(&first.lock, &second.lock) {
        // Debian published new packages since the kept parts were made.
        first = fresh("image-anew");
    }
    assert!(same(&first.lock, &second.lock), "the locks differ");
    assert!(same(&first.uki, &second.uki), "the UKIs differ");
    assert!(same(&first.tuple_path, &second.tuple_path), "the tuples differ");
    assert!(same(&first.disk, &second.disk), "the disk images differ");
}

#[test]
fn rebuild_of_an_unchanged_recipe_makes_no_part_anew() {
    image();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-cache");
    let parts = || -> BTreeMap<PathBuf, SystemTime> {
        let entries = fs::read_dir(&cache).unwrap().map(Result::unwrap);
        entries.map(|e| (e.path(), e.metadata().unwrap().modified().unwrap())).collect()
    };
    let before = parts();
    assert!(!before.is_empty());
    assert_eq!(built("image-rebuilt", &cache).tuple, image().tuple);
    assert_eq!(parts(), before);
}

#[test]
fn root_is_small() {
    let mib = image().sizes.root >> 20;
    assert!(mib <= 260, "the root source has {mib} MiB");
}

/// Debian signs its kernels: the signature holds the Authenticode digest that Debian's tools computed.
#[test]
fn authenticode_of_the_kernel_is_what_debian_signed() {
    let uki = uki();
    let kernel = Pe::parse(uki.section(".linux").unwrap()).unwrap();
    let digest = kernel.authenticode().unwrap();
    let signature = kernel.certificates();
    assert!(!signature.is_empty(), "the kernel is not signed");
    assert!(signature.windows(32).any(|w| w == digest.0), "{digest} is not in the signature");
}

#[test]
fn uki_has_the_sections_that_objcopy_would_write() {
    let dir = tempfile::tempdir().unwrap();
    let ours = fs::read(&image().uki).unwrap();
    let stub = dir.path().join("stub.efi");
    fs::write(&stub, uki().stub()).unwrap();
    let mut args = vec!["-p".to_owned()];
    for section in Pe::parse(&ours).unwrap().sections() {
        let Some(content) = uki().section(&section.name).map(<[u8]>::to_vec) else { continue };
        let file = dir.path().join(section.name.trim_start_matches('.'));
        fs::write(&file, content).unwrap();
        args.push(format!("--add-section={}={}", section.name, file.display()));
        args.push(format!("--change-section-vma={}={:#x}", section.name, section.virtual_address));
    }
    let theirs_path = dir.path().join("theirs.efi");
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend([stub.to_str().unwrap(), theirs_path.to_str().unwrap()]);
    run("objcopy", &args);
    let theirs = fs::read(&theirs_path).unwrap();
    let list = |bytes: &[u8]| {
        let file = PeFile64::parse(bytes).unwrap();
        let sections =
            file.sections().map(|s| (s.name().unwrap().to_owned(), s.address(), s.data().unwrap().to_vec()));
        let sections: Vec<_> = sections.map(|(name, at, data)| (name, at, cut(data))).collect();
        (file.entry(), sections)
    };
    let (ours, theirs) = (list(&ours), list(&theirs));
    assert_eq!(ours.0, theirs.0);
    for (a, b) in ours.1.iter().zip(&theirs.1) {
        assert_eq!((&a.0, a.1), (&b.0, b.1));
        assert!(a.2 == b.2, "the contents of {} differ", a.0);
    }
    assert_eq!(ours.1.len(), theirs.1.len());
}

/// Without the zeroes that fill up to the file alignment, which one tool counts and the other does not.
fn cut(mut data: Vec<u8>) -> Vec<u8> {
    data.truncate(data.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1));
    data
}

#[test]
fn tuple_beside_the_image_is_that_of_its_uki() {
    let bytes = fs::read(&image().uki).unwrap();
    let measured = measure_uki(&bytes, SecureBoot::Off).unwrap();
    assert_eq!(measured, image().tuple);
    let written = ccnode_evidence::ImageTuple::from_json(&fs::read(&image().tuple_path).unwrap()).unwrap();
    assert_eq!(written, measured);
}

#[test]
fn file_system_is_clean_and_holds_the_gate() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.ext4");
    let disk = fs::read(&image().disk).unwrap();
    // The second partition: its first sector is in the second entry of the table.
    let entry = 1024 + 128 + 32;
    let start = u64::from_le_bytes(disk[entry..entry + 8].try_into().unwrap()) as usize * 512;
    fs::write(&root, &disk[start..start + image().sizes.root as usize]).unwrap();
    let root = root.to_str().unwrap();
    run("e2fsck", &["-f", "-n", root]);
    let show = |path: &str| {
        let output =
            Command::new("/sbin/debugfs").args(["-R", &format!("stat {path}"), root]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let units = "/usr/lib/systemd/system";
    assert!(show(&format!("{units}/ccnode-joined.target")).contains("Type: regular"));
    assert!(show(&format!("{units}/kubelet.service.d/10-ccnode.conf")).contains("Type: regular"));
    let wants = "/etc/systemd/system/multi-user.target.wants";
    assert!(show(&format!("{wants}/ccnode-joined.target")).contains("Type: symlink"));
    assert!(show(&format!("{wants}/kubelet.service")).contains("Type: symlink"));
    let machine_id = show("/etc/machine-id");
    assert!(machine_id.contains("Size: 0"), "{machine_id}");
    assert!(machine_id.contains("User:     0   Group:     0"), "{machine_id}");
    assert!(show("/etc/systemd/system/getty.target").contains("/dev/null"));
}
