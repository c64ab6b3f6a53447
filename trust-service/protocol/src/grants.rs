//! What an attested node is given: the JWE's plaintext, and the messages that spend its grants.

use crate::NodeName;
use crate::admin::TrustLevel;
use crate::recovery::{Holders, Recovery};
use ccnode_evidence::{Base64Url, Secret, Sha256Digest};
use serde::{Deserialize, Serialize};

/// Plaintext of the JWE that `GET /ccnode/v1/grants` answers with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grants {
    /// Version of this form: 1.
    pub version: u32,
    /// The name that the service chose.
    pub node: NodeName,
    /// What the evidence was worth to the service: for the node's console, nothing on the node depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<TrustLevel>,
    /// The service's clock, seconds since 1970; the node sets its own from it.
    pub time: u64,
    /// The root.
    pub root: RootGrant,
    /// Volumes for data, in the order of the image's names; only beside a root volume. Nodes of images that have none know nothing of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeGrant>,
    /// Trades one certificate request for one certificate.
    pub certificate: Grant,
    /// Where the kubelet finds its cluster.
    pub cluster: Cluster,
}

impl Grants {
    /// All volumes, that of the root first.
    pub fn all_volumes(&self) -> impl Iterator<Item = &VolumeGrant> {
        self.volume().into_iter().chain(&self.volumes)
    }

    /// The root volume; none where the root is this boot's alone.
    pub fn volume(&self) -> Option<&VolumeGrant> {
        match &self.root {
            RootGrant::Volume(volume) => Some(volume),
            RootGrant::Ephemeral { .. } => None,
        }
    }
}

/// What the node's identity allows for its root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RootGrant {
    /// A volume that persists.
    Volume(VolumeGrant),
    /// Nothing that persists: the identity is this boot's alone, and so are key and content of the root.
    Ephemeral {
        /// The service's share of the volume key's randomness.
        entropy: Secret<32>,
    },
}

/// A right that outlives the session: spent with its secret, once a transition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Public identifier.
    pub id: String,
    /// Proof of possession.
    pub secret: Secret<32>,
    /// Seconds since 1970 after which it is worthless.
    pub expires: u64,
}

/// A volume and what the node may do with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeGrant {
    /// Identifier that the journal mark and the LUKS2 token carry: 1 to 64 characters.
    pub id: String,
    /// UUID of the LUKS2 header.
    pub uuid: String,
    /// Counts formats and header changes, from 1.
    pub generation: u64,
    /// The key that unwraps the volume key.
    pub unlock_key: Secret<32>,
    /// Open what is there, or make it.
    pub action: VolumeAction,
}

impl VolumeGrant {
    /// Another unlock key that is to take the place of this one.
    pub fn rotation(&self) -> Option<&Rotation> {
        match &self.action {
            VolumeAction::Open { rotation, .. } => rotation.as_deref(),
            VolumeAction::Format { .. } => None,
        }
    }
}

/// What the volume's state allows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum VolumeAction {
    /// The volume is ready: its header must have this digest.
    Open {
        /// SHA-256 over the header as the node wrote it.
        header_digest: Sha256Digest,
        /// The verity root hash that its content was copied from.
        populated_from: Sha256Digest,
        /// Another unlock key is to take the place of this one; boxed, for there is seldom one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotation: Option<Box<Rotation>>,
    },
    /// The volume is new or half made: format, fill, report.
    Format {
        /// The service's share of the volume key's randomness.
        entropy: Secret<32>,
        /// What a partition that is neither blank nor half made by us means.
        on_foreign_disk: OnForeignDisk,
        /// Spent at `formatted` and at `ready`.
        grant: Grant,
        /// What an earlier boot formatted, with the same content in mind, and did not get ready. Where its tags are still being written a node
        /// may go on with it; boxed, for there is seldom one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begun: Option<Box<Begun>>,
    },
}

/// A volume that was formatted, and is not ready yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Begun {
    /// SHA-256 over the header as the node wrote it.
    pub header_digest: Sha256Digest,
    /// Who recovers it: a node that has others configured makes the volume anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<Holders>,
}

/// The key that is to take the place of a volume's unlock key. A node that does not know of rotations opens with the latter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rotation {
    /// The next unlock key; with it goes the next generation.
    pub next_key: Secret<32>,
    /// Digest of the header under it that an earlier boot had put on record: the disk may hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Sha256Digest>,
    /// Spent at `rotated` and at `committed`.
    pub grant: Grant,
}

/// A pool's rule for root partitions that hold something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnForeignDisk {
    /// Refuse, and change nothing.
    #[default]
    Refuse,
    /// Overwrite it; never open it.
    Wipe,
}

/// What a kubeconfig needs to know of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// URL of the API server.
    pub server: String,
    /// PEM of the CA that signed the API server's certificate.
    pub ca: String,
}

