//! Tests of the archive writer and reader.

use super::*;

fn archive() -> Archive {
    let mut archive = Archive::default();
    archive.file("/init", 0o755, b"binary".to_vec());
    archive.file("etc/ccnode/node.toml", 0o644, b"mode".to_vec());
    archive.symlink("lib64", "usr/lib64");
    archive.directory("/sys/");
    archive
}

#[test]
fn parents_come_first_and_order_of_adding_does_not_show() {
    let names: Vec<_> = archive().entries().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(names, ["etc", "etc/ccnode", "etc/ccnode/node.toml", "init", "lib64", "sys"]);
    let mut other = Archive::default();
    other.directory("sys");
    other.symlink("lib64", "usr/lib64");
    other.file("etc/ccnode/node.toml", 0o644, b"mode".to_vec());
    other.file("init", 0o755, b"binary".to_vec());
    assert_eq!(other.to_bytes().unwrap(), archive().to_bytes().unwrap());
}

#[test]
fn what_goes_in_comes_out() {
    assert_eq!(Archive::parse(&archive().to_bytes().unwrap()).unwrap(), archive());
}

#[test]
fn first_record_is_as_the_kernel_documents_it() {
    let bytes = archive().to_bytes().unwrap();
    let header = std::str::from_utf8(&bytes[..110]).unwrap();
    let want = ["070701", "00000001", "000041ED", "00000000", "00000000", "00000002", "00000000", "00000000"];
    assert_eq!(header[..62], want.concat());
    assert_eq!(&bytes[110..114], b"etc\0");
    assert_eq!(bytes.len() % 4, 0);
}

#[test]
fn damaged_archives_are_named_and_never_panic() {
    let good = archive().to_bytes().unwrap();
    assert_eq!(Archive::parse(b""), Err(CpioError::Truncated(0)));
    assert_eq!(Archive::parse(&[b'x'; 200]), Err(CpioError::Header(0)));
    let mut device = good.clone();
    device[14..22].copy_from_slice(b"000021A4");
    assert!(matches!(Archive::parse(&device), Err(CpioError::Mode { mode: 0o020_644, .. })));
    let mut name = good.clone();
    name[113] = b'x';
    assert_eq!(Archive::parse(&name), Err(CpioError::Name(0)));
    for len in 0..good.len() - 1 {
        let _ = Archive::parse(&good[..len]);
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] = b'F';
        let _ = Archive::parse(&bytes);
    }
}
