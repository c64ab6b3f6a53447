//! The two metadata copies of a header: which are good, which one counts, and how one is made from the other.

use crate::binary::{self, BinaryHeader, CopyError, Role, SIZES};
use crate::json::Json;
use crate::metadata;

/// A header as cryptsetup would take it: at least one copy is good.
#[derive(Debug, Clone)]
pub struct Header {
    /// The binary header of the copy that counts.
    pub binary: BinaryHeader,
    /// How the two copies stand.
    pub copies: Copies,
    /// A copy whose binary header holds more than its fields.
    pub(crate) stray: Option<Role>,
    pub(crate) json: Json,
}

/// How the two copies of a header stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copies {
    /// Both are good and hold the same.
    Agree,
    /// Both are good, but `field` differs; the one with the higher sequence number counts.
    Differ(&'static str),
    /// Only the other copy is good.
    Damaged(Role, CopyError),
}

/// Bytes that cryptsetup would not take for a LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither copy has a LUKS2 magic.
    #[error("no LUKS2 header")]
    NotLuks2,
    /// A LUKS header of another version.
    #[error("a LUKS header of version {0}, not 2")]
    Version(u16),
    /// Neither copy is good.
    #[error("damaged LUKS2 header: primary: {primary}; secondary: {secondary}")]
    Damaged {
        /// What is wrong with the copy at offset 0.
        primary: CopyError,
        /// What is wrong with the other.
        secondary: CopyError,
    },
    /// The device is shorter than the header with its keyslots area.
    #[error("truncated: the header takes {need} bytes, the device has {have}")]
    Truncated {
        /// Bytes that header and keyslots area take.
        need: u64,
        /// Bytes of the device.
        have: u64,
    },
}

/// Where the UUID lies in a binary header.
const UUID: std::ops::Range<usize> = 168..208;

/// A copy whose checksum is right.
struct Sealed<'a> {
    binary: BinaryHeader,
    area: &'a [u8],
    /// Whether its binary header holds nothing but its fields.
    canonical: bool,
}

/// A copy whose metadata are valid, too.
struct Copy<'a> {
    binary: BinaryHeader,
    json: Option<Json>,
    area: &'a [u8],
    canonical: bool,
}

impl Header {
    /// Parses `bytes`, the start of a device (8 MiB, or all of it if it is shorter), whose whole length
    /// is `device_len`.
    pub fn parse(bytes: &[u8], device_len: u64) -> Result<Self, ParseError> {
        let (primary, secondary) = both(bytes);
        let stray = |copy: &Result<Copy<'_>, _>| copy.as_ref().is_ok_and(|copy| !copy.canonical);
        let stray = match (stray(&primary), stray(&secondary)) {
            (true, _) => Some(Role::Primary),
            (false, true) => Some(Role::Secondary),
            (false, false) => None,
        };
        let (current, copies) = match (primary, secondary) {
            (Ok(first), Ok(second)) => match difference(&first, &second) {
                None => (first, Copies::Agree),
                Some(field) if second.binary.seqid > first.binary.seqid => {
                    let json = second.json.or(first.json);
                    (Copy { json, ..second }, Copies::Differ(field))
                }
                Some(field) => (first, Copies::Differ(field)),
            },
            (Ok(first), Err((error, _))) => (first, Copies::Damaged(Role::Secondary, error)),
            (Err((CopyError::Magic, _)), Ok(second)) if !was_header(bytes, &second) => {
                return Err(ParseError::NotLuks2);
            }
            (Err((error, _)), Ok(second)) => (second, Copies::Damaged(Role::Primary, error)),
            (Err((CopyError::Version(version), _)), Err(_)) => return Err(ParseError::Version(version)),
            (Err((CopyError::Magic, _)), Err((CopyError::Magic, _))) => return Err(ParseError::NotLuks2),
            (Err((primary, _)), Err((secondary, _))) => {
                return Err(ParseError::Damaged { primary, secondary });
            }
        };
        // A copy comes without metadata only if it repeats the other's, which then stand in for them.
        let json = current.json.ok_or(ParseError::NotLuks2)?;
        let header = Header { binary: current.binary, copies, stray, json };
        match header.end() {
            need if need > device_len => Err(ParseError::Truncated { need, have: device_len }),
            _ => Ok(header),
        }
    }

    /// Size in bytes of the keyslots area.
    pub fn keyslots_size(&self) -> u64 {
        let size = self.json.get("config").and_then(|config| config.get("keyslots_size"));
        size.and_then(Json::as_str).and_then(metadata::decimal).unwrap_or(0)
    }

    /// The metadata as compact JSON, repeated keys and all.
    pub fn metadata(&self) -> String {
        self.json.to_string()
    }

    /// Bytes that both copies and the keyslots area take.
    pub fn end(&self) -> u64 {
        self.binary.size.saturating_mul(2).saturating_add(self.keyslots_size())
    }
}

/// A copy, or what is wrong with it and the size that a valid checksum vouches for.
type Found<'a> = Result<Copy<'a>, (CopyError, Option<u64>)>;

