//! The report that Azure's paravisor (HCL) leaves in its vTPM: as much of it as tells what kind of evidence it makes.

use crate::error::CvmError;
use ccnode_evidence::Base64Url;
use serde::Deserialize;

/// Length of the header in front of the hardware report.
const HEADER: usize = 32;
/// Length of the place for the hardware report, whichever it is.
const REPORT: usize = 1184;
/// Length of a TDREPORT, which fills part of that place.
const TD_REPORT: usize = 1024;
/// Where the runtime data's header names the kind: size and version come before.
const KIND: usize = HEADER + REPORT + 8;
/// Where it names the length of the runtime data, which follow.
const LENGTH: usize = KIND + 8;
/// The endorsement key among the keys of the runtime data.
const EK: &str = "HCLEkPub";

/// What hardware made the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HclKind {
    /// SEV-SNP.
    Snp,
    /// TDX.
    Tdx,
}

/// The runtime data, as far as they matter here.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Runtime {
    keys: Vec<Key>,
    #[serde(default)]
    user_data: String,
}

/// A JSON web key.
#[derive(Deserialize)]
struct Key {
    kid: String,
    #[serde(default)]
    n: Option<Base64Url>,
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
        let kind = match number(&bytes, KIND) {
            Some(2) => HclKind::Snp,
            Some(4) => HclKind::Tdx,
            Some(_) => return Err(CvmError::Hcl("of a kind that is neither SNP nor TDX")),
            None => return Err(CvmError::Hcl("too short")),
        };
        Ok(Self { bytes, kind })
    }

    /// The modulus of the vTPM's endorsement key, as the runtime data name it; big-endian.
    pub fn ek_modulus(&self) -> Result<Vec<u8>, CvmError> {
        let mut keys = self.runtime()?.keys.into_iter().filter(|key| key.kid == EK);
        match (keys.next().and_then(|key| key.n), keys.next()) {
            (Some(n), None) => Ok(n.0),
            _ => Err(CvmError::Hcl("its runtime data do not name one endorsement key")),
        }
    }

    /// Whether the runtime data name `user_data`: what was written for this very report.
    pub fn names(&self, user_data: &[u8]) -> bool {
        let hex: String = user_data.iter().map(|byte| format!("{byte:02x}")).collect();
        self.runtime().is_ok_and(|runtime| runtime.user_data.eq_ignore_ascii_case(&hex))
    }

    fn runtime(&self) -> Result<Runtime, CvmError> {
        let json = number(&self.bytes, LENGTH).and_then(|len| {
            let start = LENGTH + 4;
            self.bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
        });
        let json = json.ok_or(CvmError::Hcl("its runtime data are longer than it is"))?;
        serde_json::from_slice(json).map_err(|_| CvmError::Hcl("its runtime data can't be read"))
    }

    /// The TDREPORT inside, 1024 bytes, from which the host makes a quote; `None` in a report of SNP.
    pub fn td_report(&self) -> Option<&[u8]> {
        let report = self.bytes.get(HEADER..HEADER + TD_REPORT)?;
        (self.kind == HclKind::Tdx).then_some(report)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Code;

    fn with_runtime(json: &str) -> HclReport {
        let mut bytes = report(2);
        bytes[LENGTH..LENGTH + 4].copy_from_slice(&u32::try_from(json.len()).unwrap().to_le_bytes());
        bytes[LENGTH + 4..LENGTH + 4 + json.len()].copy_from_slice(json.as_bytes());
        HclReport::parse(bytes).unwrap()
    }

    #[test]
    fn the_endorsement_key_is_found_among_the_keys() {
        let ek = r#"{"kid":"HCLEkPub","n":"AQID"}"#;
        let modulus = |keys: &str| with_runtime(&format!(r#"{{"keys":[{keys}]}}"#)).ek_modulus();
        assert_eq!(modulus(&format!(r#"{{"kid":"HCLAkPub","n":"BA"}},{ek}"#)).unwrap(), [1, 2, 3]);
        for keys in ["", r#"{"kid":"HCLAkPub","n":"BA"}"#, &format!("{ek},{ek}"), r#"{"kid":"HCLEkPub"}"#] {
            let error = modulus(keys).unwrap_err();
            assert!(
                matches!(error, CvmError::Hcl("its runtime data do not name one endorsement key")),
                "{keys}"
            );
        }
    }

    #[test]
    fn user_data_are_told_from_others() {
        let named = |text: &str| {
            let json = format!(r#"{{"keys":[],"user-data":"{text}"}}"#);
            with_runtime(&json).names(&[0xab, 0x01])
        };
        assert!(named("AB01") && named("ab01"));
        assert!(!named("AB02") && !named("") && !named("AB0100"));
        assert!(!with_runtime(r#"{"keys":[]}"#).names(&[1]));
    }

    #[test]
    fn runtime_data_that_are_none() {
        let why = |report: HclReport| match report.ek_modulus().unwrap_err() {
            CvmError::Hcl(why) => why,
            other => panic!("{other}"),
        };
        assert_eq!(why(with_runtime("{")), "its runtime data can't be read");
        for len in [2600, u32::MAX] {
            let mut report = with_runtime("{}");
            report.bytes[LENGTH..LENGTH + 4].copy_from_slice(&len.to_le_bytes());
            assert_eq!(why(report), "its runtime data are longer than it is");
        }
        let mut short = with_runtime("{}");
        short.bytes.truncate(LENGTH + 3);
        assert_eq!(why(short), "its runtime data are longer than it is");
    }

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
