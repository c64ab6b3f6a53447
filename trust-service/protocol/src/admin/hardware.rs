//! What a proven hardware report says of a node's platform, for people and for claims.

use ccnode_evidence::EvidenceKind;
use serde::{Deserialize, Serialize};

/// The hardware of a node's last verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HardwareRecord {
    /// Kind of the primary evidence.
    pub kind: EvidenceKind,
    /// Whether the report covers the key of the TPM that quoted.
    pub covers_tpm: bool,
    /// What the report says.
    #[serde(flatten)]
    pub claims: HardwareClaims,
}

/// Claims of a report that was proven and satisfied its pool. Digests and ids are lower-case hex.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HardwareClaims {
    /// SEV-SNP.
    Snp(SnpClaims),
    /// TDX.
    Tdx(TdxClaims),
}

/// Security version numbers of an SEV-SNP platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnpTcb {
    /// FMC, from Turin on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// PSP boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl std::fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}

/// An SEV-SNP report's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnpClaims {
    /// Line of processors: "Milan".
    pub product: String,
    /// The chip, unless its host masks it.
    pub chip_id: Option<String>,
    /// Kind of key that signed: "VCEK" or "VLEK".
    pub signing_key: String,
    /// The provider whose VLEK signed.
    pub provider: Option<String>,
    /// The reported TCB.
    pub tcb: SnpTcb,
    /// The TCB at launch.
    pub launch_tcb: SnpTcb,
    /// MEASUREMENT.
    pub measurement: String,
    /// HOST_DATA.
    pub host_data: String,
    /// SHA-384 of the ID key, where there was an ID block.
    pub id_key_digest: Option<String>,
    /// SHA-384 of the author key, where one certified the ID key.
    pub author_key_digest: Option<String>,
    /// The guest's policy, as a hexadecimal number.
    pub policy: String,
    /// PLATFORM_INFO, as a hexadecimal number; records of before this was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_info: Option<String>,
    /// Privilege level that asked for the report.
    pub vmpl: u32,
    /// REPORT_ID: of one launch alone.
    pub report_id: String,
    /// SHA-256 of the root's certificate.
    pub root: String,
    /// Whether the root is not AMD's.
    pub danger_root: bool,
    /// Whether a current revocation list named nothing of the chain.
    pub crl_checked: bool,
}

/// A TDX quote's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TdxClaims {
    /// Platform model.
    pub fmspc: String,
    /// The TCB's status by Intel's collateral: "UpToDate".
    pub tcb_status: Option<String>,
    /// Security advisories that apply.
    pub advisories: Vec<String>,
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: String,
    /// MRTD.
    pub mr_td: String,
    /// RTMR 0 to 3.
    pub rtmrs: [String; 4],
    /// MRCONFIGID.
    pub mr_config_id: String,
    /// The TD's attributes.
    pub attributes: String,
    /// The TD's extended features.
    pub xfam: String,
    /// SHA-256 of the root's public key.
    pub root: String,
    /// Whether the root is not Intel's.
    pub danger_root: bool,
}
