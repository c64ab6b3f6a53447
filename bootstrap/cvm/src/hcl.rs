//! The report that Azure's paravisor (HCL) leaves in its vTPM: as much of it as tells what kind of evidence it makes.

use crate::error::CvmError;

/// Length of the header in front of the hardware report.
const HEADER: usize = 32;
/// Length of the place for the hardware report, whichever it is.
const REPORT: usize = 1184;
/// Length of a TDREPORT, which fills part of that place.
const TD_REPORT: usize = 1024;
/// Where the runtime data's header names the kind: size and version come before.
const KIND: usize = HEADER + REPORT + 8;

/// What hardware made the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HclKind {
    /// SEV-SNP.
    Snp,
    /// TDX.
    Tdx,
}

/// An HCL report whose kind is known; nothing of it is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HclReport {
    /// All of it, as it lies in the vTPM.
    pub bytes: Vec<u8>,
    /// What hardware made it.
    pub kind: HclKind,
}

impl HclReport {
    /// Reads the kind; another signature or kind, or too little for a report, is [`CvmError::Hcl`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, CvmError> {
        if !bytes.starts_with(b"HCLA") {
            return Err(CvmError::Hcl("another signature"));
        }
        let kind = bytes.get(KIND..).and_then(|rest| rest.first_chunk().copied()).map(u32::from_le_bytes);
        let kind = match kind {
            Some(2) => HclKind::Snp,
            Some(4) => HclKind::Tdx,
            Some(_) => return Err(CvmError::Hcl("of a kind that is neither SNP nor TDX")),
            None => return Err(CvmError::Hcl("too short")),
        };
        Ok(Self { bytes, kind })
    }

    /// The TDREPORT inside, 1024 bytes, from which the host makes a quote; `None` in a report of SNP.
    pub fn td_report(&self) -> Option<&[u8]> {
        let report = self.bytes.get(HEADER..HEADER + TD_REPORT)?;
        (self.kind == HclKind::Tdx).then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Code;

    fn report(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 2600];
        bytes[..4].copy_from_slice(b"HCLA");
        bytes[32] = 0x81;
        bytes[KIND] = kind;
        bytes
    }

    #[test]
    fn the_kind_is_read() {
        let snp = HclReport::parse(report(2)).unwrap();
        assert_eq!((snp.kind, snp.td_report()), (HclKind::Snp, None));
        let tdx = HclReport::parse(report(4)).unwrap();
        assert_eq!(tdx.kind, HclKind::Tdx);
        assert_eq!(tdx.td_report().map(|r| (r.len(), r[0])), Some((1024, 0x81)));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let why = |bytes: Vec<u8>| {
            let error = HclReport::parse(bytes).unwrap_err();
            assert_eq!(error.code(), Code::HclReportMalformed);
            match error {
                CvmError::Hcl(why) => why,
                other => panic!("{other}"),
            }
        };
        assert_eq!(why(vec![0; 2600]), "another signature");
        assert_eq!(why(report(2)[..KIND + 3].to_vec()), "too short");
        assert_eq!(why(report(1)), "of a kind that is neither SNP nor TDX");
        assert_eq!(why(Vec::new()), "another signature");
    }
}
