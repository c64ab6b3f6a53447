//! A TDREPORT_STRUCT, as Azure's HCL report carries it, against the TD quote that was made from it.
//!
//! The report's MAC can be checked on its own machine alone, so a report is believed as far as a proven quote repeats it.

use crate::body::{measurement, svn};
use crate::{Flags, Measurement, Rejection, TcbSvn, TdxProven};
use ccnode_evidence::Reader;
use sha2::{Digest as _, Sha384};

/// Length of a TDREPORT_STRUCT.
pub const TD_REPORT_LEN: usize = 1024;
/// TEE_TCB_INFO within it (TDX Module ABI Specification): hashed into the first part.
const TEE_TCB_INFO: std::ops::Range<usize> = 256..256 + 239;
/// TDINFO_STRUCT within it.
const TD_INFO: std::ops::Range<usize> = 512..1024;
const TYPE_TDX: u8 = 0x81;

/// Why bytes are no TDREPORT, or not the quote's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TdReportError {
    /// Another length.
    #[error("{0} bytes; {TD_REPORT_LEN} are due")]
    Length(usize),
    /// Another TEE, or a subtype that is not known here.
    #[error("report type {0:02x?}; 0x81 (TDX), subtype 0 is due")]
    Type([u8; 2]),
    /// The hash over the TEE's TCB in the report's first part is not that of its second.
    #[error("the report's hash over TEE_TCB_INFO is not that of the TEE_TCB_INFO in it")]
    TcbInfoHash,
    /// The hash over TDINFO in the report's first part is not that of its last.
    #[error("the report's hash over TDINFO is not that of the TDINFO in it")]
    TdInfoHash,
    /// A field differs from the quote's.
    #[error("{field} is {report} there and {quote} in the quote")]
    Differs {
        /// The field.
        field: &'static str,
        /// Its value in the report, hexadecimal.
        report: String,
        /// Its value in the quote, hexadecimal.
        quote: String,
    },
}

/// A TDREPORT as it was read; its hashes agree with its contents, and nothing more is known of it.
#[derive(Clone, Debug)]
pub struct TdReport {
    report_data: [u8; 64],
    tee_tcb_svn: TcbSvn,
    mr_seam: Measurement,
    mr_signer_seam: Measurement,
    seam_attributes: Flags,
    tee_tcb_svn2: TcbSvn,
    td_attributes: Flags,
    xfam: Flags,
    /// MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR 0 to 3, SERVTD_HASH.
    measurements: [Measurement; 9],
}

/// Proof that a TDREPORT says what a proven quote says; [`TdxProven::was_made_from`] alone makes it.
#[derive(Clone, Debug)]
pub struct TdReportProven {
    report_data: [u8; 64],
}

impl TdReportProven {
    /// REPORTDATA of report and quote alike.
    pub fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }
}

impl TdReport {
    /// Reads exactly 1024 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, TdReportError> {
        if bytes.len() != TD_REPORT_LEN {
            return Err(TdReportError::Length(bytes.len()));
        }
        Self::read(bytes).ok_or(TdReportError::Length(bytes.len()))?
    }

    fn read(bytes: &[u8]) -> Option<Result<Self, TdReportError>> {
        let r = &mut Reader::new(bytes);
        let kind = *r.array::<2>()?;
        if kind != [TYPE_TDX, 0] {
            return Some(Err(TdReportError::Type(kind)));
        }
        // Version and reserved bytes, CPUSVN.
        r.take(2 + 12 + 16)?;
        let (tcb_info_hash, td_info_hash) = (measurement(r)?, measurement(r)?);
        let report_data = *r.array()?;
        let (tcb_info, td_info) = (bytes.get(TEE_TCB_INFO)?, bytes.get(TD_INFO)?);
        if hash(tcb_info) != tcb_info_hash {
            return Some(Err(TdReportError::TcbInfoHash));
        }
        if hash(td_info) != td_info_hash {
            return Some(Err(TdReportError::TdInfoHash));
        }
        let r = &mut Reader::new(tcb_info);
        // VALID: which of the fields are filled.
        r.take(8)?;
        let (tee_tcb_svn, mr_seam, mr_signer_seam) = (svn(r)?, measurement(r)?, measurement(r)?);
        let (seam_attributes, tee_tcb_svn2) = (Flags(r.u64()?), svn(r)?);
        let r = &mut Reader::new(td_info);
        let (td_attributes, xfam) = (Flags(r.u64()?), Flags(r.u64()?));
        let mut measurements = [Measurement::ZERO; 9];
        for slot in &mut measurements {
            *slot = measurement(r)?;
        }
        Some(Ok(Self {
            report_data,
            tee_tcb_svn,
            mr_seam,
            mr_signer_seam,
            seam_attributes,
            tee_tcb_svn2,
            td_attributes,
            xfam,
            measurements,
        }))
    }

    /// REPORTDATA as the report claims it.
    pub fn unproven_report_data(&self) -> &[u8; 64] {
        &self.report_data
    }
}

fn hash(bytes: &[u8]) -> Measurement {
    Measurement(Sha384::digest(bytes).into())
}

impl TdxProven {
    /// Whether the quote was made from this report: all that both say is the same, REPORTDATA first.
    ///
    /// In Azure's case REPORTDATA begins with SHA-256 of the HCL's runtime data, which name the vTPM's attestation key.
    pub fn was_made_from(&self, report: &TdReport) -> Result<TdReportProven, Rejection> {
        let body = self.body();
        let same = |field, report: String, quote: String| {
            if report == quote {
                return Ok(());
            }
            Err(Rejection::TdReport(TdReportError::Differs { field, report, quote }))
        };
        same("REPORTDATA", hex::encode(report.report_data), hex::encode(body.report_data))?;
        let flags = [
            ("SEAMATTRIBUTES", report.seam_attributes, body.seam_attributes),
            ("ATTRIBUTES", report.td_attributes, body.td_attributes),
            ("XFAM", report.xfam, body.xfam),
        ];
        for (field, report, quote) in flags {
            same(field, report.to_string(), quote.to_string())?;
        }
        same("TEE_TCB_SVN", report.tee_tcb_svn.to_string(), body.tee_tcb_svn.to_string())?;
        same("MRSEAM", report.mr_seam.to_string(), body.mr_seam.to_string())?;
        same("MRSIGNERSEAM", report.mr_signer_seam.to_string(), body.mr_signer_seam.to_string())?;
        const FIELDS: [&str; 8] =
            ["MRTD", "MRCONFIGID", "MROWNER", "MROWNERCONFIG", "RTMR0", "RTMR1", "RTMR2", "RTMR3"];
        let [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr;
        let quoted =
            [body.mr_td, body.mr_config_id, body.mr_owner, body.mr_owner_config, rtmr0, rtmr1, rtmr2, rtmr3];
        for ((field, report), quote) in FIELDS.into_iter().zip(report.measurements).zip(quoted) {
            same(field, report.to_string(), quote.to_string())?;
        }
        if let Some(td15) = &body.td15 {
            let [.., service_tds] = report.measurements;
            same("TEE_TCB_SVN2", report.tee_tcb_svn2.to_string(), td15.tee_tcb_svn2.to_string())?;
            same("SERVTD_HASH", service_tds.to_string(), td15.mr_service_td.to_string())?;
        }
        Ok(TdReportProven { report_data: report.report_data })
    }
}
