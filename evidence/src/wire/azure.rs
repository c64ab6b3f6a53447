//! Primary evidence of the TEEs `az-snp-vtpm` and `az-tdx-vtpm`, in the stock form (versions 1 and 2).

use crate::{Base64UrlPadded, Hex, PcrIndex, PcrValues, Sha256Digest};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AzSnpEvidence {
    /// Version of the form: 1 or 2, which are alike here.
    pub version: u32,
    /// The vTPM's quote.
    pub tpm_quote: AzureTpmQuote,
    /// The HCL report: SEV-SNP report and runtime data.
    pub hcl_report: Base64UrlPadded,
    /// The chip's certificate, DER; empty where the platform gave none.
    pub vcek: Base64UrlPadded,
}

/// An Azure VM on TDX.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AzTdxEvidence {
    /// Version of the form: 1 or 2, which are alike here.
    pub version: u32,
    /// The vTPM's quote.
    pub tpm_quote: AzureTpmQuote,
    /// The HCL report: TD report and runtime data.
    pub hcl_report: Base64UrlPadded,
    /// The platform's quote of that TD report.
    pub td_quote: Base64UrlPadded,
}
