//! The JSON area of one metadata copy, checked as cryptsetup checks it (specification §3), with the path of what is wrong.

use crate::escape::escape;
use crate::json::Json;

/// Keyslots area: at most this many bytes.
const MAX_KEYSLOTS_SIZE: u64 = 128 << 20;
const PAGE: u64 = 4096;

/// Metadata that cryptsetup would not take: where, what stands there, why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}{}", value.as_ref().map(|v| format!(": {v}")).unwrap_or_default())]
pub struct Invalid {
    /// JSON pointer to the member at fault; empty for the whole area.
    pub path: String,
    /// What stands there, escaped and cut.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a member of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The area is not a JSON object from its first byte on.
    #[error("not a JSON object")]
    NotJson,
    /// Something else than zeros follows the object, or not even one zero does.
    #[error("bytes other than zero after the JSON object")]
    Trailing,
    /// The member is missing or has another type.
    #[error("missing, or of the wrong type")]
    Type,
    /// A key or value should be a decimal number that fits.
    #[error("not a number in range")]
    Number,
    /// A name that refers to nothing.
    #[error("refers to nothing")]
    Dangling,
    /// A keyslot that is not bound to exactly one digest, or a segment that is bound to none.
    #[error("wrong number of digests")]
    Digests,
    /// A size or offset that is not aligned.
    #[error("not aligned")]
    Alignment,
    /// Areas or segments that overlap or leave the space they belong to.
    #[error("overlaps or leaves its bounds")]
    Overlap,
    /// Segment numbers with a gap, or regular segments behind backup ones.
    #[error("segments out of order")]
    Order,
    /// A size that the format does not know, or that differs from the binary header's.
    #[error("impossible size")]
    Size,
    /// Reencryption keyslots that do not go with the requirements.
    #[error("reencryption keyslots and requirements do not go together")]
    Reencrypt,
}

type Check<T = ()> = Result<T, Invalid>;

/// Parses and checks the JSON area of a copy of which it is all but the binary header.
pub(crate) fn parse(area: &[u8]) -> Check<Json> {
    let whole = |problem| Invalid { path: String::new(), value: None, problem };
    let end = area.iter().position(|b| *b == 0).ok_or(whole(Problem::Trailing))?;
    let (text, padding) = area.split_at(end);
    if text.first() != Some(&b'{') {
        return Err(whole(Problem::NotJson));
    }
    if text.last() != Some(&b'}') || padding.iter().any(|b| *b != 0) {
        return Err(whole(Problem::Trailing));
    }
    let text = std::str::from_utf8(text).map_err(|_| whole(Problem::NotJson))?;
    let json = Json::parse(text).map_err(|_| whole(Problem::NotJson))?;
    let root = Node { path: String::new(), json: &json };
    let sections = Sections::of(&root)?;
    sections.tokens()?;
    sections.digests()?;
    sections.segments()?;
    sections.keyslots()?;
    sections.config(area.len() as u64)?;
    Ok(json)
}

/// A value and the path that led to it.
struct Node<'a> {
    path: String,
    json: &'a Json,
}

impl<'a> Node<'a> {
    fn is(&self, problem: Problem) -> Invalid {
        Invalid { path: self.path.clone(), value: Some(escape(&self.json.to_string())), problem }
    }

    fn child(&self, key: &str) -> Check<Node<'a>> {
        let path = format!("{}/{}", self.path, escape(key));
        match self.json.get(key) {
            Some(json) => Ok(Node { path, json }),
            None => Err(Invalid { path, value: None, problem: Problem::Type }),
        }
    }

    fn optional(&self, key: &str) -> Option<Node<'a>> {
        self.child(key).ok()
    }

    fn object(&self, key: &str) -> Check<Node<'a>> {
        let child = self.child(key)?;
        if child.json.is_object() { Ok(child) } else { Err(child.is(Problem::Type)) }
    }

    /// Text that is not empty.
    fn text(&self, key: &str) -> Check<&'a str> {
        let child = self.child(key)?;
        child.json.as_str().filter(|text| !text.is_empty()).ok_or_else(|| child.is(Problem::Type))
    }

    fn names(&self, key: &str) -> Check<Vec<&'a str>> {
        let child = self.child(key)?;
        child.json.as_names().ok_or_else(|| child.is(Problem::Type))
    }

    /// An integer that fits 32 bits.
    fn uint32(&self, key: &str) -> Check<u32> {
        let child = self.child(key)?;
        let n = child.json.as_int().ok_or_else(|| child.is(Problem::Type))?;
        u32::try_from(n).map_err(|_| child.is(Problem::Number))
    }

    /// A 64-bit number, which LUKS2 writes as a decimal string.
    fn uint64(&self, key: &str) -> Check<u64> {
        decimal(self.text(key)?).ok_or_else(|| match self.child(key) {
            Ok(child) => child.is(Problem::Number),
            Err(invalid) => invalid,
        })
    }

    /// The members of a section, whose keys must be numbers.
    fn numbered(&self) -> Check<Vec<(&'a str, Node<'a>)>> {
        let entry = |(key, json): &'a (String, Json)| {
            let node = Node { path: format!("{}/{}", self.path, escape(key)), json };
            match key.bytes().all(|b| b.is_ascii_digit()) && json.is_object() {
                true => Ok((key.as_str(), node)),
                false => Err(node.is(Problem::Number)),
            }
        };
        self.json.members().iter().map(entry).collect()
    }
}

