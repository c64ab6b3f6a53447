//! Pools: what they allow, whom they enrol, which roots they trust.

use ccnode_evidence::Sha256Digest;
use serde::{Deserialize, Serialize};

use crate::PoolName;
use crate::grants::{Cluster, OnForeignDisk};

/// What a piece of evidence is worth; derived by the service, never claimed by the node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustLevel {
    /// A TPM that the host's hypervisor emulates: protects against disk thieves and other tenants, not against the host.
    HypervisorVtpm,
    /// A TPM chip.
    DiscreteTpm,
    /// A confidential VM's report alone.
    Tee,
    /// A vTPM whose key is in a confidential VM's report.
    TeeBoundVtpm,
}

impl TrustLevel {
    /// As it is printed and stored: `hypervisor-vtpm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HypervisorVtpm => "hypervisor-vtpm",
            Self::DiscreteTpm => "discrete-tpm",
            Self::Tee => "tee",
            Self::TeeBoundVtpm => "tee-bound-vtpm",
        }
    }
}

/// What a pool does with a TPM that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Refuses it (`node-unknown`).
    #[default]
    Refuse,
    /// Records it as pending and refuses it (`node-pending`) until an administrator approves.
    Ask,
    /// Enrols it, if the evidence satisfies the pool.
    Enrol,
}

/// Rules that loosen a pool; each name says what is given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Nodes of level `hypervisor-vtpm` may enrol by themselves: whoever runs the host can read their disks.
    DangerHostIsTrusted,
    /// Clients of the stock transcript may attest. No endorsement key is asked for and no credential activated, so a key made up in
    /// software passes for a TPM's; they send no event log; and they get no grants, certificates or keys of volumes.
    DangerNoActivation,
    /// Anybody may put an attestation key on the list of nodes that wait for approval.
    DangerOpenRegistration,
}

/// A platform and an image that a pool allows together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// [`ccnode_evidence::PlatformTuple::id`].
    pub platform: Sha256Digest,
    /// [`ccnode_evidence::ImageTuple::id`].
    pub image: Sha256Digest,
}

/// A CA above endorsement key certificates, to be trusted by a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EkRootAdd {
    /// One certificate, PEM.
    pub certificate: String,
    /// What a TPM below it is worth.
    pub level: TrustLevel,
}

/// A CA above endorsement key certificates that a pool trusts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EkRoot {
    /// SHA-256 of the certificate in DER.
    pub id: Sha256Digest,
    /// Its subject, for people.
    pub subject: String,
    /// End of its validity, seconds since 1970.
    pub not_after: u64,
    /// What a TPM below it is worth.
    pub level: TrustLevel,
    /// The certificate, PEM.
    pub certificate: String,
}

/// A pool to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolCreate {
    /// Its name, with which node.toml refers to it.
    pub name: PoolName,
    /// What happens to unknown TPMs.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// What is loosened.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What a root partition that holds something else means.
    #[serde(default)]
    pub on_foreign_disk: OnForeignDisk,
    /// Whether PCR 8 may hold init-data.
    #[serde(default)]
    pub allow_init_data: bool,
    /// The cluster that its nodes join; the service's configured one where absent.
    #[serde(default)]
    pub cluster: Option<Cluster>,
}

/// Changes to a pool; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolEdit {
    /// What happens to unknown TPMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// The whole new list of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
    /// What a root partition that holds something else means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_foreign_disk: Option<OnForeignDisk>,
    /// Whether PCR 8 may hold init-data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_init_data: Option<bool>,
    /// The cluster that its nodes join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// A pool as the service holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// What happens to unknown TPMs.
    pub on_unknown: OnUnknown,
    /// What is loosened.
    pub rules: Vec<Rule>,
    /// What a root partition that holds something else means.
    pub on_foreign_disk: OnForeignDisk,
    /// Whether PCR 8 may hold init-data.
    pub allow_init_data: bool,
    /// The weakest level that it takes, where it demands one; the rest of what it demands of hardware has a path of its own.
    #[serde(default)]
    pub least_level: Option<TrustLevel>,
    /// The cluster of its own, where it has one.
    pub cluster: Option<Cluster>,
    /// Endorsement key roots.
    pub ek_roots: Vec<EkRoot>,
    /// Allowed pairs.
    pub pairs: Vec<Pair>,
    /// Number of nodes.
    pub nodes: u64,
    /// When it was made, seconds since 1970.
    pub created: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_needs_only_a_name_and_is_strict() {
        let pool: PoolCreate = serde_json::from_str(r#"{"name":"workers"}"#).unwrap();
        assert_eq!((pool.on_unknown, pool.on_foreign_disk), (OnUnknown::Refuse, OnForeignDisk::Refuse));
        let text = r#"{"name":"w","on-unknown":"enrol","rules":["danger-host-is-trusted"]}"#;
        let pool: PoolCreate = serde_json::from_str(text).unwrap();
        assert_eq!(pool.rules, [Rule::DangerHostIsTrusted]);
        assert!(serde_json::from_str::<PoolCreate>(r#"{"name":"w","on-unknow":"enrol"}"#).is_err());
    }
}
