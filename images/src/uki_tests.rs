//! Tests of the UKI writer, on a stub made here; tests/image.rs compares with objcopy on the real one.

use super::*;
use crate::pe::tests::image;

fn stub() -> Vec<u8> {
    image(&[(".text", &[0x90; 700]), (".sbat", b"sbat")], b"")
}

fn uki() -> Uki {
    let mut uki = Uki::new(&stub()).unwrap();
    uki.set(".osrel", b"ID=ccnode\n".to_vec());
    uki.set(".cmdline", b"console=ttyS0".to_vec());
    uki.set(".linux", vec![0x4d; 5000]);
    uki.set(".initrd", vec![0x28; 9000]);
    uki
}

#[test]
fn what_goes_in_comes_out() {
    let bytes = uki().to_bytes().unwrap();
    assert_eq!(bytes, uki().to_bytes().unwrap());
    let back = Uki::parse(&bytes).unwrap();
    let names: Vec<_> = back.sections().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, [".osrel", ".cmdline", ".linux", ".initrd"]);
    assert_eq!(back.section(".linux").unwrap(), vec![0x4d; 5000]);
    assert_eq!(back.to_bytes().unwrap(), bytes);
    assert_eq!(Pe::parse(back.stub()).unwrap().sections().len(), 2);
}

#[test]
fn a_section_is_replaced_without_touching_the_others() {
    let mut changed = Uki::parse(&uki().to_bytes().unwrap()).unwrap();
    changed.set(".cmdline", b"console=ttyS0 init=/bin/sh".to_vec());
    let bytes = changed.to_bytes().unwrap();
    let mut want = uki();
    want.set(".cmdline", b"console=ttyS0 init=/bin/sh".to_vec());
    assert_eq!(bytes, want.to_bytes().unwrap());
    assert_eq!(Uki::parse(&bytes).unwrap().section(".initrd"), uki().section(".initrd"));
}

#[test]
fn headers_fit_the_sections() {
    let bytes = uki().to_bytes().unwrap();
    let pe = Pe::parse(&bytes).unwrap();
    let mut end = 0;
    for section in pe.sections() {
        assert!(section.virtual_address >= end, "{} overlaps", section.name);
        assert_eq!(section.raw_offset % 0x200, 0);
        end = section.virtual_address + section.virtual_size;
    }
    let number = |at| u32_at(&bytes, pe.layout.optional + at).unwrap();
    assert!(number(pe::SIZE_OF_IMAGE) >= end && number(pe::SIZE_OF_IMAGE) - end < 0x200);
    assert_eq!(number(pe::CHECKSUM), 0);
    assert_eq!(u32_at(&bytes, pe.layout.coff + 4), Some(0), "the time stamp");
    let raw: u32 = pe.sections().iter().map(|s| s.raw_size).sum();
    assert_eq!(number(pe::SIZE_OF_DATA), raw);
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(Uki::new(b"text").unwrap_err(), PeError::Magic("DOS header"));
    let mut full = uki();
    for index in 0..20 {
        full.set(&format!(".x{index}"), vec![0]);
    }
    assert_eq!(full.to_bytes().unwrap_err(), PeError::HeaderRoom(24));
    let mut long = uki();
    long.set(".toolongname", vec![0]);
    assert_eq!(long.to_bytes().unwrap_err(), PeError::Field("section name"));
}

#[test]
fn a_payload_that_lies_over_the_stub_is_refused() {
    let mut bytes = uki().to_bytes().unwrap();
    let pe = Pe::parse(&bytes).unwrap();
    let entry = pe.layout.table + 3 * SECTION_ENTRY; // .cmdline
    put(&mut bytes, entry + 20, &0x400u32.to_le_bytes()).unwrap();
    assert_eq!(Uki::parse(&bytes).unwrap_err(), PeError::SectionBounds(".cmdline".into()));
}