/// `strtoull` without its signs and spaces.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

struct Sections<'a> {
    keyslots: Node<'a>,
    tokens: Node<'a>,
    segments: Node<'a>,
    digests: Node<'a>,
    config: Node<'a>,
}

impl<'a> Sections<'a> {
    fn of(root: &Node<'a>) -> Check<Self> {
        Ok(Self {
            keyslots: root.object("keyslots")?,
            tokens: root.object("tokens")?,
            segments: root.object("segments")?,
            digests: root.object("digests")?,
            config: root.object("config")?,
        })
    }

    /// Every name in the array `key` of `from` must be a member of `section`.
    fn refers(from: &Node<'a>, key: &str, section: &Node<'a>) -> Check {
        match from.names(key)?.iter().all(|name| section.json.get(name).is_some_and(Json::is_object)) {
            true => Ok(()),
            false => Err(from.child(key)?.is(Problem::Dangling)),
        }
    }

    /// How many digests name `name` in their array `kind`.
    fn digests_of(&self, kind: &str, name: &str) -> usize {
        let names = |digest: &Json| {
            digest.get(kind).and_then(Json::as_names).is_some_and(|names| names.contains(&name))
        };
        self.digests.json.members().iter().filter(|(_, digest)| names(digest)).count()
    }

    fn tokens(&self) -> Check {
        for (_, token) in self.tokens.numbered()? {
            token.text("type")?;
            Self::refers(&token, "keyslots", &self.keyslots)?;
        }
        Ok(())
    }

    fn digests(&self) -> Check {
        for (_, digest) in self.digests.numbered()? {
            digest.text("type")?;
            Self::refers(&digest, "keyslots", &self.keyslots)?;
            Self::refers(&digest, "segments", &self.segments)?;
        }
        Ok(())
    }

    fn segments(&self) -> Check {
        let mut segments = Vec::new();
        for (key, segment) in self.segments.numbered()? {
            let number: u32 = key.parse().map_err(|_| segment.is(Problem::Number))?;
            segments.push((number, self.segment(key, &segment)?, segment));
        }
        segments.sort_by_key(|(number, ..)| *number);
        let mut before: Option<(u64, Option<u64>)> = None;
        let mut backups = false;
        for (at, (number, (offset, size), segment)) in segments.iter().enumerate() {
            let backup = is_backup(segment.json);
            if *number as usize != at || (at == 0 && backup) || (backups && !backup) {
                return Err(segment.is(Problem::Order));
            }
            backups |= backup;
            if backup {
                continue;
            }
            // Only the last regular segment may be without a size; none may overlap.
            if let Some((start, end)) = before
                && (*offset < start || end.is_none_or(|end| *offset < end))
            {
                return Err(segment.is(Problem::Overlap));
            }
            before = Some((*offset, size.map(|size| offset.saturating_add(size))));
        }
        match segments.is_empty() {
            true => Err(self.segments.is(Problem::Type)),
            false => Ok(()),
        }
    }

    /// Offset and size of one segment; no size means: to the end of the device.
    fn segment(&self, key: &str, segment: &Node<'a>) -> Check<(u64, Option<u64>)> {
        let kind = segment.text("type")?;
        let offset = segment.uint64("offset")?;
        let size = match segment.text("size")? {
            "dynamic" => None,
            _ => Some(segment.uint64("size")?),
        };
        if size == Some(0) || offset % 512 != 0 || size.unwrap_or(0) % 512 != 0 {
            return Err(segment.is(Problem::Alignment));
        }
        if segment.optional("flags").is_some() {
            segment.names("flags")?;
        }
        if kind != "crypt" {
            return Ok((offset, size));
        }
        segment.uint64("iv_tweak")?;
        segment.text("encryption")?;
        let sector = u64::from(segment.uint32("sector_size")?);
        if sector == 0 || sector % 512 != 0 || size.unwrap_or(0) % sector != 0 {
            return Err(segment.is(Problem::Alignment));
        }
        if segment.optional("integrity").is_some() {
            let integrity = segment.object("integrity")?;
            integrity.text("type")?;
            integrity.text("journal_encryption")?;
            integrity.text("journal_integrity")?;
        }
        match self.digests_of("segments", key) {
            0 => Err(segment.is(Problem::Digests)),
            _ => Ok((offset, size)),
        }
    }

