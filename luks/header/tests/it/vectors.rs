//! The parser against images whose outcome with cryptsetup is known.

use std::path::{Path, PathBuf};
use std::process::Command;

use ccnode_luks_header::{Allowlist, Header, ParseError, examine};

fn vectors() -> Option<PathBuf> {
    ccnode_vectors::folder("luks2")
}

fn unpack(path: &Path, member: Option<&str>) -> Vec<u8> {
    let mut command = Command::new(if member.is_some() { "tar" } else { "xz" });
    match member {
        Some(member) => command.arg("-xJOf").arg(path).arg(member),
        None => command.arg("-dc").arg(path),
    };
    let out = command.output().expect("xz and tar are needed");
    assert!(out.status.success(), "{}", path.display());
    out.stdout
}

fn parse(image: &[u8]) -> Result<Header, ParseError> {
    Header::parse(&image[..image.len().min(8 << 20)], image.len() as u64)
}

fn expected(dir: &Path) -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["files"].as_object().unwrap().clone()
}

#[test]
fn every_image_is_taken_or_refused_as_cryptsetup_does() {
    let Some(dir) = vectors() else { return };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, entry) in expected(&dir) {
        let outcome = entry["outcome"].as_str().unwrap();
        if !name.ends_with(".img.xz") || name.starts_with("blkid") {
            continue;
        }
        let image = unpack(&dir.join(&name), None);
        let parsed = parse(&image);
        seen += 1;
        if parsed.is_ok() != outcome.starts_with("valid") {
            wrong.push(format!("{name}: {outcome}: {:?}", parsed.map(|h| h.copies)));
        }
        // None of them is a volume of ours.
        let start = &image[..image.len().min(Allowlist::VOLUME.header_len() as usize)];
        assert!(!examine(start, &Allowlist::VOLUME).is_empty(), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 50, "{seen}");
}

#[test]
fn binary_headers_are_read_as_recorded() {
    let Some(dir) = vectors() else { return };
    for (name, entry) in expected(&dir) {
        let hdr = &entry["headers"]["hdr0"];
        if hdr.is_null() {
            continue;
        }
        let header = parse(&unpack(&dir.join(&name), None)).unwrap().binary;
        assert_eq!(hdr["hdr_size"], header.size, "{name}");
        assert_eq!(hdr["seqid"], header.seqid, "{name}");
        assert_eq!(hdr["uuid"], String::from_utf8(header.uuid).unwrap(), "{name}");
    }
}

#[test]
fn metadata_areas_of_all_sizes_are_read() {
    let Some(dir) = vectors() else { return };
    for kib in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096] {
        let image = unpack(&dir.join("luks2_mda_images.tar.xz"), Some(&format!("test_image_{kib}")));
        assert_eq!(parse(&image).unwrap().binary.size, kib * 1024);
    }
}

#[test]
fn luks1_and_leftovers_are_no_luks2() {
    let Some(dir) = vectors() else { return };
    let luks1 = unpack(&dir.join("luks1-valid_header_file.xz"), None);
    assert_eq!(parse(&luks1).unwrap_err(), ParseError::Version(1));
    let leftover = unpack(&dir.join("blkid-luks2-pv.img.xz"), None);
    assert_eq!(parse(&leftover).unwrap_err(), ParseError::NotLuks2);
}

#[test]
fn t04_requirements_are_valid_and_refused() {
    let Some(dir) = vectors() else { return };
    let tar = dir.join("luks2_header_requirements.tar.xz");
    let list = Command::new("tar").arg("-tJf").arg(&tar).output().unwrap();
    let names = String::from_utf8(list.stdout).unwrap();
    let mut refused = 0;
    for name in names.lines() {
        let image = unpack(&tar, Some(name));
        assert!(parse(&image).is_ok(), "{name}");
        let codes: Vec<_> = examine(&image, &Allowlist::VOLUME).iter().map(|r| r.code()).collect();
        refused += usize::from(codes.contains(&"luks-requirements"));
        assert!(codes.contains(&"luks-token-type"), "{name}: {codes:?}");
    }
    assert_eq!(refused, 1);
}
