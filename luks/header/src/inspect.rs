//! A header looked at as a whole: what cryptsetup would take it for, what an allowlist says, and where each reason stands.

use crate::allow::Allowlist;
use crate::binary::{BinaryHeader, CopyError, Role};
use crate::copies::{Header, ParseError, binaries};
use crate::escape::escape;
use crate::integrity::Integrity;
use crate::json::Json;
use crate::passphrase::{self, OpenedBy};
use crate::refusal::Refusal;

/// More members than these of one object are counted and not shown.
const MAX_SHOWN: usize = 64;

/// By what a header is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// [`Allowlist::volume`] of that integrity protection.
    Own(Integrity),
    /// The allowlist of foreign volumes that are opened so.
    Foreign(OpenedBy),
}

/// What cryptsetup would take the bytes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// At least one copy is good.
    Valid,
    /// A LUKS2 header that can't be used.
    Invalid,
    /// Something else: another version of LUKS, or no LUKS at all.
    NotLuks2,
}

/// A part of a header: a line of text that is safe for a terminal, the reasons against this part, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    path: String,
    /// The line.
    pub text: String,
    /// What is wrong here.
    pub reasons: Vec<Refusal>,
    /// Its parts.
    pub branches: Vec<Branch>,
}

/// A header that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// As cryptsetup would take it.
    pub health: Health,
    /// All reasons against it, gravest first; none means that it is acceptable.
    pub reasons: Vec<Refusal>,
    /// The header; every reason stands at one of its branches.
    pub tree: Branch,
}

/// Looks at `bytes`, the start of a device of `device_len` bytes as [`passphrase::read`] reads it.
pub fn inspect(bytes: &[u8], device_len: u64, by: By) -> Inspection {
    let parsed = Header::parse(bytes, device_len);
    let health = match &parsed {
        Ok(_) => Health::Valid,
        Err(ParseError::NotLuks2 | ParseError::Version(_)) => Health::NotLuks2,
        Err(ParseError::Damaged { .. } | ParseError::Truncated { .. }) => Health::Invalid,
    };
    let reasons = match by {
        By::Own(integrity) => own(bytes, parsed.as_ref().ok(), integrity),
        By::Foreign(by) => passphrase::examine(bytes, by),
    };
    let mut tree = Branch::new("", "header".to_owned());
    tree.branches.extend(copies(bytes, health));
    if let Ok(header) = &parsed {
        tree.branches.push(Branch::new("seqid", format!("sequence number: {}", header.binary.seqid)));
        for (path, text) in [
            ("uuid", &header.binary.uuid),
            ("label", &header.binary.label),
            ("subsystem", &header.binary.subsystem),
        ] {
            let text = format!("{path}: {}", escape(&String::from_utf8_lossy(text)));
            tree.branches.push(Branch::new(path, text.trim_end().to_owned()));
        }
        tree.branches.extend(members(&header.json, ""));
        let area = format!("keyslots area: {} bytes at {}", header.keyslots_size(), 2 * header.binary.size);
        tree.branches.push(Branch::new("area", area));
    }
    for reason in &reasons {
        tree.take(place(reason), reason);
    }
    Inspection { health, reasons, tree }
}

/// The reasons of our own allowlist: against as many bytes as it reads, or as this header takes where that is more, so that
/// a larger header is told from a damaged one.
fn own(bytes: &[u8], header: Option<&Header>, integrity: Integrity) -> Vec<Refusal> {
    let allow = &Allowlist::volume(integrity);
    let len = allow.header_len().max(header.map_or(0, Header::end));
    let start = usize::try_from(len).ok().and_then(|len| bytes.get(..len)).unwrap_or(bytes);
    crate::judge::examine(start, allow)
}

fn copies(bytes: &[u8], health: Health) -> Vec<Branch> {
    let branch = |(role, found): (Role, Result<BinaryHeader, CopyError>)| {
        let text = match found {
            Ok(binary) => format!("{role} copy: {} bytes at {}", binary.size, binary.offset),
            Err(error) => format!("{role} copy: {error}"),
        };
        Branch::new(name(role), text)
    };
    match health {
        Health::NotLuks2 => Vec::new(),
        Health::Valid | Health::Invalid => {
            [Role::Primary, Role::Secondary].into_iter().zip(binaries(bytes)).map(branch).collect()
        }
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Secondary => "secondary",
    }
}

/// The path of the branch that a reason belongs to; empty for the whole header.
fn place(reason: &Refusal) -> &str {
    match reason {
        Refusal::CopyDamaged { role, .. } | Refusal::NotCanonical(role) => name(*role),
        Refusal::CopiesDiffer(_) => "secondary",
        Refusal::KeyslotArea(_) => "area",
        Refusal::Damaged { .. } => "",
        _ => reason.path().unwrap_or_default(),
    }
}

fn members(json: &Json, at: &str) -> Vec<Branch> {
    let members = json.members();
    let mut shown: Vec<_> =
        members.iter().take(MAX_SHOWN).map(|(key, value)| member(key, value, at)).collect();
    if let Some(more) = members.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
        shown.push(Branch::new("", format!("… and {more} more")));
    }
    shown
}

fn member(key: &str, value: &Json, at: &str) -> Branch {
    let key = escape(key);
    let path = format!("{at}/{key}");
    let branches = members(value, &path);
    let text = match branches.is_empty() {
        true => format!("{key}: {}", escape(&value.to_string())),
        false => key,
    };
    Branch { path, text, reasons: Vec::new(), branches }
}

impl Branch {
    fn new(path: &str, text: String) -> Self {
        Self { path: path.to_owned(), text, reasons: Vec::new(), branches: Vec::new() }
    }

    /// Puts a reason where `path` leads, or as near to it as there is a branch.
    fn take(&mut self, path: &str, reason: &Refusal) {
        let leads = |branch: &&mut Branch| {
            let rest = path.strip_prefix(branch.path.as_str()).filter(|_| !branch.path.is_empty());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.branches.iter_mut().find(leads) {
            Some(branch) => branch.take(path, reason),
            None => self.reasons.push(reason.clone()),
        }
    }
}
