//! What a pool demands of hardware: typed data, kebab-case in TOML and JSON, unknown members refused.

use crate::TrustLevel;
use ccnode_evidence::{EvidenceKind, Sha256Digest};
use ccnode_snp::{DangerRootError, Hex, Roots, SnpPolicy, SnpProven};
use ccnode_tdx::attributes::UNDER_DEBUG;
use ccnode_tdx::{Measurement, Root, RootError, TcbStatus, TdxPolicy, TdxProven};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

/// The demands of a pool, `[hardware]` in its settings.
///
/// ```toml
/// least-level = "tee-bound-vtpm"
/// kinds = ["snp"]
/// [vtpm-keepers]
/// snp-measurements = ["…96 hex digits…"]
/// [snp.minimum-tcb.milan]
/// snp = 24
/// microcode = 219
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HardwarePolicy {
    /// The weakest level that is taken; any where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_level: Option<TrustLevel>,
    /// Kinds of evidence that are taken; all where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<EvidenceKind>>,
    /// Nodes whose vTPM a report vouches for are nobody from one boot to the next: so is an SVSM's vTPM without a state of its own.
    /// Their roots are of one boot.
    #[serde(skip_serializing_if = "is_false")]
    pub ephemeral_vtpm: bool,
    /// SEV-SNP, with and without Azure's paravisor.
    #[serde(deserialize_with = "table")]
    pub snp: SnpPolicy,
    /// TDX, with and without Azure's paravisor.
    #[serde(deserialize_with = "table")]
    pub tdx: TdxPolicy,
    /// Azure's paravisor.
    #[serde(deserialize_with = "table")]
    pub azure: AzurePolicy,
    /// What may keep a vTPM, so that its word on that vTPM counts.
    #[serde(skip_serializing_if = "VtpmKeepers::is_empty", deserialize_with = "table")]
    pub vtpm_keepers: VtpmKeepers,
    /// Launch measurements of SEV-SNP that cover an image whole: for nodes without a vTPM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snp_launches: Vec<SnpLaunch>,
    /// Measurements of TDX that cover an image whole: for nodes without a vTPM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tdx_launches: Vec<TdxLaunch>,
}

/// Reads a table by its members' names. serde takes a list for one, too, and a list that ends early for one without demands: `[]`
/// would lift them all.
pub fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    struct Table<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    from.deserialize_map(Table(PhantomData))
}

/// Launches that keep a vTPM at the guest's highest privilege, out of reach of what the guest boots: an SVSM's, a paravisor's.
///
/// They are listed apart from `measurements` and `mr-td`: any guest can put a TPM's key into its report, and what boots on plain
/// firmware would vouch for a vTPM of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct VtpmKeepers {
    /// Launch measurements of SEV-SNP, 96 hex digits each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snp_measurements: Vec<Hex<48>>,
    /// SHA-384 of ID keys that sign such launches alone, 96 hex digits each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snp_id_key_digests: Vec<Hex<48>>,
    /// SHA-384 of author keys that certify such ID keys alone, 96 hex digits each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snp_author_key_digests: Vec<Hex<48>>,
    /// MRTD of TDX, 96 hex digits each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tdx_mr_td: Vec<Measurement>,
}

impl VtpmKeepers {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the launch of a proven report is one of these.
    pub(crate) fn keep_snp(&self, proven: &SnpProven) -> bool {
        let report = proven.report();
        // A digest of zeros is none: no ID block.
        let id_key = Some(report.id_key_digest).filter(|digest| digest.iter().any(|b| *b != 0));
        self.snp_measurements.contains(&Hex(report.measurement))
            || id_key.is_some_and(|digest| self.snp_id_key_digests.contains(&Hex(digest)))
            || proven.author_key().is_some_and(|digest| self.snp_author_key_digests.contains(&Hex(digest)))
    }

    /// Whether the launch of a proven quote is one of these.
    pub(crate) fn keep_tdx(&self, proven: &TdxProven) -> bool {
        self.tdx_mr_td.contains(&proven.body().mr_td)
    }
}

/// What is demanded of Azure's paravisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AzurePolicy {
    /// Takes HCL reports that were not made for this session: what they say of firmware and chip may be of long ago.
    #[serde(skip_serializing_if = "is_false")]
    pub danger_stale_report: bool,
}

/// An image that is launched whole: firmware with the hashes of kernel, initramfs and command line in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SnpLaunch {
    /// Id of the image's tuple, which must be registered.
    pub image: Sha256Digest,
    /// MEASUREMENT, 96 hex digits.
    pub measurement: Hex<48>,
}

/// An image as a TD measures it; RTMR 3 is zero.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TdxLaunch {
    /// Id of the image's tuple, which must be registered.
    pub image: Sha256Digest,
    /// MRTD: the firmware.
    pub mr_td: Measurement,
    /// RTMR 0: the firmware's configuration.
    pub rtmr0: Measurement,
    /// RTMR 1: what the firmware loaded.
    pub rtmr1: Measurement,
    /// RTMR 2: command line and initramfs.
    pub rtmr2: Measurement,
}

