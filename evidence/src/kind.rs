//! The kinds of evidence that are appraised, by the protocol's own names.

use serde::{Deserialize, Serialize};

/// Which evidence is the primary one: the request's `tee`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// A TPM's quote alone.
    Tpm,
    /// An SEV-SNP report; a vTPM's quote may stand beside it.
    Snp,
    /// A TDX quote; a vTPM's quote may stand beside it.
    Tdx,
    /// Azure: the vTPM's quote, with an SEV-SNP report that names its attestation key.
    AzSnpVtpm,
    /// Azure: the vTPM's quote, with a TDX quote that names its attestation key.
    AzTdxVtpm,
}

impl EvidenceKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Tpm, Self::Snp, Self::Tdx, Self::AzSnpVtpm, Self::AzTdxVtpm];

    /// The protocol's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tpm => "tpm",
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::AzSnpVtpm => "az-snp-vtpm",
            Self::AzTdxVtpm => "az-tdx-vtpm",
        }
    }

    /// Whether a TPM's quote belongs into the additional evidence: beside a report, never beside another quote.
    pub fn takes_additional(self) -> bool {
        matches!(self, Self::Snp | Self::Tdx)
    }
}

impl std::fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no kind of evidence that is appraised: tpm, snp, tdx, az-snp-vtpm, az-tdx-vtpm")]
pub struct UnknownKind(pub String);

impl std::str::FromStr for EvidenceKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_wire() {
        for kind in EvidenceKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("sample".parse::<EvidenceKind>(), Err(UnknownKind("sample".into())));
    }
}
