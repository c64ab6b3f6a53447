//! The judgement: bytes in memory and an allowlist become a proof that the header may be opened.

use std::fmt;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::allow::Allowlist;
use crate::binary::BinaryHeader;
use crate::copies::Header;
use crate::escape::escape;
use crate::integrity::Integrity;
use crate::json::Json;
use crate::keyslots::{self, Keyslot, within};
use crate::reasons::Reasons;
use crate::refusal::{Refusal, Rule};
use crate::token::{TOKEN_TYPE, Token, TokenError, WRAP};

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
    /// Cipher and integrity protection.
    pub integrity: Integrity,
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
    let mut court = Court { allow, reasons: Reasons::default() };
    let found = court.hear(&bytes);
    match (court.reasons.0.into_iter().next(), found) {
        (Some(reason), _) => Err(reason),
        (None, Some((uuid, token, segment))) => Ok(Judged { bytes, uuid, token, segment }),
        // Whatever keeps the findings incomplete has a reason of its own.
        (None, None) => Err(Refusal::Missing(String::new())),
    }
}

/// All reasons against `bytes`, gravest first; none means that [`judge`] accepts.
pub fn examine(bytes: &[u8], allow: &Allowlist) -> Vec<Refusal> {
    let mut court = Court { allow, reasons: Reasons::default() };
    court.hear(bytes);
    court.reasons.0
}

