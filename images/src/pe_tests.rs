//! Tests of the PE reader, on images made here.

use super::*;
use crate::bytes::put;

/// A PE32+ image with `sections` and `certs` bytes of certificates behind them.
pub(crate) fn image(sections: &[(&str, &[u8])], certs: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 0x400;
    let mut out = vec![0; HEADERS];
    let at = 0x40;
    let table = at + 4 + 20 + 240;
    let fields: Vec<(usize, Vec<u8>)> = vec![
        (0, b"MZ".to_vec()),
        (0x3c, (at as u32).to_le_bytes().to_vec()),
        (at, b"PE\0\0\x64\x86".to_vec()),
        (at + 6, (sections.len() as u16).to_le_bytes().to_vec()),
        (at + 8, b"date".to_vec()),
        (at + 20, 240u16.to_le_bytes().to_vec()),
        (at + 24, 0x20bu16.to_le_bytes().to_vec()),
        (at + 24 + 32, 0x200u32.to_le_bytes().to_vec()),
        (at + 24 + 36, 0x200u32.to_le_bytes().to_vec()),
        (at + 24 + 60, (HEADERS as u32).to_le_bytes().to_vec()),
        (at + 24 + 64, b"csum".to_vec()),
        (at + 24 + 108, 16u32.to_le_bytes().to_vec()),
    ];
    for (offset, bytes) in fields {
        put(&mut out, offset, &bytes).unwrap();
    }
    let mut address = 0x4000u32;
    for (index, (name, content)) in sections.iter().enumerate() {
        let raw = content.len().next_multiple_of(0x200) as u32;
        let entry = table + index * SECTION_ENTRY;
        put(&mut out, entry, name.as_bytes()).unwrap();
        for (offset, value) in
            [(8, content.len() as u32), (12, address), (16, raw), (20, out.len() as u32), (36, 0x4000_0040)]
        {
            put(&mut out, entry + offset, &value.to_le_bytes()).unwrap();
        }
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(0x200), 0);
        address += raw.next_multiple_of(0x1000);
    }
    let entry = at + 24 + 112 + 32;
    if !certs.is_empty() {
        let start = out.len() as u32;
        put(&mut out, entry, &start.to_le_bytes()).unwrap();
        put(&mut out, entry + 4, &(certs.len() as u32).to_le_bytes()).unwrap();
        out.extend_from_slice(certs);
    }
    out
}

fn sample() -> Vec<u8> {
    image(&[(".text", &[0x90; 700]), (".data", b"data")], b"")
}

#[test]
fn sections_are_read_with_their_memory_length() {
    let bytes = sample();
    let pe = Pe::parse(&bytes).unwrap();
    let names: Vec<_> = pe.sections().iter().map(|s| (s.name.as_str(), s.virtual_size, s.raw_size)).collect();
    assert_eq!(names, [(".text", 700, 1024), (".data", 4, 512)]);
    assert_eq!(pe.content(".data").unwrap(), Some(b"data".as_slice()));
    assert_eq!(pe.content(".none").unwrap(), None);
}

#[test]
fn digest_covers_all_but_checksum_and_certificates() {
    let bytes = image(&[(".text", &[0x90; 700])], b"certificates----");
    let digest = |bytes: &[u8]| Pe::parse(bytes).unwrap().authenticode().unwrap();
    let (checksum, entry) = (0x40 + 24 + 64, 0x40 + 24 + 112 + 32);
    let certs = bytes.len() - 16;
    for at in (0x80..bytes.len()).filter(|at| !(entry..entry + 8).contains(at)) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let Ok(pe) = Pe::parse(&changed) else { continue };
        let Ok(got) = pe.authenticode() else { continue };
        let outside = (checksum..checksum + 4).contains(&at) || at >= certs;
        assert_eq!(got == digest(&bytes), outside, "byte {at:#x}");
    }
    let unsigned = image(&[(".text", &[0x90; 700])], b"");
    assert_eq!(digest(&unsigned), digest(&bytes), "a signature must not change the digest");
    assert_eq!(Pe::parse(&bytes).unwrap().certificates(), b"certificates----");
}

