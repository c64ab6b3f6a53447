//! Volumes that a passphrase opens, as cryptsetup and clevis make them: judged by an allowlist of their own.
//!
//! Nobody has their header on record, so it is judged by its form alone: one segment of AES-XTS over the whole device, keyslots
//! of the same cipher, key derivations of bounded cost, nothing that changes how the rest is read.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::allow::Foreign;
use crate::binary::BinaryHeader;
use crate::copies::Header;
use crate::escape::escape;
use crate::integrity::Integrity;
use crate::json::Json;
use crate::judge::{Segment, is_uuid};
use crate::keyslots::{self, Keyslot, within};
use crate::reasons::Reasons;
use crate::refusal::{Refusal, Rule};

/// Bytes that header and keyslots area may take: what cryptsetup gives them by default.
pub const MAX_LEN: u64 = 16 << 20;

/// What opens the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenedBy {
    /// The one clevis token, whose JWE holds the passphrase of one keyslot.
    Clevis,
    /// A passphrase of any keyslot; there is no token.
    Passphrase,
}

/// Proof that these very bytes passed the allowlist. Whose header it is, nobody knows.
#[derive(Debug, Clone)]
pub struct PassphraseHeader {
    bytes: Vec<u8>,
    uuid: String,
    segment: Segment,
    clevis: Option<ClevisToken>,
}

/// A clevis token: hostile text that names its keyslot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClevisToken {
    /// The keyslot that its passphrase opens.
    pub keyslot: u32,
    /// The JWE in its flattened JSON form.
    pub jwe: String,
}

impl PassphraseHeader {
    /// The header: both copies and the keyslots area.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// UUID in canonical lower-case form.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The segment.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The token, of a volume that is [`OpenedBy::Clevis`].
    pub fn clevis(&self) -> Option<&ClevisToken> {
        self.clevis.as_ref()
    }
}

/// Reads the header from the start of a device, once and in one go: [`MAX_LEN`] bytes, or all of a shorter one.
pub fn read(device: impl Read) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    device.take(MAX_LEN).read_to_end(&mut bytes).map_err(|e| Refusal::Unreadable(e.kind()))?;
    Ok(bytes)
}

/// Judges `bytes` from [`read`]; the first reason against it, if any, is the error.
pub fn judge(mut bytes: Vec<u8>, by: OpenedBy) -> Result<PassphraseHeader, Refusal> {
    let mut court = Court::open();
    let found = court.hear(&bytes, by);
    match (court.reasons.0.into_iter().next(), found) {
        (Some(reason), _) => Err(reason),
        (None, None) => Err(Refusal::Missing("/segments/0".to_owned())),
        (None, Some(Found { end, uuid, segment, clevis })) => {
            // Parsed, so it is no longer than the bytes.
            bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
            Ok(PassphraseHeader { bytes, uuid, segment, clevis })
        }
    }
}

/// All reasons against `bytes`, gravest first; none means that [`judge`] accepts.
pub fn examine(bytes: &[u8], by: OpenedBy) -> Vec<Refusal> {
    let mut court = Court::open();
    let found = court.hear(bytes, by);
    match (court.reasons.0, found) {
        (reasons, None) if reasons.is_empty() => vec![Refusal::Missing("/segments/0".to_owned())],
        (reasons, _) => reasons,
    }
}

/// What a header says, good or bad.
struct Found {
    end: u64,
    uuid: String,
    segment: Segment,
    clevis: Option<ClevisToken>,
}

struct Court {
    allow: &'static Foreign,
    reasons: Reasons,
}

impl Court {
    fn open() -> Self {
        Self { allow: &Foreign::VOLUME, reasons: Reasons::default() }
    }

    fn hear(&mut self, bytes: &[u8], by: OpenedBy) -> Option<Found> {
        let header = match Header::parse(bytes, bytes.len() as u64) {
            Ok(header) => header,
            Err(error) => {
                self.reasons.push(error.into());
                return None;
            }
        };
        let json = &header.json;
        if let Some(path) = json.repeated_key("") {
            self.reasons.forbid(Rule::RepeatedKey, &escape(&path), &"");
        }
        self.reasons.only(json, "", &["keyslots", "tokens", "segments", "digests", "config"]);
        self.config(json.get("config"));
        let allow = &self.allow.keyslots;
        let keyslots = Keyslot::all(json.get("keyslots"), allow, &mut self.reasons);
        let segment = self.segment(json.get("segments"), header.end());
        self.digest(json.get("digests"), &keyslots);
        let clevis = self.tokens(json.get("tokens"), by);
        // Where a token names a keyslot, that one alone is tried.
        let tried =
            keyslots.iter().filter(|slot| clevis.as_ref().is_none_or(|token| token.keyslot == slot.number));
        keyslots::cost(tried, allow, &mut self.reasons);
        self.reasons.copies(&header);
        let uuid = self.uuid(&header.binary);
        Some(Found { end: header.end(), uuid, segment: segment?, clevis })
    }

    fn uuid(&mut self, header: &BinaryHeader) -> String {
        let uuid = String::from_utf8_lossy(&header.uuid).into_owned();
        if !is_uuid(&uuid) {
            self.reasons.forbid(Rule::Uuid, "uuid", &uuid);
        }
        uuid
    }

