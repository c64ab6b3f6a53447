//! Why a header is refused: one variant or rule each, with a stable code, the JSON path and the value.

use crate::binary::{CopyError, Role};
use crate::copies::ParseError;

/// A refused header; [`Refusal::code`] is stable, the sentence is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The device could not be read.
    #[error("the header could not be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// The device ends before the header does.
    #[error("truncated: the header takes {need} bytes, {have} are there")]
    Truncated {
        /// Bytes of a header under the allowlist.
        need: u64,
        /// Bytes that were there.
        have: u64,
    },
    /// There is no LUKS2 header at all.
    #[error("no LUKS2 header")]
    NotLuks2,
    /// A LUKS header of another version.
    #[error("a LUKS header of version {0}, not 2")]
    Version(u16),
    /// Neither copy can be used.
    #[error("damaged LUKS2 header: primary: {primary}; secondary: {secondary}")]
    Damaged {
        /// What is wrong with the copy at offset 0.
        primary: CopyError,
        /// What is wrong with the other.
        secondary: CopyError,
    },
    /// One copy can be used, the other cannot.
    #[error("the {role} copy of the header is damaged: {error}")]
    CopyDamaged {
        /// The damaged copy.
        role: Role,
        /// What is wrong with it.
        error: CopyError,
    },
    /// Both copies are good, but they differ.
    #[error("the two copies of the header differ in their {0}")]
    CopiesDiffer(&'static str),
    /// A binary header holds more than its fields say.
    #[error("the {0} binary header is not in canonical form")]
    NotCanonical(Role),
    /// Something is hidden in a keyslots area that no keyslot uses.
    #[error("the unused keyslots area holds data at byte {0:#x}")]
    KeyslotArea(u64),
    /// The metadata says something that the allowlist does not allow.
    #[error("{path}: {rule}: {value}")]
    Forbidden {
        /// The rule that was broken.
        rule: Rule,
        /// JSON pointer to the member at fault.
        path: String,
        /// What stands there, escaped and cut.
        value: String,
    },
    /// The metadata lacks something.
    #[error("{0}: missing")]
    Missing(String),
    /// A good header, but not the one that is expected.
    #[error("not the registered header: its digest is {have}, registered is {want}")]
    Digest {
        /// SHA-256 of the header that was judged, hex.
        have: String,
        /// SHA-256 that was asked for, hex.
        want: String,
    },
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $code:literal $sentence:literal,)*) => {
        /// A rule of the allowlist.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub enum Rule {
            $(#[doc = $sentence] #[error($sentence)] $name,)*
        }

        impl Rule {
            /// All rules, for tables.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// The stable code of the rule.
            pub fn code(self) -> &'static str {
                match self { $(Rule::$name => $code,)* }
            }
        }
    };
}

rules! {
    RepeatedKey "luks-repeated-key" "a key stands twice",
    UnknownField "luks-unknown-field" "unknown member",
    Uuid "luks-uuid" "not a canonical UUID",
    Label "luks-label" "labels are not used",
    MetadataSize "luks-metadata-size" "wrong metadata size",
    KeyslotsSize "luks-keyslots-size" "wrong keyslots area size",
    Requirements "luks-requirements" "requirements are not allowed",
    Flags "luks-flags" "flags are not allowed",
    Reencrypt "luks-reencrypt" "reencryption is not allowed",
    Keyslot "luks-keyslot" "keyslots are not allowed",
    SegmentCount "luks-segment-count" "exactly one segment, number 0, is allowed",
    BackupSegment "luks-backup-segment" "backup segments are not allowed",
    SegmentType "luks-segment-type" "wrong segment type",
    SegmentOffset "luks-segment-offset" "wrong data offset",
    SegmentSize "luks-segment-size" "the segment must reach to the end of the device",
    IvTweak "luks-iv-tweak" "wrong IV tweak",
    Cipher "luks-cipher" "wrong cipher",
    SectorSize "luks-sector-size" "wrong sector size",
    Integrity "luks-integrity" "wrong integrity protection",
    DigestCount "luks-digest-count" "exactly one digest, number 0, is allowed",
    DigestType "luks-digest-type" "wrong digest type",
    DigestHash "luks-digest-hash" "wrong digest hash",
    DigestIterations "luks-digest-iterations" "digest iterations out of bounds",
    DigestBinding "luks-digest-binding" "the digest must be bound to segment 0 and to no keyslot",
    DigestValue "luks-digest-value" "not base64 of 32 bytes",
    TokenCount "luks-token-count" "exactly one token, number 0, is allowed",
    TokenType "luks-token-type" "only tokens of type ccnode are allowed",
    Token "luks-token" "the token does not follow its schema",
    KeyslotCount "luks-keyslot-count" "not as many keyslots as are allowed",
    KeyslotForm "luks-keyslot-form" "not a keyslot as cryptsetup makes it",
    KeyslotCipher "luks-keyslot-cipher" "wrong cipher of a keyslot",
    KeyslotCost "luks-keyslot-cost" "the key derivation is too weak, or costs more than is allowed",
    KeyslotBinding "luks-keyslot-binding" "the digest must be bound to segment 0 and to every keyslot",
    ClevisToken "luks-clevis-token" "the one token must be of type clevis, for one keyslot, with a JWE",
    PassphraseToken "luks-passphrase-token" "a volume that a passphrase opens has no token",
}

