//! Keyslots against what an allowlist lets each of them be: their form, their cipher, and what an attempt may cost.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::allow::Keyslots;
use crate::escape::escape;
use crate::json::Json;
use crate::reasons::Reasons;
use crate::refusal::Rule;

/// Keyslots that the format knows.
const MAX: u32 = 32;

/// A keyslot's number, its area, and what trying it costs.
pub(crate) struct Keyslot {
    pub(crate) number: u32,
    /// Bytes on the device.
    pub(crate) area: std::ops::Range<u64>,
    work: u64,
    iterations: u64,
}

/// An integer within `range`.
pub(crate) fn within(value: Option<&Json>, range: &RangeInclusive<u32>) -> Option<u32> {
    value.and_then(Json::as_int).and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n))
}

/// Refuses keyslots that together cost too much to try.
pub(crate) fn cost<'k>(tried: impl Iterator<Item = &'k Keyslot>, allow: &Keyslots, reasons: &mut Reasons) {
    let (work, iterations) = tried.fold((0u64, 0u64), |(work, iterations), slot| {
        (work.saturating_add(slot.work), iterations.saturating_add(slot.iterations))
    });
    if work > allow.all_work || iterations > allow.all_iterations {
        reasons.forbid(Rule::KeyslotCost, "/keyslots", &format!("{work} KiB, {iterations} iterations"));
    }
}

/// Refuses a digest that is bound to other keyslots than these.
pub(crate) fn bound(digest: &Json, path: &str, keyslots: &[Keyslot], reasons: &mut Reasons) {
    let names = digest.get("keyslots").and_then(Json::as_names).unwrap_or_default();
    let numbers: Vec<String> = keyslots.iter().map(|slot| slot.number.to_string()).collect();
    if names.len() != numbers.len() || !numbers.iter().all(|number| names.contains(&number.as_str())) {
        reasons.forbid(Rule::KeyslotBinding, &format!("{path}/keyslots"), &names.join(","));
    }
}

impl Keyslot {
    /// All of `keyslots` whose number and area can be read; everything wrong with any goes to `reasons`.
    pub(crate) fn all(keyslots: Option<&Json>, allow: &Keyslots, reasons: &mut Reasons) -> Vec<Self> {
        let members = keyslots.map(Json::members).unwrap_or_default();
        if !allow.count.contains(&members.len()) {
            reasons.forbid(Rule::KeyslotCount, "/keyslots", &members.len());
        }
        let mut court = Court { allow, reasons };
        members.iter().filter_map(|(key, keyslot)| court.keyslot(key, keyslot)).collect()
    }
}

struct Court<'a> {
    allow: &'a Keyslots,
    reasons: &'a mut Reasons,
}

impl Court<'_> {
    fn keyslot(&mut self, key: &str, keyslot: &Json) -> Option<Keyslot> {
        let path = format!("/keyslots/{}", escape(key));
        match keyslot.get("type").and_then(Json::as_str) {
            Some("luks2") => {}
            Some("reencrypt") => self.reasons.forbid(Rule::Reencrypt, &path, keyslot),
            _ => self.reasons.forbid(Rule::KeyslotForm, &path, keyslot),
        }
        let key_size = Json::Int(self.allow.key_size.into());
        self.reasons.only(keyslot, &path, &["type", "key_size", "af", "area", "kdf", "priority"]);
        self.reasons.require(keyslot, &path, "key_size", &key_size, Rule::KeyslotForm);
        if let Some(priority) = keyslot.get("priority")
            && within(Some(priority), &(0..=2)).is_none()
        {
            self.reasons.forbid(Rule::KeyslotForm, &format!("{path}/priority"), priority);
        }
        let empty = Json::Object(Vec::new());
        let (area, at) = (keyslot.get("area").unwrap_or(&empty), format!("{path}/area"));
        self.reasons.only(area, &at, &["type", "offset", "size", "encryption", "key_size"]);
        self.reasons.require(area, &at, "type", &text("raw"), Rule::KeyslotForm);
        self.reasons.require(area, &at, "encryption", &text(self.allow.cipher), Rule::KeyslotCipher);
        self.reasons.require(area, &at, "key_size", &key_size, Rule::KeyslotCipher);
        let (af, at) = (keyslot.get("af").unwrap_or(&empty), format!("{path}/af"));
        self.reasons.only(af, &at, &["type", "stripes", "hash"]);
        self.reasons.require(af, &at, "type", &text("luks1"), Rule::KeyslotForm);
        let stripes = Json::Int(self.allow.stripes.into());
        self.reasons.require(af, &at, "stripes", &stripes, Rule::KeyslotForm);
        self.hash(af, &at);
        let (work, iterations) = self.kdf(keyslot.get("kdf").unwrap_or(&empty), &format!("{path}/kdf"));
        let number = key.parse().ok().filter(|number| *number < MAX);
        if number.is_none() {
            self.reasons.forbid(Rule::KeyslotForm, &path, &"");
        }
        let place = |key| area.get(key).and_then(Json::as_str).and_then(crate::metadata::decimal);
        // Metadata without them are invalid.
        let (start, size) = (place("offset")?, place("size")?);
        Some(Keyslot { number: number?, area: start..start.saturating_add(size), work, iterations })
    }

    fn hash(&mut self, of: &Json, path: &str) {
        let hash = of.get("hash").and_then(Json::as_str).unwrap_or_default();
        if !self.allow.hashes.contains(&hash) {
            self.reasons.forbid(Rule::KeyslotForm, &format!("{path}/hash"), &hash);
        }
    }

    /// What one attempt costs: passes times KiB, and iterations.
    fn kdf(&mut self, kdf: &Json, path: &str) -> (u64, u64) {
        let salt = kdf.get("salt").and_then(Json::as_str).and_then(|text| STANDARD.decode(text).ok());
        if !salt.is_some_and(|salt| (16..=64).contains(&salt.len())) {
            self.reasons.forbid(Rule::KeyslotForm, &format!("{path}/salt"), &"");
        }
        let kind = kdf.get("type").and_then(Json::as_str).unwrap_or_default();
        match (kind, &self.allow.pbkdf2, &self.allow.argon2) {
            ("pbkdf2", Some(iterations), _) => {
                self.reasons.only(kdf, path, &["type", "salt", "hash", "iterations"]);
                self.hash(kdf, path);
                (0, self.bounded(kdf, path, "iterations", iterations))
            }
            ("argon2i" | "argon2id", _, Some(bounds)) => {
                self.reasons.only(kdf, path, &["type", "salt", "time", "memory", "cpus"]);
                self.bounded(kdf, path, "cpus", &bounds.cpus);
                let time = self.bounded(kdf, path, "time", &bounds.time);
                (time.saturating_mul(self.bounded(kdf, path, "memory", &bounds.memory)), 0)
            }
            _ => {
                self.reasons.forbid(Rule::KeyslotForm, &format!("{path}/type"), &kind);
                (0, 0)
            }
        }
    }

    fn bounded(&mut self, of: &Json, path: &str, key: &str, range: &RangeInclusive<u32>) -> u64 {
        match (within(of.get(key), range), of.get(key)) {
            (Some(n), _) => n.into(),
            (None, value) => {
                let shown = value.map(ToString::to_string).unwrap_or_default();
                self.reasons.forbid(Rule::KeyslotCost, &format!("{path}/{key}"), &shown);
                0
            }
        }
    }
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}
