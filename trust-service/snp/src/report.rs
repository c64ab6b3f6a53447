//! ATTESTATION_REPORT, versions 2 to 5: 1184 bytes, read strictly (SEV-SNP ABI 56860, section 7.3).

use crate::bits::{GuestPolicy, KeyInfo, PlatformInfo};
use crate::product::Cpuid;
use crate::reader::Reader;
use crate::tcb::{RawTcb, TcbKind};
use crate::version::FirmwareVersion;

/// Bytes of a report.
pub const REPORT_SIZE: usize = 1184;
/// Bytes of it that are signed; the signature follows.
pub const SIGNED_SIZE: usize = 672;
/// ECDSA P-384 with SHA-384 in SIGNATURE_ALGO.
const ECDSA_P384_SHA384: u32 = 1;

/// Why bytes are no attestation report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReportError {
    /// Not the length of a report.
    #[error("{0} bytes; a report has {REPORT_SIZE}")]
    Size(usize),
    /// A version that is not read here.
    #[error("report version {0}; versions 2 to 5 are read")]
    Version(u32),
    /// A field that must be zero is not.
    #[error("reserved bytes at {offset:#x} are not zero")]
    Reserved {
        /// Where the field begins.
        offset: usize,
    },
    /// Reserved bytes of a TCB_VERSION are not zero.
    #[error("reserved bytes of the {kind} TCB are not zero")]
    TcbReserved {
        /// Which TCB.
        kind: TcbKind,
    },
    /// Bit 17 of POLICY, which is always one, is not.
    #[error("guest policy {policy} lacks its reserved bit 17")]
    Policy {
        /// As it stands there.
        policy: GuestPolicy,
    },
    /// Reserved bits at 0x48 are set, or the signing key is a reserved value.
    #[error("key information {0:#x} has reserved bits or a reserved signing key")]
    KeyInfo(u32),
    /// Another signature algorithm than ECDSA P-384 with SHA-384.
    #[error("signature algorithm {0}; ECDSA P-384 with SHA-384 is 1")]
    SignatureAlgorithm(u32),
    /// R or S has more than 384 bits.
    #[error("{number} of the signature has more than 384 bits")]
    SignatureRange {
        /// `R` or `S`.
        number: char,
    },
}

/// The fields of a report, as the bytes have them; nothing about them is proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// VERSION: 2 to 5.
    pub version: u32,
    /// GUEST_SVN, of the ID block.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: GuestPolicy,
    /// FAMILY_ID, of the ID block.
    pub family_id: [u8; 16],
    /// IMAGE_ID, of the ID block.
    pub image_id: [u8; 16],
    /// VMPL that asked: 0 to 3, or 0xffffffff for the host itself.
    pub vmpl: u32,
    /// CURRENT_TCB.
    pub current_tcb: RawTcb,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// Which key signed, and what is masked.
    pub key_info: KeyInfo,
    /// REPORT_DATA: what the guest wants bound.
    pub report_data: [u8; 64],
    /// MEASUREMENT: launch digest.
    pub measurement: [u8; 48],
    /// HOST_DATA: what the host bound at launch.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST: SHA-384 of the ID key; zero without an ID block.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST: SHA-384 of the author key; counts only where [`KeyInfo::author_key`] is set.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID: of this guest, for as long as it lives.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA: of its migration agent; all ones without one.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB: what the endorsement key was derived from.
    pub reported_tcb: RawTcb,
    /// The processor; from version 3 on.
    pub cpuid: Option<Cpuid>,
    /// CHIP_ID; zero where the host masks it.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: RawTcb,
    /// Version of the firmware that runs.
    pub current: FirmwareVersion,
    /// Version that it can't be rolled back behind.
    pub committed: FirmwareVersion,
    /// LAUNCH_TCB: current when the guest was launched or imported.
    pub launch_tcb: RawTcb,
    /// LAUNCH_MIT_VECTOR: mitigations verified at launch; from version 5 on.
    pub launch_mitigations: Option<u64>,
    /// CURRENT_MIT_VECTOR: mitigations verified now; from version 5 on.
    pub current_mitigations: Option<u64>,
}

impl Report {
    /// Each TCB with its name.
    pub fn tcbs(&self) -> [(TcbKind, RawTcb); 4] {
        [
            (TcbKind::Current, self.current_tcb),
            (TcbKind::Reported, self.reported_tcb),
            (TcbKind::Committed, self.committed_tcb),
            (TcbKind::Launch, self.launch_tcb),
        ]
    }

    /// CHIP_ID, unless the host masks it.
    pub fn chip_id(&self) -> Option<[u8; 64]> {
        Some(self.chip_id).filter(|id| id.iter().any(|b| *b != 0))
    }
}

/// A report that was read to its last byte: its fields, the bytes that are signed, and the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportParsed {
    report: Report,
    signed: Box<[u8; SIGNED_SIZE]>,
    /// R ‖ S, big-endian.
    signature: [u8; 96],
}