/// The binary headers of both copies, or what is wrong with each.
pub(crate) fn binaries(bytes: &[u8]) -> [Result<BinaryHeader, CopyError>; 2] {
    let (primary, secondary) = both(bytes);
    [primary, secondary].map(|copy| copy.map(|copy| copy.binary).map_err(|(error, _)| error))
}

/// Both copies: the primary at 0, the secondary where the primary says, or wherever one begins.
fn both(bytes: &[u8]) -> (Found<'_>, Found<'_>) {
    let primary = copy(bytes, Role::Primary, 0, None);
    let secondary = match &primary {
        Ok(primary) => copy(bytes, Role::Secondary, primary.binary.size, Some(primary.area)),
        // Valid checksum, bad metadata: the size is to be believed.
        Err((CopyError::Json(_), Some(size))) => copy(bytes, Role::Secondary, *size, None),
        Err(_) => {
            let mut found = SIZES.iter().map(|at| copy(bytes, Role::Secondary, *at, None));
            let nothing = Err((CopyError::Magic, None));
            found
                .find(|c| !matches!(c, Err((CopyError::Magic | CopyError::Truncated { .. }, _))))
                .unwrap_or(nothing)
        }
    };
    (primary, secondary)
}

/// The copy at `offset`; with an error goes the size that a valid checksum vouches for. Metadata that are `known`
/// to be valid are not parsed again.
fn copy<'a>(bytes: &'a [u8], role: Role, offset: u64, known: Option<&[u8]>) -> Found<'a> {
    let Sealed { binary, area, canonical } = sealed(bytes, role, offset).map_err(|e| (e, None))?;
    let json = match known == Some(area) {
        true => None,
        false => Some(metadata::parse(area).map_err(|e| (CopyError::Json(e), Some(binary.size)))?),
    };
    Ok(Copy { binary, json, area, canonical })
}

fn sealed(bytes: &[u8], role: Role, offset: u64) -> Result<Sealed<'_>, CopyError> {
    let have = bytes.len() as u64;
    let short = |need| CopyError::Truncated { need, have };
    let start = usize::try_from(offset).map_err(|_| short(offset))?;
    let from = bytes.get(start..).ok_or_else(|| short(offset))?;
    let binary = BinaryHeader::decode(from, role, offset)?;
    let end = usize::try_from(binary.size).ok().and_then(|size| from.get(..size));
    let whole = end.ok_or_else(|| short(offset.saturating_add(binary.size)))?;
    if !binary::checksum_matches(whole) {
        return Err(CopyError::Checksum);
    }
    let (page, area) = whole.split_at_checked(binary::LEN).unwrap_or_default();
    let canonical = binary.is_all_of(page);
    Ok(Sealed { binary, area, canonical })
}

/// Whether the bytes at 0, which have no magic, are a wiped or damaged primary of `second` and not something
/// that was written over it later (a leftover secondary is no live volume).
fn was_header(bytes: &[u8], second: &Copy<'_>) -> bool {
    let page = bytes.get(..binary::LEN).unwrap_or(bytes);
    let uuid = bytes.get(UUID).unwrap_or_default();
    page.iter().all(|b| *b == 0) || (!second.binary.uuid.is_empty() && uuid.starts_with(&second.binary.uuid))
}

fn difference(first: &Copy<'_>, second: &Copy<'_>) -> Option<&'static str> {
    let (a, b) = (&first.binary, &second.binary);
    let fields = [
        (a.seqid == b.seqid, "sequence number"),
        (a.uuid == b.uuid, "UUID"),
        (a.size == b.size, "metadata size"),
        (a.label == b.label, "label"),
        (a.subsystem == b.subsystem, "subsystem"),
        (first.area == second.area, "JSON area"),
    ];
    fields.into_iter().find(|(same, _)| !same).map(|(_, field)| field)
}

/// Overwrites the secondary copy in `header` with the one that belongs to its primary: the same fields, the
/// same salt, the same JSON. So a header is determined by its primary copy, and a damaged secondary can
/// be restored and still have the digest that was registered.
///
/// Fails with what is wrong with the primary.
pub fn rebuild_secondary(header: &mut [u8]) -> Result<(), CopyError> {
    let size = sealed(header, Role::Primary, 0)?.binary.size;
    rebuild(header, Role::Secondary, size)
}

/// Overwrites the copy `role` in `header`, whose copies are of `size` bytes, with the one that belongs to the other.
///
/// Fails with what is wrong with the other.
pub(crate) fn rebuild(header: &mut [u8], role: Role, size: u64) -> Result<(), CopyError> {
    let good = sealed(header, role.other(), role.other().at(size))?;
    let binary = BinaryHeader { role, offset: role.at(size), ..good.binary };
    let made = [&binary.encode(good.area), good.area].concat();
    let have = header.len() as u64;
    let place =
        usize::try_from(binary.offset).ok().and_then(|at| header.get_mut(at..)?.get_mut(..made.len()));
    match place {
        Some(place) => place.copy_from_slice(&made),
        None => return Err(CopyError::Truncated { need: size.saturating_mul(2), have }),
    }
    Ok(())
}
