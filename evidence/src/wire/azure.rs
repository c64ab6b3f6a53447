//! Primary evidence of the TEEs `az-snp-vtpm` and `az-tdx-vtpm`, in the stock forms: versions 1 and 2, and the older one without a version.
//!
//! The stock service reads all three. In the older form bytes are arrays of numbers and the VCEK is PEM; it is read, never written.

use crate::{Base64UrlPadded, Hex, PcrIndex, PcrValues, Sha256Digest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The version of the form that is sent.
pub const AZURE_VERSION: u32 = 2;

/// The vTPM's quote in Azure's form: hex, and the signature without TPMT_SIGNATURE around it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AzureTpmQuote {
    /// RSASSA with SHA-256: the bare signature.
    pub signature: Hex,
    /// TPMS_ATTEST, marshalled.
    pub message: Hex,
    /// SHA-256 bank from PCR 0 upwards: 24 values from stock clients, 16 in `ccnode/1`.
    pub pcrs: Vec<Sha256Digest>,
}

impl AzureTpmQuote {
    /// The values by index; `None` where there are more than 24.
    pub fn values(&self) -> Option<PcrValues> {
        if self.pcrs.len() > usize::from(PcrIndex::MAX) + 1 {
            return None;
        }
        Some(PcrValues(PcrIndex::all().zip(self.pcrs.iter().copied()).collect()))
    }
}

/// An Azure VM on SEV-SNP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AzSnpEvidence {
    /// Version of the form: 1 or 2, which are alike here, or 0 for the one that had none.
    pub version: u32,
    /// The vTPM's quote.
    pub tpm_quote: AzureTpmQuote,
    /// The HCL report: SEV-SNP report and runtime data.
    pub hcl_report: Base64UrlPadded,
    /// The chip's certificate, DER (PEM in version 0); empty where the platform gave none.
    pub vcek: Base64UrlPadded,
}

/// An Azure VM on TDX.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AzTdxEvidence {
    /// Version of the form: 1 or 2, which are alike here, or 0 for the one that had none.
    pub version: u32,
    /// The vTPM's quote.
    pub tpm_quote: AzureTpmQuote,
    /// The HCL report: TD report and runtime data.
    pub hcl_report: Base64UrlPadded,
    /// The platform's quote of that TD report.
    pub td_quote: Base64UrlPadded,
}

/// A quote of the form without a version.
#[derive(Deserialize)]
struct QuoteV0 {
    signature: Vec<u8>,
    message: Vec<u8>,
    pcrs: Vec<[u8; 32]>,
}

impl From<QuoteV0> for AzureTpmQuote {
    fn from(old: QuoteV0) -> Self {
        let pcrs = old.pcrs.into_iter().map(Sha256Digest).collect();
        Self { signature: old.signature.into(), message: old.message.into(), pcrs }
    }
}

impl<'de> Deserialize<'de> for AzSnpEvidence {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct V0 {
            quote: QuoteV0,
            report: Vec<u8>,
            vcek: String,
        }

        #[derive(Deserialize)]
        struct V1 {
            version: u32,
            tpm_quote: AzureTpmQuote,
            hcl_report: Base64UrlPadded,
            vcek: Base64UrlPadded,
        }

        let value = Value::deserialize(d)?;
        if value.get("version").is_none() {
            let V0 { quote, report, vcek } = V0::deserialize(value).map_err(D::Error::custom)?;
            let vcek = vcek.into_bytes().into();
            return Ok(Self { version: 0, tpm_quote: quote.into(), hcl_report: report.into(), vcek });
        }
        let V1 { version, tpm_quote, hcl_report, vcek } = V1::deserialize(value).map_err(D::Error::custom)?;
        known(version)?;
        Ok(Self { version, tpm_quote, hcl_report, vcek })
    }
}

impl<'de> Deserialize<'de> for AzTdxEvidence {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct V0 {
            tpm_quote: QuoteV0,
            hcl_report: Vec<u8>,
            td_quote: Vec<u8>,
        }

        #[derive(Deserialize)]
        struct V1 {
            version: u32,
            tpm_quote: AzureTpmQuote,
            hcl_report: Base64UrlPadded,
            td_quote: Base64UrlPadded,
        }

        let value = Value::deserialize(d)?;
        if value.get("version").is_none() {
            let V0 { tpm_quote, hcl_report, td_quote } = V0::deserialize(value).map_err(D::Error::custom)?;
            return Ok(Self {
                version: 0,
                tpm_quote: tpm_quote.into(),
                hcl_report: hcl_report.into(),
                td_quote: td_quote.into(),
            });
        }
        let V1 { version, tpm_quote, hcl_report, td_quote } =
            V1::deserialize(value).map_err(D::Error::custom)?;
        known(version)?;
        Ok(Self { version, tpm_quote, hcl_report, td_quote })
    }
}

fn known<E: serde::de::Error>(version: u32) -> Result<(), E> {
    match version {
        1 | 2 => Ok(()),
        other => Err(E::custom(format!("version {other} of the form; 1 and 2 are known"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn three_forms_read_as_one() {
        let old_quote = json!({"signature": [1], "message": [2], "pcrs": [vec![3; 32]]});
        let quote = json!({"signature": "01", "message": "02", "pcrs": ["03".repeat(32)]});
        let snp = |value: Value| serde_json::from_value::<AzSnpEvidence>(value);
        let new = json!({"version": 2, "tpm_quote": quote, "hcl_report": "BAU=", "vcek": "Bg=="});
        let read = snp(new.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), new);
        let old = snp(json!({"quote": old_quote, "report": [4, 5], "vcek": "\u{6}"})).unwrap();
        assert_eq!(old, AzSnpEvidence { version: 0, ..read.clone() });
        let one = snp(json!({"version": 1, "tpm_quote": quote, "hcl_report": "BAU", "vcek": "Bg"})).unwrap();
        assert_eq!(one, AzSnpEvidence { version: 1, ..read });

        let tdx = |value: Value| serde_json::from_value::<AzTdxEvidence>(value);
        let new = json!({"version": 1, "tpm_quote": quote, "hcl_report": "BAU=", "td_quote": "Bg=="});
        let read = tdx(new.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), new);
        let old = tdx(json!({"tpm_quote": old_quote, "hcl_report": [4, 5], "td_quote": [6]})).unwrap();
        assert_eq!(old, AzTdxEvidence { version: 0, ..read });
    }

    #[test]
    fn other_forms_are_refused() {
        let quote = json!({"signature": "", "message": "", "pcrs": []});
        for version in [json!(0), json!(3), json!("2"), Value::Null] {
            let text =
                json!({"version": version, "tpm_quote": quote, "hcl_report": "", "vcek": "", "td_quote": ""});
            assert!(serde_json::from_value::<AzSnpEvidence>(text.clone()).is_err(), "{text}");
            assert!(serde_json::from_value::<AzTdxEvidence>(text).is_err());
        }
        let short =
            json!({"quote": {"signature": [], "message": [], "pcrs": [[1, 2]]}, "report": [], "vcek": ""});
        assert!(serde_json::from_value::<AzSnpEvidence>(short).is_err());
        assert!(serde_json::from_value::<AzSnpEvidence>(json!({})).is_err());
        assert!(serde_json::from_value::<AzTdxEvidence>(json!([])).is_err());
    }
}