#[test]
fn digest_is_the_plain_hash_of_what_it_covers() {
    let bytes = sample();
    let (checksum, entry) = (0x40 + 24 + 64, 0x40 + 24 + 112 + 32);
    let covered = [&bytes[..checksum], &bytes[checksum + 4..entry], &bytes[entry + 8..]].concat();
    assert_eq!(Pe::parse(&bytes).unwrap().authenticode().unwrap(), Sha256Digest::of(&covered));
}

#[test]
fn sections_are_hashed_by_their_place_in_the_file() {
    let bytes = image(&[(".a", &[1; 10]), (".b", &[2; 10])], b"");
    let table = 0x40 + 4 + 20 + 240;
    let mut swapped = bytes.clone();
    let (first, second) = (table, table + SECTION_ENTRY);
    swapped[first..first + 40].copy_from_slice(&bytes[second..second + 40]);
    swapped[second..second + 40].copy_from_slice(&bytes[first..first + 40]);
    let entry = 0x40 + 24 + 112 + 32;
    let covered =
        [&swapped[..0x40 + 24 + 64], &swapped[0x40 + 24 + 68..entry], &swapped[entry + 8..]].concat();
    assert_eq!(Pe::parse(&swapped).unwrap().authenticode().unwrap(), Sha256Digest::of(&covered));
}

#[test]
fn each_refusal_is_named() {
    let good = sample();
    let with = |at: usize, bytes: &[u8]| {
        let mut out = good.clone();
        put(&mut out, at, bytes).unwrap();
        out
    };
    let error = |bytes: &[u8]| Pe::parse(bytes).unwrap_err();
    let optional = 0x40 + 24;
    let table = 0x40 + 4 + 20 + 240;
    assert_eq!(error(b""), PeError::Magic("DOS header"));
    assert_eq!(error(b"MZ"), PeError::Truncated("DOS header"));
    assert_eq!(error(&with(0x40, b"NE")), PeError::Magic("PE signature"));
    assert_eq!(error(&with(optional, &[0x0b, 0x01])), PeError::Magic("PE32+ optional header"));
    assert_eq!(error(&with(optional + 36, &[3, 0, 0, 0])), PeError::Field("FileAlignment"));
    assert_eq!(error(&with(0x40 + 6, &[0xff, 0xff])), PeError::Truncated("section table"));
    assert_eq!(error(&with(table + 20, &[0xff; 4])), PeError::SectionBounds(".text".into()));
    assert_eq!(error(&good[..0x300]), PeError::Truncated("section table"));
    let double = image(&[(".a", b"1"), (".a", b"2")], b"");
    assert_eq!(Pe::parse(&double).unwrap().content(".a"), Err(PeError::Duplicate(".a".into())));
    let long = with(table + 8, &0x10_0000u32.to_le_bytes());
    assert_eq!(Pe::parse(&long).unwrap().content(".text"), Err(PeError::SectionBounds(".text".into())));
    let mut certs = image(&[(".a", b"1")], b"x");
    put(&mut certs, optional + 112 + 36, &0x7fff_ffffu32.to_le_bytes()).unwrap();
    assert_eq!(Pe::parse(&certs).unwrap().authenticode(), Err(PeError::Field("certificate table")));
}

#[test]
fn no_cut_and_no_flip_panics() {
    let good = image(&[(".text", &[0x90; 700]), (".linux", b"kernel")], b"cert");
    for len in 0..good.len().min(0x600) {
        let _ = Pe::parse(&good[..len]).map(|pe| (pe.authenticode(), pe.content(".linux").is_ok()));
    }
    for at in 0..0x400 {
        for value in [0x00, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = Pe::parse(&bytes).map(|pe| (pe.authenticode(), pe.certificates().len()));
        }
    }
}