    fn config(&mut self, config: Option<&Json>) {
        let Some(config) = config else { return };
        for (key, rule) in [("requirements", Rule::Requirements), ("flags", Rule::Flags)] {
            if let Some(value) = config.get(key) {
                self.reasons.forbid(rule, &format!("/config/{key}"), value);
            }
        }
        self.reasons.only(config, "/config", &["json_size", "keyslots_size", "requirements", "flags"]);
    }

    fn segment(&mut self, segments: Option<&Json>, end: u64) -> Option<Segment> {
        for (key, segment) in segments.map(Json::members).unwrap_or_default() {
            if let Some(flags) = segment.get("flags") {
                let names = flags.as_names().unwrap_or_default();
                let backup = names.iter().any(|name| name.starts_with("backup-"));
                let rule = if backup { Rule::BackupSegment } else { Rule::Flags };
                self.reasons.forbid(rule, &format!("/segments/{}/flags", escape(key)), flags);
            }
        }
        let path = "/segments/0";
        let segment = self.reasons.single(segments, "/segments", Rule::SegmentCount)?;
        self.reasons.require(segment, path, "type", &text("crypt"), Rule::SegmentType);
        self.reasons.require(segment, path, "encryption", &text(self.allow.cipher), Rule::Cipher);
        self.reasons.require(segment, path, "size", &text("dynamic"), Rule::SegmentSize);
        self.reasons.require(segment, path, "iv_tweak", &text("0"), Rule::IvTweak);
        if let Some(integrity) = segment.get("integrity") {
            self.reasons.forbid(Rule::Integrity, "/segments/0/integrity", integrity);
        }
        let known = ["type", "encryption", "offset", "size", "iv_tweak", "sector_size", "integrity", "flags"];
        self.reasons.only(segment, path, &known);
        let offset = segment.get("offset").and_then(Json::as_str).and_then(crate::metadata::decimal);
        let offset =
            offset.filter(|at| self.allow.data_offset.contains(at) && *at >= end && at.is_multiple_of(4096));
        let sector = segment.get("sector_size").and_then(Json::as_int).and_then(|n| u32::try_from(n).ok());
        let sector = sector.filter(|size| self.allow.sector_sizes.contains(size));
        let shown = |key| segment.get(key).map(ToString::to_string).unwrap_or_default();
        if offset.is_none() {
            self.reasons.forbid(Rule::SegmentOffset, "/segments/0/offset", &shown("offset"));
        }
        if sector.is_none() {
            self.reasons.forbid(Rule::SectorSize, "/segments/0/sector_size", &shown("sector_size"));
        }
        Some(Segment { integrity: Integrity::None, offset: offset?, sector_size: sector? })
    }

    fn digest(&mut self, digests: Option<&Json>, keyslots: &[Keyslot]) {
        let path = "/digests/0";
        let Some(digest) = self.reasons.single(digests, "/digests", Rule::DigestCount) else { return };
        self.reasons.require(digest, path, "type", &text("pbkdf2"), Rule::DigestType);
        self.reasons.require(digest, path, "segments", &Json::Array(vec![text("0")]), Rule::KeyslotBinding);
        let hash = digest.get("hash").and_then(Json::as_str).unwrap_or_default();
        if !self.allow.digest_hashes.contains(&hash) {
            self.reasons.forbid(Rule::DigestHash, "/digests/0/hash", &hash);
        }
        if within(digest.get("iterations"), &self.allow.digest_iterations).is_none() {
            let shown = digest.get("iterations").map(ToString::to_string).unwrap_or_default();
            self.reasons.forbid(Rule::DigestIterations, "/digests/0/iterations", &shown);
        }
        keyslots::bound(digest, path, keyslots, &mut self.reasons);
        for (key, least) in [("salt", 16), ("digest", 20)] {
            let bytes = digest.get(key).and_then(Json::as_str).and_then(|text| STANDARD.decode(text).ok());
            if !bytes.is_some_and(|bytes| (least..=64).contains(&bytes.len())) {
                self.reasons.forbid(Rule::DigestValue, &format!("{path}/{key}"), &"");
            }
        }
        self.reasons.only(
            digest,
            path,
            &["type", "hash", "keyslots", "segments", "iterations", "salt", "digest"],
        );
    }

    fn tokens(&mut self, tokens: Option<&Json>, by: OpenedBy) -> Option<ClevisToken> {
        let members = tokens.map(Json::members).unwrap_or_default();
        match (by, members) {
            (OpenedBy::Passphrase, []) => None,
            (OpenedBy::Passphrase, _) => {
                self.reasons.forbid(Rule::PassphraseToken, "/tokens", &members.len());
                None
            }
            (OpenedBy::Clevis, [(key, token)]) => {
                let path = format!("/tokens/{}", escape(key));
                self.reasons.only(token, &path, &["type", "keyslots", "jwe"]);
                let found = clevis(token);
                if found.is_none() {
                    self.reasons.forbid(Rule::ClevisToken, &path, token);
                }
                found
            }
            (OpenedBy::Clevis, _) => {
                self.reasons.forbid(Rule::ClevisToken, "/tokens", &members.len());
                None
            }
        }
    }
}

fn clevis(token: &Json) -> Option<ClevisToken> {
    let jwe = token.get("jwe").filter(|jwe| jwe.is_object())?;
    let names = token.get("keyslots").and_then(Json::as_names)?;
    let [keyslot] = names.as_slice() else { return None };
    let is_clevis = token.get("type").and_then(Json::as_str) == Some("clevis");
    Some(ClevisToken { keyslot: keyslot.parse().ok()?, jwe: jwe.to_string() }).filter(|_| is_clevis)
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}