/// Why a policy can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// A root of SEV-SNP's `danger-roots`.
    #[error("snp.danger-roots: {0}")]
    SnpRoot(#[source] DangerRootError),
    /// A root of TDX's `danger-roots`.
    #[error("tdx.danger-roots: {0}")]
    TdxRoot(#[source] RootError),
    /// A status that is never taken.
    #[error("tdx.tcb-statuses: a revoked platform is never taken")]
    TdxRevoked,
    /// Debug bits among the attributes of TDs.
    #[error("tdx.attributes-required, tdx.attributes-allowed: debugged TDs are taken by danger-debug alone")]
    TdxDebug,
    /// No privilege level of SEV-SNP.
    #[error("snp.vmpl: {0} is no privilege level; there are 0 to 3")]
    SnpVmpl(u8),
}

impl HardwarePolicy {
    /// The images that launches are listed for.
    pub fn images(&self) -> impl Iterator<Item = Sha256Digest> {
        let snp = self.snp_launches.iter().map(|launch| launch.image);
        snp.chain(self.tdx_launches.iter().map(|launch| launch.image))
    }
}

/// A policy whose roots were read.
#[derive(Clone, Debug)]
pub struct Hardware {
    policy: HardwarePolicy,
    snp_roots: Roots,
    tdx_root: Root,
    tdx_danger_roots: Vec<Root>,
}

impl Hardware {
    /// Reads the policy's roots, and refuses demands that don't mean what they say.
    pub fn new(policy: HardwarePolicy) -> Result<Self, PolicyError> {
        if policy.tdx.tcb_statuses.contains(&TcbStatus::Revoked) {
            return Err(PolicyError::TdxRevoked);
        }
        let attributes = policy.tdx.attributes_required.0 | policy.tdx.attributes_allowed.0;
        if attributes & UNDER_DEBUG != 0 {
            return Err(PolicyError::TdxDebug);
        }
        if let Some(vmpl) = policy.snp.vmpl.iter().find(|vmpl| **vmpl > 3) {
            return Err(PolicyError::SnpVmpl(*vmpl));
        }
        let snp_roots = policy.snp.roots().map_err(PolicyError::SnpRoot)?;
        let tdx_danger_roots = policy.tdx.other_roots().map_err(PolicyError::TdxRoot)?;
        Ok(Self { policy, snp_roots, tdx_root: Root::intel(), tdx_danger_roots })
    }

    /// The demands.
    pub fn policy(&self) -> &HardwarePolicy {
        &self.policy
    }

    pub(crate) fn snp_roots(&self) -> &Roots {
        &self.snp_roots
    }

    /// Intel's root, and those that the pool adds.
    pub(crate) fn tdx_roots(&self) -> (&Root, &[Root]) {
        (&self.tdx_root, &self.tdx_danger_roots)
    }
}

impl Default for Hardware {
    /// The vendors' own roots, and no demand but the least.
    fn default() -> Self {
        Self {
            policy: HardwarePolicy::default(),
            snp_roots: Roots::amd().clone(),
            tdx_root: Root::intel(),
            tdx_danger_roots: Vec::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_snp::Product;

    #[test]
    fn a_policy_is_strict_and_survives_json() {
        let text = format!(
            r#"{{"least-level":"tee","kinds":["snp","az-tdx-vtpm"],"snp":{{"products":["milan"]}},
                "snp-launches":[{{"image":"{}","measurement":"{}"}}]}}"#,
            "ab".repeat(32),
            "cd".repeat(48)
        );
        let policy: HardwarePolicy = serde_json::from_str(&text).unwrap();
        assert_eq!(policy.least_level, Some(TrustLevel::Tee));
        assert_eq!(policy.snp.products, Some(vec![Product::Milan]));
        assert_eq!(policy.images().count(), 1);
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<HardwarePolicy>(&again).unwrap(), policy);
        assert!(serde_json::from_str::<HardwarePolicy>(r#"{"least-levle":"tee"}"#).is_err());
        assert_eq!(serde_json::from_str::<HardwarePolicy>("{}").unwrap(), HardwarePolicy::default());
        assert!(Hardware::new(policy).is_ok());
        for listed in ["{\"snp\":[]}", "{\"tdx\":[]}", "{\"azure\":[true]}", "{\"vtpm-keepers\":[]}"] {
            assert!(serde_json::from_str::<HardwarePolicy>(listed).is_err(), "{listed}");
        }
    }

    #[test]
    fn a_policy_means_what_it_says() {
        let of = |text: &str| Hardware::new(serde_json::from_str(text).unwrap()).unwrap_err();
        assert_eq!(of(r#"{"tdx":{"tcb-statuses":["revoked"]}}"#), PolicyError::TdxRevoked);
        assert_eq!(of(r#"{"tdx":{"attributes-allowed":"0x1"}}"#), PolicyError::TdxDebug);
        assert_eq!(of(r#"{"tdx":{"attributes-required":"0x80"}}"#), PolicyError::TdxDebug);
        assert_eq!(of(r#"{"snp":{"vmpl":[0,4]}}"#), PolicyError::SnpVmpl(4));
    }

    #[test]
    fn a_root_that_is_none_is_named() {
        let mut policy = HardwarePolicy::default();
        policy.tdx.danger_roots = vec!["no PEM".into()];
        assert!(matches!(Hardware::new(policy), Err(PolicyError::TdxRoot(RootError::Der))));
        let mut policy = HardwarePolicy::default();
        let certificates = "no PEM".into();
        policy.snp.danger_roots = vec![ccnode_snp::DangerRoot { product: Product::Milan, certificates }];
        assert!(matches!(Hardware::new(policy), Err(PolicyError::SnpRoot(_))));
    }
}
