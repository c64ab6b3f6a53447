//! The judgement: bytes in memory and an allowlist become a proof that the header may be opened.

use std::fmt;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::allow::Allowlist;
use crate::binary::BinaryHeader;
use crate::copies::{Copies, Header};
use crate::escape::escape;
use crate::json::Json;
use crate::refusal::{Refusal, Rule};
use crate::token::{TOKEN_TYPE, Token};

/// SHA-256 over the whole header: both copies and the keyslots area.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeaderDigest(pub [u8; 32]);

impl HeaderDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for HeaderDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for HeaderDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderDigest({self})")
    }
}

/// The one segment of a judged header; offset and sector size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// dm-crypt's cipher specification.
    pub cipher: &'static str,
    /// Where the ciphertext begins on the device.
    pub offset: u64,
    /// The encryption sector.
    pub sector_size: u32,
}

/// Proof that these very bytes passed the allowlist. It does not say whose header this is:
/// that takes [`Judged::require_digest`].
#[derive(Debug, Clone)]
pub struct Judged {
    bytes: Vec<u8>,
    uuid: String,
    token: Token,
    segment: Segment,
}

/// Proof that these very bytes passed the allowlist and are the registered header.
#[derive(Debug, Clone)]
pub struct Expected(Judged);

impl Judged {
    /// The header: both copies and the keyslots area.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// UUID in canonical lower-case form.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Our token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The segment.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// SHA-256 over [`Judged::bytes`].
    pub fn digest(&self) -> HeaderDigest {
        HeaderDigest::of(&self.bytes)
    }

    /// Goes on only if this is the header whose digest is `want`; a patched or an older one is refused.
    pub fn require_digest(self, want: &HeaderDigest) -> Result<Expected, Refusal> {
        let have = self.digest();
        match have == *want {
            true => Ok(Expected(self)),
            false => Err(Refusal::Digest { have: have.to_string(), want: want.to_string() }),
        }
    }
}

impl std::ops::Deref for Expected {
    type Target = Judged;

    fn deref(&self) -> &Judged {
        &self.0
    }
}

/// Reads the header from the start of a device, once and in one go; nothing is ever read again, so a disk that
/// answers differently the next time gains nothing.
pub fn read(device: impl Read, allow: &Allowlist) -> Result<Vec<u8>, Refusal> {
    let need = allow.header_len();
    let mut bytes = Vec::new();
    device.take(need).read_to_end(&mut bytes).map_err(|e| Refusal::Unreadable(e.kind()))?;
    match bytes.len() as u64 {
        have if have < need => Err(Refusal::Truncated { need, have }),
        _ => Ok(bytes),
    }
}

/// Judges `bytes`, the header from [`read`]; the first reason against it, if any, is the error.
pub fn judge(bytes: Vec<u8>, allow: &Allowlist) -> Result<Judged, Refusal> {
    let mut court = Court { allow, reasons: Vec::new() };
    let found = court.hear(&bytes);
    match (court.reasons.into_iter().next(), found) {
        (Some(reason), _) => Err(reason),
        (None, Some((uuid, token, segment))) => Ok(Judged { bytes, uuid, token, segment }),
        // Whatever keeps the findings incomplete has a reason of its own.
        (None, None) => Err(Refusal::Missing(String::new())),
    }
}

/// All reasons against `bytes`, gravest first; none means that [`judge`] accepts.
pub fn examine(bytes: &[u8], allow: &Allowlist) -> Vec<Refusal> {
    let mut court = Court { allow, reasons: Vec::new() };
    court.hear(bytes);
    court.reasons
}

/// Collects the reasons against one header.
struct Court<'a> {
    allow: &'a Allowlist,
    reasons: Vec<Refusal>,
}

