//! The parser beside cryptsetup: what ours accepts, `cryptsetup luksDump` reads alike, on recorded images and on mutated headers.
//!
//! What cryptsetup accepts and ours does not is printed, and no failure: a copy of such a header counts as damaged here, and a
//! header with a damaged copy is refused.

use crate::common::{Parts, metadata, reseal};
use ccnode_luks_header::Integrity;
use ccnode_luks_header::inspect::{By, inspect};
use ccnode_luks_header::passphrase::OpenedBy;
use ccnode_luks_header::{Copies, CopyError, Header};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What either side reads of a header.
#[derive(PartialEq, Debug)]
struct Reading {
    seqid: String,
    metadata_size: String,
    keyslots_size: String,
    uuid: String,
    label: String,
    subsystem: String,
    json: Value,
}

/// What a header is read as, and whether one of its copies is damaged in its metadata alone.
struct Ours {
    reading: Reading,
    one_copy: bool,
}

impl Reading {
    /// Where the two differ: path, what stands here, what stands there.
    fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |r: &Self| {
            let Self { seqid, metadata_size, keyslots_size, uuid, label, subsystem, .. } = r;
            [seqid, metadata_size, keyslots_size, uuid, label, subsystem].map(Clone::clone)
        };
        let mut out: Vec<String> = std::iter::zip(fields(self), fields(other))
            .filter(|(a, b)| a != b)
            .map(|(a, b)| format!("{a} and by cryptsetup {b}"))
            .collect();
        let (mut here, mut there) = (Vec::new(), Vec::new());
        pointers(&self.json, "", &mut here);
        pointers(&other.json, "", &mut there);
        here.extend(there);
        here.sort();
        here.dedup();
        let value = |json: &Value, path| json.pointer(path).map_or("nothing".to_owned(), Value::to_string);
        out.extend(here.iter().filter_map(|path| {
            let (a, b) = (value(&self.json, path), value(&other.json, path));
            let leaf = |json: &Value| json.pointer(path).is_none_or(|v| !v.is_object() && !v.is_array());
            (a != b && (leaf(&self.json) || leaf(&other.json)))
                .then(|| format!("{path} is {a} and by cryptsetup {b}"))
        }));
        out
    }
}

fn ours(image: &[u8]) -> Result<Ours, String> {
    let start = &image[..image.len().min(8 << 20)];
    let header = Header::parse(start, image.len() as u64).map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| match String::from_utf8_lossy(bytes).trim() {
        // As cryptsetup prints it.
        "" => "(none)".to_owned(),
        text => text.to_owned(),
    };
    let mut json = serde_json::from_str(&header.metadata()).unwrap();
    repair(&mut json);
    let reading = Reading {
        seqid: header.binary.seqid.to_string(),
        metadata_size: format!("{} [bytes]", header.binary.size),
        keyslots_size: format!("{} [bytes]", header.keyslots_size()),
        uuid: text(&header.binary.uuid),
        label: text(&header.binary.label).replace("(none)", "(no label)"),
        subsystem: text(&header.binary.subsystem).replace("(none)", "(no subsystem)"),
        json,
    };
    Ok(Ours { reading, one_copy: matches!(header.copies, Copies::Damaged(_, CopyError::Json(_))) })
}

/// Drops members of a key derivation that are not of its type, as cryptsetup does in memory; no allowlist lets them pass.
fn repair(json: &mut Value) {
    let Some(keyslots) = json["keyslots"].as_object_mut() else { return };
    for keyslot in keyslots.values_mut() {
        let Some(kdf) = keyslot.get_mut("kdf").and_then(Value::as_object_mut) else { continue };
        let known: &[&str] = match kdf.get("type").and_then(Value::as_str) {
            Some("pbkdf2") => &["type", "salt", "hash", "iterations"],
            Some("argon2i" | "argon2id") => &["type", "salt", "time", "memory", "cpus"],
            _ => continue,
        };
        kdf.retain(|key, _| known.contains(&key.as_str()));
    }
}

/// Runs `luksDump` on a copy of its own, which cryptsetup may repair.
fn dump(image: &[u8], at: &Path, args: &[&str]) -> Result<String, String> {
    std::fs::write(at, image).unwrap();
    let mut command = Command::new("cryptsetup");
    let out = command.args(["luksDump", "--disable-locks"]).args(args).arg(at).output();
    let out = out.expect("cryptsetup is needed");
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
    }
}