    fn keyslots(&self) -> Check {
        for (key, keyslot) in self.keyslots.numbered()? {
            keyslot.uint32("key_size")?;
            keyslot.object("area")?.text("type")?;
            match keyslot.text("type")? {
                "luks2" => {
                    luks2_keyslot(&keyslot)?;
                    if self.digests_of("keyslots", key) != 1 {
                        return Err(keyslot.is(Problem::Digests));
                    }
                }
                "reencrypt" => {
                    keyslot.text("mode")?;
                    keyslot.text("direction")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn config(&self, json_len: u64) -> Check {
        let metadata_size = self.config.uint64("json_size")?.saturating_add(PAGE);
        let keyslots_size = self.config.uint64("keyslots_size")?;
        if metadata_size != json_len + PAGE || !crate::binary::SIZES.contains(&metadata_size) {
            return Err(self.config.child("json_size")?.is(Problem::Size));
        }
        let areas = 2 * metadata_size..2 * metadata_size + keyslots_size.min(MAX_KEYSLOTS_SIZE);
        if keyslots_size % PAGE != 0
            || keyslots_size > MAX_KEYSLOTS_SIZE
            || !self.data_begins_after(areas.end)
        {
            return Err(self.config.child("keyslots_size")?.is(Problem::Size));
        }
        if self.config.optional("flags").is_some() {
            self.config.names("flags")?;
        }
        let mut mandatory = Vec::new();
        if self.config.optional("requirements").is_some() {
            let requirements = self.config.object("requirements")?;
            if requirements.optional("mandatory").is_some() {
                mandatory = requirements.names("mandatory")?;
            }
        }
        self.areas(areas)?;
        let is_reencrypt =
            |(_, k): &&(String, Json)| k.get("type").and_then(Json::as_str) == Some("reencrypt");
        let reencrypt = self.keyslots.json.members().iter().filter(is_reencrypt).count();
        let required = mandatory.iter().any(|name| name.starts_with("online-reencrypt"));
        match reencrypt == usize::from(required) {
            true => Ok(()),
            false => Err(self.keyslots.is(Problem::Reencrypt)),
        }
    }

    /// Whether all regular segments begin at or after `end`; one at 0 means a detached header.
    fn data_begins_after(&self, end: u64) -> bool {
        let regular = self.segments.json.members().iter().filter(|(_, s)| !is_backup(s));
        let first = regular.filter_map(|(_, s)| decimal(s.get("offset")?.as_str()?)).min();
        first.is_none_or(|first| first == 0 || first >= end)
    }

    /// Keyslot areas lie within the keyslots area and apart from each other.
    fn areas(&self, bounds: std::ops::Range<u64>) -> Check {
        let mut taken = Vec::new();
        for (_, keyslot) in self.keyslots.numbered()? {
            let area = keyslot.object("area")?;
            let (start, size) = (area.uint64("offset")?, area.uint64("size")?);
            let end = start.checked_add(size).ok_or_else(|| area.is(Problem::Overlap))?;
            let apart = taken.iter().all(|(s, e)| end <= *s || start >= *e);
            if size == 0 || start < bounds.start || end > bounds.end || !apart {
                return Err(area.is(Problem::Overlap));
            }
            taken.push((start, end));
        }
        Ok(())
    }
}

fn luks2_keyslot(keyslot: &Node<'_>) -> Check {
    let kdf = keyslot.object("kdf")?;
    kdf.text("salt")?;
    match kdf.text("type")? {
        "pbkdf2" => {
            kdf.text("hash")?;
            kdf.uint32("iterations")?;
        }
        "argon2i" | "argon2id" => {
            for cost in ["time", "memory", "cpus"] {
                kdf.uint32(cost)?;
            }
        }
        _ => {}
    }
    let af = keyslot.object("af")?;
    match af.text("type")? {
        "luks1" => {
            af.uint32("stripes")?;
            af.text("hash")?;
        }
        _ => return Err(af.is(Problem::Type)),
    }
    let area = keyslot.object("area")?;
    match area.text("type")? {
        "raw" => {
            area.text("encryption")?;
            area.uint32("key_size")?;
            Ok(())
        }
        _ => Err(area.is(Problem::Type)),
    }
}

fn is_backup(segment: &Json) -> bool {
    let flags = segment.get("flags").and_then(Json::as_names).unwrap_or_default();
    flags.iter().any(|flag| flag.starts_with("backup-"))
}