/// What a refusal means for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The device does not deliver.
    Unreadable,
    /// No LUKS2 header, or a damaged one.
    Malformed,
    /// A header that says something that is not allowed.
    Forbidden,
    /// An acceptable header, but not the registered one.
    Unexpected,
}

impl Refusal {
    /// What this refusal means for the operator.
    pub fn kind(&self) -> Kind {
        match self {
            Refusal::Unreadable(_) => Kind::Unreadable,
            Refusal::Truncated { .. }
            | Refusal::NotLuks2
            | Refusal::Version(_)
            | Refusal::Damaged { .. }
            | Refusal::CopyDamaged { .. } => Kind::Malformed,
            Refusal::CopiesDiffer(_)
            | Refusal::NotCanonical(_)
            | Refusal::KeyslotArea(_)
            | Refusal::Forbidden { .. }
            | Refusal::Missing(_) => Kind::Forbidden,
            Refusal::Digest { .. } => Kind::Unexpected,
        }
    }

    /// The stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Unreadable(_) => "luks-unreadable",
            Refusal::Truncated { .. } => "luks-truncated",
            Refusal::NotLuks2 => "luks-not-luks2",
            Refusal::Version(_) => "luks-version",
            Refusal::Damaged { .. } => "luks-damaged",
            Refusal::CopyDamaged { .. } => "luks-copy-damaged",
            Refusal::CopiesDiffer(_) => "luks-copies-differ",
            Refusal::NotCanonical(_) => "luks-not-canonical",
            Refusal::KeyslotArea(_) => "luks-keyslot-area",
            Refusal::Forbidden { rule, .. } => rule.code(),
            Refusal::Missing(_) => "luks-missing-field",
            Refusal::Digest { .. } => "luks-header-digest",
        }
    }

    /// JSON pointer to the member at fault, where there is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Refusal::Forbidden { path, .. } | Refusal::Missing(path) => Some(path),
            Refusal::CopyDamaged { error: CopyError::Json(invalid), .. }
            | Refusal::Damaged { primary: CopyError::Json(invalid), .. }
            | Refusal::Damaged { secondary: CopyError::Json(invalid), .. } => Some(&invalid.path),
            _ => None,
        }
    }

    /// What stands there, escaped and cut.
    pub fn value(&self) -> Option<&str> {
        match self {
            Refusal::Forbidden { value, .. } => Some(value),
            Refusal::CopyDamaged { error: CopyError::Json(invalid), .. }
            | Refusal::Damaged { primary: CopyError::Json(invalid), .. }
            | Refusal::Damaged { secondary: CopyError::Json(invalid), .. } => invalid.value.as_deref(),
            _ => None,
        }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::NotLuks2 => Refusal::NotLuks2,
            ParseError::Version(version) => Refusal::Version(version),
            ParseError::Damaged { primary, secondary } => Refusal::Damaged { primary, secondary },
            ParseError::Truncated { need, have } => Refusal::Truncated { need, have },
        }
    }
}