fn theirs(image: &[u8], at: &Path) -> Result<Reading, String> {
    let (text, json) = (dump(image, at, &[])?, dump(image, at, &["--dump-json-metadata"])?);
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("none");
        line.trim().to_owned()
    };
    if field("Version:") != "2" {
        return Err(format!("version {}", field("Version:")));
    }
    Ok(Reading {
        seqid: field("Epoch:"),
        metadata_size: field("Metadata area:"),
        keyslots_size: field("Keyslots area:"),
        uuid: field("UUID:"),
        label: field("Label:"),
        subsystem: field("Subsystem:"),
        json: serde_json::from_str(&json).map_err(|e| format!("{e}: {json}"))?,
    })
}

/// All that judge.
const ALL: [By; 3] =
    [By::Own(Integrity::None), By::Foreign(OpenedBy::Passphrase), By::Foreign(OpenedBy::Clevis)];

/// Counts what became of each image.
#[derive(Default)]
struct Tally {
    both: usize,
    neither: usize,
    theirs_alone: Vec<String>,
    other_copy: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    fn compare(&mut self, name: &str, image: &[u8], scratch: &Path) {
        match (ours(image), theirs(image, scratch)) {
            (Ok(a), Ok(b)) if a.reading == b => self.both += 1,
            (Ok(a), Ok(b)) if a.one_copy => {
                // Theirs takes the newer copy, ours the one that it can read, and no allowlist lets that pass.
                self.other_copy.push(format!("{name}: {}", a.reading.differences(&b).join("; ")));
                assert!(
                    ALL.iter().all(|by| !inspect(image, image.len() as u64, *by).reasons.is_empty()),
                    "{name}"
                );
            }
            (Ok(a), Ok(b)) => self.wrong.push(format!("{name}: {}", a.reading.differences(&b).join("; "))),
            (Ok(_), Err(b)) => self.wrong.push(format!("{name}: accepted, and refused by cryptsetup: {b}")),
            (Err(a), Ok(_)) => self.theirs_alone.push(format!("{name}: {a}")),
            (Err(_), Err(_)) => self.neither += 1,
        }
    }

    #[track_caller]
    fn finish(self, both: usize, neither: usize) {
        eprintln!("{} accepted by both, {} by neither", self.both, self.neither);
        for line in &self.theirs_alone {
            eprintln!("accepted by cryptsetup alone: {line}");
        }
        for line in &self.other_copy {
            eprintln!("read from the other copy by cryptsetup: {line}");
        }
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.both >= both && self.neither >= neither, "{} and {}", self.both, self.neither);
    }
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn recorded_images_are_read_alike() {
    let Some((dir, stated)) = ccnode_vectors::stated("luks2") else { return };
    let (mut tally, at) = (Tally::default(), scratch("differential-recorded.img"));
    let output = |command: &mut Command| command.output().expect("xz and tar are needed").stdout;
    for name in stated["files"].as_object().unwrap().keys() {
        let path = dir.join(name);
        if !name.ends_with(".tar.xz") {
            tally.compare(name, &output(Command::new("xz").arg("-dc").arg(&path)), &at);
            continue;
        }
        let members = String::from_utf8(output(Command::new("tar").arg("-tJf").arg(&path))).unwrap();
        for member in members.lines() {
            tally.compare(member, &output(Command::new("tar").arg("-xJOf").arg(&path).arg(member)), &at);
        }
    }
    tally.finish(34, 39);
}

/// Metadata with most of what the format knows: keyslots of both derivations, two segments, a foreign token.
fn rich() -> Value {
    let salt = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let keyslot = |offset: u32, kdf: Value| {
        json!({
            "type": "luks2", "key_size": 64, "kdf": kdf, "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
            "area": {"type": "raw", "offset": offset.to_string(), "size": "4096", "encryption": "aes-xts-plain64", "key_size": 64},
        })
    };
    let mut json = metadata();
    json["keyslots"] = json!({
        "0": keyslot(0x8000, json!({"type": "argon2id", "time": 4, "memory": 1_048_576, "cpus": 4, "salt": salt})),
        "1": keyslot(0x9000, json!({"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": salt})),
    });
    json["digests"]["0"]["keyslots"] = json!(["0", "1"]);
    json["tokens"]["1"] = json!({"type": "clevis", "keyslots": ["1"], "jwe": {"protected": "e30"}});
    json["config"]["keyslots_size"] = json!("8192");
    json["config"]["flags"] = json!(["allow-discards"]);
    json["config"]["requirements"] = json!({"mandatory": []});
    json
}

