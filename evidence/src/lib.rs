//! The vocabulary of ccnode: digests, PCRs, nonces, transcripts, wire evidence, reference tuples and refusal codes.
//!
//! Bottom layer: no I/O, no C, no clock. Both ends of the protocol and every tool speak in these types.

pub mod canonical;
pub mod codes;
mod data;
mod digest;
mod encoding;
mod kind;
mod layout;
mod pcr;
mod reader;
mod secret;
mod source;
mod text;
pub mod transcript;
mod tuple;
mod wire;

pub use codes::Code;
pub use data::{DATA_KEY, DATA_VOLUMES, DataName, NoDataName};
pub use digest::{DigestParseError, HashAlg, Sha256Digest};
pub use encoding::{Base64Std, Base64Url, Base64UrlPadded, Hex};
pub use kind::{EvidenceKind, UnknownKind};
pub use layout::{LAYOUT_KEY, Layout, NoLayout};
pub use pcr::{PcrIndex, PcrIndexError, PcrSet, PcrValues};
pub use reader::Reader;
pub use secret::{Secret, SecretBytes};
pub use source::{
    Absent, Activated, Ek, EvidenceSource, Identity, QuoteParts, ReportParts, ReportSource, TpmSource,
};
pub use text::{is_obeyed, printable};
pub use tuple::{IMAGE_PCRS, ImageTuple, PLATFORM_PCRS, PlatformTuple, TupleError, TupleEvent};
pub use wire::{
    AZURE_VERSION, AdditionalEvidence, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote, CcnodeEvidence,
    EventLogs, SnpCertificate, SnpCertificateType, SnpEvidence, SnpFormError, SnpReport, SnpTableError, Svsm,
    TdxEvidence, TpmEvidence, TpmQuote, read_snp_table,
};

use serde::{Deserialize, Serialize};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The 32 random bytes of a challenge; hashed as their standard base64 text in the transcripts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "encoding::array_std")] pub [u8; 32]);

impl Nonce {
    /// The text form that travels and is hashed: standard base64 with padding (44 characters).
    pub fn text(&self) -> String {
        encoding::to_std(&self.0)
    }
}

/// Seconds since 1970-01-01 00:00:00 UTC; time is data in this project's judgements, never a call.
///
/// Text meant for people has it as RFC 3339 in UTC: `2026-11-23T06:20:28Z`; beyond the year 9999, as its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UnixTime(pub u64);

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = i64::try_from(self.0)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|time| time.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", self.0),
        }
    }
}

/// SHA-384 over a transcript (48 bytes); carriers take all of it or its first 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportData(pub [u8; 48]);

impl ReportData {
    /// What the quote of a TPM of its own standing carries in `extraData`: the first 32 bytes.
    pub fn qualifying_data(&self) -> [u8; 32] {
        fill(&self.0)
    }

    /// What the quote of an Azure vTPM carries in `extraData`, and `tpm` its first 32 bytes of: by kind of evidence.
    pub fn extra_data(&self, kind: EvidenceKind) -> ExtraData {
        match kind {
            EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm => ExtraData::Whole(self.0),
            EvidenceKind::Tpm | EvidenceKind::Snp | EvidenceKind::Tdx => {
                ExtraData::Short(self.qualifying_data())
            }
        }
    }

    /// REPORT_DATA of a hardware report: all 48 bytes, then 16 zeros.
    pub fn report_data(&self) -> [u8; 64] {
        fill(&self.0)
    }
}

/// The first `N` bytes, or all and then zeros.
fn fill<const N: usize>(from: &[u8; 48]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(from) {
        *to = *from;
    }
    out
}

/// `extraData` of a quote, as long as the kind of evidence wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtraData {
    /// The first 32 bytes of the report data.
    Short([u8; 32]),
    /// All 48 bytes of it.
    Whole([u8; 48]),
}

impl ExtraData {
    /// The bytes that are quoted.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Whole(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_times_as_rfc_3339() {
        let text = |seconds| UnixTime(seconds).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_795_414_828), "2026-11-23T06:20:28Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(text(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(text(253_402_300_800), "253402300800");
        assert_eq!(text(u64::MAX), "18446744073709551615");
    }
}