/// Collects the reasons against one header.
struct Court<'a> {
    allow: &'a Allowlist,
    reasons: Reasons,
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
            self.reasons.forbid(Rule::MetadataSize, "/config/json_size", &header.binary.size);
        }
        if header.keyslots_size() != self.allow.keyslots_size {
            self.reasons.forbid(Rule::KeyslotsSize, "/config/keyslots_size", &header.keyslots_size());
        }
        let json = &header.json;
        if let Some(path) = json.repeated_key("") {
            self.reasons.forbid(Rule::RepeatedKey, &escape(&path), &"");
        }
        self.reasons.only(json, "", &["keyslots", "tokens", "segments", "digests", "config"]);
        self.config(json.get("config"));
        let keyslots = self.keyslots(json.get("keyslots"));
        let segment = self.segments(json.get("segments"));
        self.digests(json.get("digests"), &keyslots);
        let token = self.tokens(json.get("tokens"));
        self.reasons.copies(&header);
        let uuid = self.binary(&header.binary);
        let used = |at: u64| keyslots.iter().any(|slot| slot.area.contains(&at));
        let mut area = (0u64..).zip(bytes).skip(2 * header.binary.size as usize);
        if let Some((at, _)) = area.find(|(at, byte)| **byte != 0 && !used(*at)) {
            self.reasons.push(Refusal::KeyslotArea(at));
        }
        if !at_length && self.reasons.0.is_empty() {
            self.reasons.push(Refusal::Truncated { need, have });
        }
        Some((uuid?, token?, segment?))
    }

    fn binary(&mut self, header: &BinaryHeader) -> Option<String> {
        for (label, path) in [(&header.label, "label"), (&header.subsystem, "subsystem")] {
            if !label.is_empty() {
                self.reasons.forbid(Rule::Label, path, &String::from_utf8_lossy(label));
            }
        }
        let uuid = String::from_utf8_lossy(&header.uuid).into_owned();
        if is_uuid(&uuid) {
            return Some(uuid);
        }
        self.reasons.forbid(Rule::Uuid, "uuid", &uuid);
        None
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

    fn keyslots(&mut self, keyslots: Option<&Json>) -> Vec<Keyslot> {
        if let Some(allow) = &self.allow.keyslots {
            let found = Keyslot::all(keyslots, allow, &mut self.reasons);
            keyslots::cost(found.iter(), allow, &mut self.reasons);
            return found;
        }
        for (key, keyslot) in keyslots.map(Json::members).unwrap_or_default() {
            let reencrypt = keyslot.get("type").and_then(Json::as_str) == Some("reencrypt");
            let rule = if reencrypt { Rule::Reencrypt } else { Rule::Keyslot };
            self.reasons.forbid(rule, &format!("/keyslots/{}", escape(key)), keyslot);
        }
        Vec::new()
    }

    fn segments(&mut self, segments: Option<&Json>) -> Option<Segment> {
        for (key, segment) in segments.map(Json::members).unwrap_or_default() {
            let path = format!("/segments/{}/flags", escape(key));
            if let Some(flags) = segment.get("flags") {
                let names = flags.as_names().unwrap_or_default();
                let backup = names.iter().any(|name| name.starts_with("backup-"));
                self.reasons.forbid(if backup { Rule::BackupSegment } else { Rule::Flags }, &path, flags);
            }
        }
        let path = "/segments/0";
        let segment = self.reasons.single(segments, "/segments", Rule::SegmentCount)?;
        let allow = self.allow;
        let text = |text: &str| Json::Text(text.to_owned());
        self.reasons.require(segment, path, "type", &text("crypt"), Rule::SegmentType);
        self.reasons.require(segment, path, "encryption", &text(allow.integrity.encryption()), Rule::Cipher);
        self.reasons.require(
            segment,
            path,
            "offset",
            &text(&allow.data_offset.to_string()),
            Rule::SegmentOffset,
        );
        self.reasons.require(segment, path, "size", &text("dynamic"), Rule::SegmentSize);
        self.reasons.require(segment, path, "iv_tweak", &text("0"), Rule::IvTweak);
        let sector = Json::Int(allow.sector_size.into());
        self.reasons.require(segment, path, "sector_size", &sector, Rule::SectorSize);
        self.integrity(segment);
        self.reasons.only(
            segment,
            path,
            &["type", "encryption", "offset", "size", "iv_tweak", "sector_size", "integrity", "flags"],
        );
        Some(Segment {
            integrity: allow.integrity,
            offset: allow.data_offset,
            sector_size: allow.sector_size,
        })
    }

    fn integrity(&mut self, segment: &Json) {
        let path = "/segments/0/integrity";
        let wanted = self.allow.integrity.kind();
        let Some(integrity) = segment.get("integrity") else {
            if wanted.is_some() {
                self.reasons.push(Refusal::Missing(path.to_owned()));
            }
            return;
        };
        if wanted.is_none() || integrity.get("type").and_then(Json::as_str) != wanted {
            return self.reasons.forbid(Rule::Integrity, path, integrity);
        }
        for key in ["journal_encryption", "journal_integrity"] {
            self.reasons.require(integrity, path, key, &Json::Text("none".to_owned()), Rule::Integrity);
        }
        self.reasons.only(integrity, path, &["type", "journal_encryption", "journal_integrity"]);
    }

    fn digests(&mut self, digests: Option<&Json>, keyslots: &[Keyslot]) {
        let path = "/digests/0";
        let Some(digest) = self.reasons.single(digests, "/digests", Rule::DigestCount) else { return };
        let text = |text: &str| Json::Text(text.to_owned());
        self.reasons.require(digest, path, "type", &text("pbkdf2"), Rule::DigestType);
        self.reasons.require(digest, path, "hash", &text(self.allow.digest_hash), Rule::DigestHash);
        match self.allow.keyslots {
            Some(_) => keyslots::bound(digest, path, keyslots, &mut self.reasons),
            None => self.reasons.require(digest, path, "keyslots", &Json::Array(vec![]), Rule::DigestBinding),
        }
        self.reasons.require(digest, path, "segments", &Json::Array(vec![text("0")]), Rule::DigestBinding);
        let iterations = digest.get("iterations");
        match iterations {
            Some(_) if within(iterations, &self.allow.digest_iterations).is_some() => {}
            Some(value) => self.reasons.forbid(Rule::DigestIterations, "/digests/0/iterations", value),
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
                self.reasons.forbid(Rule::DigestValue, &path, value);
            }
        }
        self.reasons.only(
            digest,
            path,
            &["type", "hash", "keyslots", "segments", "iterations", "salt", "digest"],
        );
    }

    fn tokens(&mut self, tokens: Option<&Json>) -> Option<Token> {
        for (key, token) in tokens.map(Json::members).unwrap_or_default() {
            let kind = token.get("type").and_then(Json::as_str).unwrap_or_default();
            if kind != TOKEN_TYPE {
                self.reasons.forbid(Rule::TokenType, &format!("/tokens/{}/type", escape(key)), &kind);
            }
        }
        let token = self.reasons.single(tokens, "/tokens", Rule::TokenCount)?;
        let length = self.allow.integrity.key_len() + WRAP;
        let read =
            Token::from_json(&token.to_string()).and_then(|token| match token.wrapped.len() == length {
                true => Ok(token),
                false => Err(TokenError::WrappedKey),
            });
        match read {
            Ok(token) => Some(token),
            Err(error) => {
                self.reasons.forbid(Rule::Token, "/tokens/0", &error);
                None
            }
        }
    }
}

/// 8-4-4-4-12 lower-case hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || hex(b))
}