/// A small generator of its own, so that every run makes the same headers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// The JSON pointers of all members and elements.
fn pointers(json: &Value, at: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match json {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        _ => return,
    };
    for (key, value) in children {
        let path = format!("{at}/{key}");
        pointers(value, &path, out);
        out.push(path);
    }
}

/// Changes one member: replaced, removed, renamed, or given a neighbour.
fn mutate(json: &mut Value, dice: &mut Dice) {
    let mut all = Vec::new();
    pointers(json, "", &mut all);
    let path = &all[dice.below(all.len())];
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(4_294_967_296u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("0"),
        json!("1"),
        json!("-1"),
        json!("+1"),
        json!("0512"),
        json!("512"),
        json!("4096"),
        json!("32768"),
        json!("36864"),
        json!("1048576"),
        json!("18446744073709551615"),
        json!("18446744073709551616"),
        json!("dynamic"),
        json!("linear"),
        json!("reencrypt"),
        json!("backup-final"),
        json!("online-reencrypt"),
        json!("raw"),
        json!("none"),
        json!("é\u{1b}\u{2028}"),
        json!([]),
        json!({}),
        json!(["0"]),
        json!(["1", "0"]),
        json!([1]),
        json!({"type": "x"}),
    ];
    let value = values[dice.below(values.len())].clone();
    let (parent, key) = path.rsplit_once('/').unwrap();
    match (json.pointer_mut(parent).unwrap(), dice.below(4)) {
        (Value::Object(map), 0) => drop(map.remove(key)),
        (Value::Object(map), 1) => {
            let moved = map.remove(key).unwrap();
            map.insert(["0", "1", "2", "32", "x", "type"][dice.below(6)].to_owned(), moved);
        }
        (Value::Object(map), 2) => {
            drop(map.insert(["2", "flags", "integrity", "priority"][dice.below(4)].into(), value))
        }
        _ => *json.pointer_mut(path).unwrap() = value,
    }
}

/// A header of which one or both copies are mutated; all checksums are right.
fn mutated(dice: &mut Dice) -> Vec<u8> {
    let good = if dice.below(3) == 0 { metadata() } else { rich() };
    let mut other = good.clone();
    for _ in 0..1 + dice.below(2) {
        mutate(&mut other, dice);
    }
    let mut text = other.to_string();
    if dice.below(8) == 0 {
        // Below what JSON values can say.
        let at = dice.below(text.len());
        let raw =
            ["\"type\":\"x\",", " ", "\n", ",", "}", "0", "/*x*/", "\\u0000", "NaN", "'"][dice.below(10)];
        if text.is_char_boundary(at) {
            text.insert_str(at, raw);
        }
    }
    if text.len() > 0x2f00 {
        text = good.to_string();
    }
    let (good, other) = (Parts::new(good), Parts { seqid: 3 + dice.below(2) as u64, ..Parts::new(text) });
    let which = dice.below(4);
    let mut copies = [
        if which == 1 { &good } else { &other }.copy(false),
        if which == 2 { &good } else { &other }.copy(true),
    ];
    if dice.below(4) == 0 {
        let field = [(6, 2), (8, 8), (16, 8), (24, 48), (72, 32), (168, 40), (208, 48), (256, 8), (264, 184)]
            [dice.below(9)];
        let copy = &mut copies[dice.below(2)];
        copy[field.0 + dice.below(field.1)] = [0, 1, b'a', 0xff][dice.below(4)];
        reseal(copy);
    }
    let mut image = copies.concat();
    image.resize(1 << 20, 0);
    image
}

#[test]
fn mutated_headers_are_read_alike() {
    let (mut tally, at) = (Tally::default(), scratch("differential-mutated.img"));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for n in 0..400 {
        tally.compare(&format!("mutant {n}"), &mutated(&mut dice), &at);
    }
    tally.finish(100, 50);
}

#[test]
fn unchanged_headers_are_read_alike() {
    let (mut tally, at) = (Tally::default(), scratch("differential-good.img"));
    for json in [metadata(), rich()] {
        let mut image = Parts { label: "root", ..Parts::new(json) }.header();
        image.resize(1 << 20, 0);
        tally.compare("unchanged", &image, &at);
    }
    tally.finish(2, 0);
}
