//! The report's outer form: header, hardware report, request data, zeros.
//!
//! Microsoft's "Confidential VM guest attestation design detail" gives the length in the header as the hardware report's; paravisors
//! write that of the whole, so both are read. OpenHCL's request data of version 2 may have a word more before the runtime data.

use crate::rejection::{Field, HclRejection};
use crate::runtime::{RuntimeData, RuntimeProven};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// The longest report that is read, bytes; real ones have 2600.
pub const MAX_HCL_REPORT: usize = 16 * 1024;
/// Hashes over the runtime data, as the field `hash type` numbers them from 1.
pub const HASH_TYPES: [&str; 3] = ["sha256", "sha384", "sha512"];

const SNP_REPORT: usize = 1184;
const TD_REPORT: usize = 1024;
/// `HCLA` in little-endian.
const SIGNATURE: u32 = u32::from_le_bytes(*b"HCLA");
/// Bytes of the header, and of the request data before the runtime data.
const HEADER: u32 = 32;
const DATA_HEADER: u32 = 20;
/// Bytes of the capabilities that request data of version 2 may have behind their header.
const CAPABILITIES: u32 = 4;
/// A request for a report over the vTPM's keys.
const REQUEST_AK: u32 = 2;
const TYPE_SNP: u32 = 2;
const TYPE_TDX: u32 = 4;

/// The hardware report inside, as raw as it is; nothing of it is proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HardwareReport<'a> {
    /// An SEV-SNP attestation report.
    Snp(&'a [u8; SNP_REPORT]),
    /// A TDREPORT: believed as far as a TD quote made from it is.
    Tdx(&'a [u8; TD_REPORT]),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A report as it was read; nothing of it is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HclReport<'a> {
    version: u32,
    hardware: HardwareReport<'a>,
    hash: Hash,
    runtime: &'a [u8],
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = tail;
        Some(head)
    }
}

fn due(field: Field, seen: u32, wanted: &'static str, holds: bool) -> Result<(), HclRejection> {
    if holds { Ok(()) } else { Err(HclRejection::Field { field, seen, wanted }) }
}

fn zeros(field: Field, bytes: &[u8]) -> Result<(), HclRejection> {
    let other = bytes.iter().find(|byte| **byte != 0);
    due(field, other.map_or(0, |byte| u32::from(*byte)), "zero", other.is_none())
}

impl<'a> HclReport<'a> {
    /// Reads header versions 1 and 2, with zeros behind the runtime data and nothing else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HclRejection> {
        if bytes.len() > MAX_HCL_REPORT {
            return Err(HclRejection::Length(bytes.len()));
        }
        Self::read(&mut Reader(bytes)).ok_or(HclRejection::Length(bytes.len()))?
    }

    /// `None` where it ends early.
    fn read(r: &mut Reader<'a>) -> Option<Result<Self, HclRejection>> {
        let (signature, version, size) = (r.u32()?, r.u32()?, r.u32()?);
        let (request, status, reserved) = (r.u32()?, r.u32()?, r.array::<12>()?);
        let hardware: &[u8; SNP_REPORT] = r.array()?;
        let (data_size, data_version, kind) = (r.u32()?, r.u32()?, r.u32()?);
        let (hash, len) = (r.u32()?, r.u32()?);
        let plain = DATA_HEADER.saturating_add(len);
        let extended = data_version == 2 && data_size == plain.saturating_add(CAPABILITIES);
        let data = if extended { data_size } else { plain };
        r.take(if extended { CAPABILITIES } else { 0 })?;
        let runtime = r.take(len)?;
        let judged = || {
            due(Field::Signature, signature, "`HCLA`", signature == SIGNATURE)?;
            due(Field::Version, version, "1 or 2", matches!(version, 1 | 2))?;
            due(Field::RequestType, request, "2 (a report over the vTPM's keys)", request == REQUEST_AK)?;
            due(Field::Status, status, "0", status == 0)?;
            zeros(Field::Reserved, reserved)?;
            due(Field::DataVersion, data_version, "1 or 2", matches!(data_version, 1 | 2))?;
            due(Field::RuntimeSize, len, "at least 2", len >= 2)?;
            due(Field::DataSize, data_size, "20 more than the runtime data have", data_size == data)?;
            let hash = match hash {
                1 => Hash::Sha256,
                2 => Hash::Sha384,
                3 => Hash::Sha512,
                seen => {
                    return Err(HclRejection::Field { field: Field::HashType, seen, wanted: "1, 2 or 3" });
                }
            };
            let hardware = match kind {
                TYPE_SNP => HardwareReport::Snp(hardware),
                TYPE_TDX => {
                    let (report, rest) =
                        hardware.split_first_chunk().ok_or(HclRejection::Length(hardware.len()))?;
                    zeros(Field::HardwarePadding, rest)?;
                    HardwareReport::Tdx(report)
                }
                seen => {
                    let wanted = "2 (SEV-SNP) or 4 (TDX)";
                    return Err(HclRejection::Field { field: Field::ReportType, seen, wanted });
                }
            };
            let room = u32::try_from(SNP_REPORT).unwrap_or(u32::MAX);
            let whole = HEADER.saturating_add(room).saturating_add(data);
            let alone = match hardware {
                HardwareReport::Snp(report) => report.len(),
                HardwareReport::Tdx(report) => report.len(),
            };
            let wanted = "the bytes up to the end of the runtime data, or those of the hardware report";
            due(Field::ReportSize, size, wanted, size == whole || usize::try_from(size) == Ok(alone))?;
            zeros(Field::Padding, r.0)?;
            Ok(Self { version, hardware, hash, runtime })
        };
        Some(judged())
    }

    /// Version of the header: 1 or 2.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The hardware report, to be proven by whoever knows its kind.
    pub fn hardware(&self) -> HardwareReport<'a> {
        self.hardware
    }

    /// The hash that binds the runtime data, by its name in [`HASH_TYPES`].
    pub fn hash_name(&self) -> &'static str {
        let [sha256, sha384, sha512] = HASH_TYPES;
        match self.hash {
            Hash::Sha256 => sha256,
            Hash::Sha384 => sha384,
            Hash::Sha512 => sha512,
        }
    }

    /// The runtime data as they were sent: JSON, a claim.
    pub fn unproven_runtime(&self) -> &'a [u8] {
        self.runtime
    }

    /// The runtime data, read but not proven.
    pub fn unproven_claims(&self) -> Result<RuntimeData, HclRejection> {
        RuntimeData::read(self.runtime)
    }

    /// Whether a proven hardware report's REPORT_DATA covers the runtime data: their hash, then zeros.
    ///
    /// The caller owes that `report_data` is of the very report that [`hardware`](Self::hardware) gave.
    pub fn bound_to(&self, report_data: &[u8; 64]) -> Result<RuntimeProven, HclRejection> {
        let mut hashed = match self.hash {
            Hash::Sha256 => Sha256::digest(self.runtime).to_vec(),
            Hash::Sha384 => Sha384::digest(self.runtime).to_vec(),
            Hash::Sha512 => Sha512::digest(self.runtime).to_vec(),
        };
        hashed.resize(report_data.len(), 0);
        if hashed != report_data {
            let covered = hex::encode(report_data);
            return Err(HclRejection::Binding { covered, hashed: hex::encode(hashed) });
        }
        Ok(RuntimeProven::new(self.unproven_claims()?))
    }
}