impl ReportParsed {
    /// Reads exactly [`REPORT_SIZE`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() != REPORT_SIZE {
            return Err(ReportError::Size(bytes.len()));
        }
        let (signed, signature) = bytes.split_first_chunk().ok_or(ReportError::Size(bytes.len()))?;
        let report = fields(signed)?;
        let signature = numbers(signature)?;
        Ok(Self { report, signed: Box::new(*signed), signature })
    }

    /// The fields; not proven.
    pub fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn signed(&self) -> &[u8] {
        self.signed.as_slice()
    }

    pub(crate) fn signature(&self) -> &[u8; 96] {
        &self.signature
    }

    pub(crate) fn into_report(self) -> Report {
        self.report
    }
}

fn fields(signed: &[u8; SIGNED_SIZE]) -> Result<Report, ReportError> {
    let mut at = Fields { reader: Reader::new(signed), offset: 0 };
    let version = at.u32()?;
    if !(2..=5).contains(&version) {
        return Err(ReportError::Version(version));
    }
    let guest_svn = at.u32()?;
    let policy = GuestPolicy(at.u64()?);
    if policy.0 & GuestPolicy::RESERVED_ONE == 0 {
        return Err(ReportError::Policy { policy });
    }
    let (family_id, image_id) = (at.array()?, at.array()?);
    let vmpl = at.u32()?;
    match at.u32()? {
        ECDSA_P384_SHA384 => {}
        other => return Err(ReportError::SignatureAlgorithm(other)),
    }
    let current_tcb = RawTcb(at.array()?);
    let platform_info = PlatformInfo(at.u64()?);
    let raw = at.u32()?;
    let key_info = KeyInfo::read(raw).ok_or(ReportError::KeyInfo(raw))?;
    at.zeros(4)?;
    let report_data = at.array()?;
    let measurement = at.array()?;
    let host_data = at.array()?;
    let (id_key_digest, author_key_digest) = (at.array()?, at.array()?);
    let (report_id, report_id_ma) = (at.array()?, at.array()?);
    let reported_tcb = RawTcb(at.array()?);
    let cpuid = if version >= 3 {
        let [family, model, stepping] = at.array()?;
        Some(Cpuid { family, model, stepping })
    } else {
        at.zeros(3)?;
        None
    };
    at.zeros(21)?;
    let chip_id = at.array()?;
    let committed_tcb = RawTcb(at.array()?);
    let current = at.firmware()?;
    let committed = at.firmware()?;
    let launch_tcb = RawTcb(at.array()?);
    let mut mitigations = || -> Result<Option<u64>, ReportError> {
        if version >= 5 { at.u64().map(Some) } else { at.zeros(8).map(|()| None) }
    };
    let (launch_mitigations, current_mitigations) = (mitigations()?, mitigations()?);
    at.zeros(152)?;
    let report = Report {
        version,
        guest_svn,
        policy,
        family_id,
        image_id,
        vmpl,
        current_tcb,
        platform_info,
        key_info,
        report_data,
        measurement,
        host_data,
        id_key_digest,
        author_key_digest,
        report_id,
        report_id_ma,
        reported_tcb,
        cpuid,
        chip_id,
        committed_tcb,
        current,
        committed,
        launch_tcb,
        launch_mitigations,
        current_mitigations,
    };
    // A report of version 2 does not say whose layout its TCBs have; there the certificate does.
    if let Some(layout) = cpuid.and_then(Cpuid::layout) {
        for (kind, raw) in report.tcbs() {
            raw.read(layout).ok_or(ReportError::TcbReserved { kind })?;
        }
    }
    Ok(report)
}

struct Fields<'a> {
    reader: Reader<'a>,
    offset: usize,
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReportError> {
        let field = self.reader.array().ok_or(ReportError::Size(self.offset))?;
        self.offset = self.offset.saturating_add(N);
        Ok(field)
    }

    fn u32(&mut self) -> Result<u32, ReportError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ReportError> {
        self.array().map(u64::from_le_bytes)
    }

    fn zeros(&mut self, len: usize) -> Result<(), ReportError> {
        let offset = self.offset;
        let field = self.reader.take(len).ok_or(ReportError::Size(offset))?;
        self.offset = offset.saturating_add(len);
        if field.iter().all(|b| *b == 0) { Ok(()) } else { Err(ReportError::Reserved { offset }) }
    }

    /// Build, minor, major and a reserved byte.
    fn firmware(&mut self) -> Result<FirmwareVersion, ReportError> {
        let [build, minor, major] = self.array()?;
        self.zeros(1)?;
        Ok(FirmwareVersion { major, minor, build })
    }
}

/// R and S, each 72 bytes little-endian, and 368 reserved bytes.
fn numbers(area: &[u8]) -> Result<[u8; 96], ReportError> {
    let mut at = Fields { reader: Reader::new(area), offset: SIGNED_SIZE };
    let (r, s): ([u8; 72], [u8; 72]) = (at.array()?, at.array()?);
    at.zeros(368)?;
    let mut out = [0; 96];
    let (out_r, out_s) = out.split_at_mut(48);
    for (number, value, to) in [('R', r, out_r), ('S', s, out_s)] {
        let (low, high) = value.split_at(48);
        if high.iter().any(|b| *b != 0) {
            return Err(ReportError::SignatureRange { number });
        }
        to.iter_mut().zip(low.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    Ok(out)
}