/// Body of `POST /ccnode/v1/volumes/formatted`. Repeating it with the same values is answered alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Formatted {
    /// The format grant's id.
    pub grant: String,
    /// Its secret.
    pub secret: Secret<32>,
    /// The generation that the grant named.
    pub generation: u64,
    /// SHA-256 over the header bytes that the node wrote.
    pub header_digest: Sha256Digest,
    /// Shares of the volume's recovery key, where the node's configuration names custodians.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// Body of `POST /ccnode/v1/volumes/ready`. Repeating it with the same values is answered alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ready {
    /// The format grant's id.
    pub grant: String,
    /// Its secret.
    pub secret: Secret<32>,
    /// The generation that the grant named.
    pub generation: u64,
    /// The verity root hash that the content was copied from.
    pub populated_from: Sha256Digest,
}

/// Body of `POST /ccnode/v1/volumes/rotated`. Repeating it with the same values is answered alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rotated {
    /// The rotation's grant's id.
    pub grant: String,
    /// Its secret.
    pub secret: Secret<32>,
    /// The generation after the one that the grant named.
    pub generation: u64,
    /// SHA-256 over the header bytes that the node is about to write.
    pub header_digest: Sha256Digest,
    /// What was said to be on record beside the current header, and is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Sha256Digest>,
}

/// Body of `POST /ccnode/v1/volumes/committed`. Repeating it with the same values is answered alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Committed {
    /// The rotation's grant's id.
    pub grant: String,
    /// Its secret.
    pub secret: Secret<32>,
    /// The generation after the one that the grant named.
    pub generation: u64,
    /// SHA-256 over the header bytes that are on the disk.
    pub header_digest: Sha256Digest,
}

/// Body of `POST /ccnode/v1/certificate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CertificateRequest {
    /// The certificate grant's id.
    pub grant: String,
    /// Its secret.
    pub secret: Secret<32>,
    /// The certificate request in DER whose digest the transcript bound.
    pub csr: Base64Url,
}

/// Reply of `POST /ccnode/v1/certificate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM: the node's certificate, then what is above it but for the root.
    pub chain: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_survive_json_and_hide_in_debug() {
        let secret = || Secret::new([0xab; 32]);
        let grant = Grant { id: "g".into(), secret: secret(), expires: 2 };
        let grants = Grants {
            version: 1,
            node: "workers-a".parse().unwrap(),
            level: Some(TrustLevel::TeeBoundVtpm),
            time: 1,
            root: RootGrant::Volume(VolumeGrant {
                id: "v".into(),
                uuid: "u".into(),
                generation: 1,
                unlock_key: secret(),
                action: VolumeAction::Format {
                    entropy: secret(),
                    on_foreign_disk: OnForeignDisk::Refuse,
                    grant: grant.clone(),
                    begun: None,
                },
            }),
            volumes: Vec::new(),
            certificate: grant,
            cluster: Cluster { server: "https://10.0.2.101:6443".into(), ca: String::new() },
        };
        let text = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
        assert!(text.contains("\"on-foreign-disk\":\"refuse\""), "{text}");
        assert!(text.contains("\"level\":\"tee-bound-vtpm\""), "{text}");
        // A service that says no level is understood as well.
        let older = text.replace("\"level\":\"tee-bound-vtpm\",", "");
        assert_eq!(serde_json::from_str::<Grants>(&older).unwrap(), Grants { level: None, ..grants.clone() });
        assert_eq!(grants.volume().unwrap().id, "v");
        let debug = format!("{grants:?}");
        assert!(!debug.contains("171, 171") && !debug.contains("q6ur"), "{debug}");
    }

    #[test]
    fn a_node_that_knows_of_no_rotation_reads_a_grant_to_open() {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "kind")]
        enum Older {
            Open { header_digest: Sha256Digest, populated_from: Sha256Digest },
        }
        let zero = Sha256Digest::ZERO;
        let open = |rotation| VolumeAction::Open { header_digest: zero, populated_from: zero, rotation };
        let plain = serde_json::to_string(&open(None)).unwrap();
        assert_eq!(
            plain,
            format!(r#"{{"kind":"open","header-digest":"{zero}","populated-from":"{zero}"}}"#),
            "as before there were any"
        );
        assert_eq!(serde_json::from_str::<VolumeAction>(&plain).unwrap(), open(None));
        let grant = Grant { id: "g".into(), secret: Secret::new([1; 32]), expires: 2 };
        let rotation = Rotation { next_key: Secret::new([2; 32]), pending: Some(zero), grant };
        let text = serde_json::to_string(&open(Some(rotation.clone().into()))).unwrap();
        assert_eq!(serde_json::from_str::<VolumeAction>(&text).unwrap(), open(Some(rotation.into())));
        let Older::Open { header_digest, populated_from } = serde_json::from_str(&text).unwrap();
        assert_eq!((header_digest, populated_from), (zero, zero));
    }

    #[test]
    fn a_root_of_one_boot_has_entropy_and_nothing_else() {
        let root = RootGrant::Ephemeral { entropy: Secret::new([0xab; 32]) };
        let text = serde_json::to_string(&root).unwrap();
        assert_eq!(text, r#"{"entropy":"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s"}"#);
        assert_eq!(serde_json::from_str::<RootGrant>(&text).unwrap(), root);
        assert!(serde_json::from_str::<RootGrant>("{}").is_err());
    }
}