impl Court<'_> {
    fn hear(&mut self, bytes: &[u8]) -> Option<(String, Token, Segment)> {
        let have = bytes.len() as u64;
        let need = self.allow.header_len();
        if have < need {
            self.reasons.push(Refusal::Truncated { need, have });
        }
        let header = match Header::parse(bytes, u64::MAX) {
            Ok(header) => header,
            Err(error) => {
                self.reasons.push(error.into());
                return None;
            }
        };
        let at_length = have == need && header.end() == need;
        if header.binary.size != self.allow.metadata_size {
            self.forbid(Rule::MetadataSize, "/config/json_size", &header.binary.size);
        }
        if header.keyslots_size() != self.allow.keyslots_size {
            self.forbid(Rule::KeyslotsSize, "/config/keyslots_size", &header.keyslots_size());
        }
        let json = &header.json;
        if let Some(path) = json.repeated_key("") {
            self.forbid(Rule::RepeatedKey, &escape(&path), &"");
        }
        self.only(json, "", &["keyslots", "tokens", "segments", "digests", "config"]);
        self.config(json.get("config"));
        self.keyslots(json.get("keyslots"));
        let segment = self.segments(json.get("segments"));
        self.digests(json.get("digests"));
        let token = self.tokens(json.get("tokens"));
        self.copies(&header);
        let uuid = self.binary(&header.binary);
        let area = bytes.iter().enumerate().skip(2 * header.binary.size as usize);
        if let Some((at, _)) = area.into_iter().find(|(_, byte)| **byte != 0) {
            self.reasons.push(Refusal::KeyslotArea(at as u64));
        }
        if !at_length && self.reasons.is_empty() {
            self.reasons.push(Refusal::Truncated { need, have });
        }
        Some((uuid?, token?, segment?))
    }

    fn forbid(&mut self, rule: Rule, path: &str, value: &dyn fmt::Display) {
        let value = escape(&value.to_string());
        self.reasons.push(Refusal::Forbidden { rule, path: path.to_owned(), value });
    }

    /// Refuses members of `object` that are not among `known`.
    fn only(&mut self, object: &Json, path: &str, known: &[&str]) {
        for (key, value) in object.members().iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            self.forbid(Rule::UnknownField, &format!("{path}/{}", escape(key)), value);
        }
    }

    /// Refuses a member that is missing or other than `want`, compared in its JSON form.
    fn require(&mut self, object: &Json, path: &str, key: &str, want: &Json, rule: Rule) {
        let path = format!("{path}/{key}");
        match object.get(key) {
            Some(value) if value == want => {}
            Some(value) => self.forbid(rule, &path, value),
            None => self.reasons.push(Refusal::Missing(path)),
        }
    }

    fn copies(&mut self, header: &Header) {
        match &header.copies {
            Copies::Agree => {}
            Copies::Differ(field) => self.reasons.push(Refusal::CopiesDiffer(field)),
            Copies::Damaged(role, error) => {
                self.reasons.push(Refusal::CopyDamaged { role: *role, error: error.clone() });
            }
        }
        if let Some(role) = header.stray {
            self.reasons.push(Refusal::NotCanonical(role));
        }
    }

    fn binary(&mut self, header: &BinaryHeader) -> Option<String> {
        for (label, path) in [(&header.label, "label"), (&header.subsystem, "subsystem")] {
            if !label.is_empty() {
                self.forbid(Rule::Label, path, &String::from_utf8_lossy(label));
            }
        }
        let uuid = String::from_utf8_lossy(&header.uuid).into_owned();
        if is_uuid(&uuid) {
            return Some(uuid);
        }
        self.forbid(Rule::Uuid, "uuid", &uuid);
        None
    }

    fn config(&mut self, config: Option<&Json>) {
        let Some(config) = config else { return };
        for (key, rule) in [("requirements", Rule::Requirements), ("flags", Rule::Flags)] {
            if let Some(value) = config.get(key) {
                self.forbid(rule, &format!("/config/{key}"), value);
            }
        }
        self.only(config, "/config", &["json_size", "keyslots_size", "requirements", "flags"]);
    }

    fn keyslots(&mut self, keyslots: Option<&Json>) {
        for (key, keyslot) in keyslots.map(Json::members).unwrap_or_default() {
            let reencrypt = keyslot.get("type").and_then(Json::as_str) == Some("reencrypt");
            let rule = if reencrypt { Rule::Reencrypt } else { Rule::Keyslot };
            self.forbid(rule, &format!("/keyslots/{}", escape(key)), keyslot);
        }
    }

    /// The one member of a section, which must be numbered 0.
    fn single<'j>(&mut self, section: Option<&'j Json>, path: &str, rule: Rule) -> Option<&'j Json> {
        let section = section?;
        match section.members() {
            [(key, value)] if key == "0" => return Some(value),
            [] => self.reasons.push(Refusal::Missing(format!("{path}/0"))),
            _ => self.forbid(rule, path, section),
        }
        None
    }

    fn segments(&mut self, segments: Option<&Json>) -> Option<Segment> {
        for (key, segment) in segments.map(Json::members).unwrap_or_default() {
            let path = format!("/segments/{}/flags", escape(key));
            if let Some(flags) = segment.get("flags") {
                let names = flags.as_names().unwrap_or_default();
                let backup = names.iter().any(|name| name.starts_with("backup-"));
                self.forbid(if backup { Rule::BackupSegment } else { Rule::Flags }, &path, flags);
            }
        }
        let path = "/segments/0";
        let segment = self.single(segments, "/segments", Rule::SegmentCount)?;
        let allow = self.allow;
        let text = |text: &str| Json::Text(text.to_owned());
        self.require(segment, path, "type", &text("crypt"), Rule::SegmentType);
        self.require(segment, path, "encryption", &text(allow.cipher), Rule::Cipher);
        self.require(segment, path, "offset", &text(&allow.data_offset.to_string()), Rule::SegmentOffset);
        self.require(segment, path, "size", &text("dynamic"), Rule::SegmentSize);
        self.require(segment, path, "iv_tweak", &text("0"), Rule::IvTweak);
        let sector = Json::Int(allow.sector_size.into());
        self.require(segment, path, "sector_size", &sector, Rule::SectorSize);
        self.integrity(segment);
        self.only(
            segment,
            path,
            &["type", "encryption", "offset", "size", "iv_tweak", "sector_size", "integrity", "flags"],
        );
        Some(Segment { cipher: allow.cipher, offset: allow.data_offset, sector_size: allow.sector_size })
    }

    fn integrity(&mut self, segment: &Json) {
        let path = "/segments/0/integrity";
        let Some(integrity) = segment.get("integrity") else {
            if !self.allow.integrity.is_empty() {
                self.reasons.push(Refusal::Missing(path.to_owned()));
            }
            return;
        };
        let kind = integrity.get("type").and_then(Json::as_str).unwrap_or_default();
        if !self.allow.integrity.contains(&kind) {
            return self.forbid(Rule::Integrity, path, integrity);
        }
        for key in ["journal_encryption", "journal_integrity"] {
            self.require(integrity, path, key, &Json::Text("none".to_owned()), Rule::Integrity);
        }
        self.only(integrity, path, &["type", "journal_encryption", "journal_integrity"]);
    }

    fn digests(&mut self, digests: Option<&Json>) {
        let path = "/digests/0";
        let Some(digest) = self.single(digests, "/digests", Rule::DigestCount) else { return };
        let text = |text: &str| Json::Text(text.to_owned());
        self.require(digest, path, "type", &text("pbkdf2"), Rule::DigestType);
        self.require(digest, path, "hash", &text(self.allow.digest_hash), Rule::DigestHash);
        self.require(digest, path, "keyslots", &Json::Array(vec![]), Rule::DigestBinding);
        self.require(digest, path, "segments", &Json::Array(vec![text("0")]), Rule::DigestBinding);
        match digest.get("iterations") {
            Some(n)
                if n.as_int()
                    .and_then(|n| u32::try_from(n).ok())
                    .is_some_and(|n| self.allow.digest_iterations.contains(&n)) => {}
            Some(value) => self.forbid(Rule::DigestIterations, "/digests/0/iterations", value),
            None => self.reasons.push(Refusal::Missing("/digests/0/iterations".to_owned())),
        }
        for key in ["salt", "digest"] {
            let path = format!("{path}/{key}");
            let Some(value) = digest.get(key) else {
                self.reasons.push(Refusal::Missing(path));
                continue;
            };
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            if bytes.is_none_or(|bytes| bytes.len() != 32) {
                self.forbid(Rule::DigestValue, &path, value);
            }
        }
        self.only(digest, path, &["type", "hash", "keyslots", "segments", "iterations", "salt", "digest"]);
    }

    fn tokens(&mut self, tokens: Option<&Json>) -> Option<Token> {
        for (key, token) in tokens.map(Json::members).unwrap_or_default() {
            let kind = token.get("type").and_then(Json::as_str).unwrap_or_default();
            if kind != TOKEN_TYPE {
                self.forbid(Rule::TokenType, &format!("/tokens/{}/type", escape(key)), &kind);
            }
        }
        let token = self.single(tokens, "/tokens", Rule::TokenCount)?;
        match Token::from_json(&token.to_string()) {
            Ok(token) => Some(token),
            Err(error) => {
                self.forbid(Rule::Token, "/tokens/0", &error);
                None
            }
        }
    }
}

/// 8-4-4-4-12 lower-case hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || hex(b))
}
