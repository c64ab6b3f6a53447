//! Volumes for data: as many as configuration and command line name, each opened or made as the root's volume is.

use super::unlock::{Holds, Root, name};
use crate::config::Data;
use crate::disk::Partitions;
use crate::handover::SYSROOT;
use crate::refusal::Refusal;
use ccnode_evidence::{Code, Secret};
use ccnode_protocol::grants::{Grants, RootGrant, VolumeGrant};
use std::path::{Path, PathBuf};

/// What a volume is opened or made with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Given<'g> {
    /// What is on record of it.
    Volume(&'g VolumeGrant),
    /// The service's randomness alone: it lasts this boot.
    Entropy(&'g Secret<32>),
}

/// What root and `data` are given, in this order; all of them persist, or none.
pub(super) fn given<'g>(data: &[Data], grants: &'g Grants) -> Result<Vec<Given<'g>>, Refusal> {
    let wrong = |what: &str| {
        let ids: Vec<&str> = grants.volumes.iter().map(|volume| volume.id.as_str()).collect();
        let detail = format!("this image has {} volumes for data, and {ids:?} {what}", data.len());
        Refusal::new(Code::LayoutMismatch, detail)
    };
    let (root, known) = match &grants.root {
        RootGrant::Ephemeral { entropy } => (Given::Entropy(entropy), 0),
        RootGrant::Volume(volume) => (Given::Volume(volume), data.len()),
    };
    if grants.volumes.len() != known {
        return Err(wrong("were granted"));
    }
    let mut all = vec![root];
    for data in data {
        all.push(match root {
            Given::Entropy(_) => root,
            Given::Volume(_) => {
                let id = format!("{}/data/{}", grants.node, data.name);
                let volume = grants.volumes.iter().find(|volume| volume.id == id);
                Given::Volume(volume.ok_or_else(|| wrong("are others"))?)
            }
        });
    }
    Ok(all)
}

impl Root {
    /// The places of volumes for data, below this root.
    pub(super) fn data(&self, data: &[Data]) -> Result<Vec<Self>, Refusal> {
        let place = |(data, (path, len)): (&Data, &(PathBuf, u64))| {
            let below = data.mount.strip_prefix("/").unwrap_or(&data.mount);
            Ok(Self {
                partitions: Partitions { root: path.clone(), root_len: *len, ..Partitions::default() },
                name: name(&format!("data-{}", data.name))?,
                device: self.device.clone(),
                hash: self.hash,
                integrity: self.integrity,
                holds: Holds::Data(Path::new(SYSROOT).join(below)),
            })
        };
        data.iter().zip(&self.partitions.data).map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_protocol::grants::{Cluster, Grant};

    #[test]
    fn each_volume_has_its_own_grant_or_none_has_any() {
        let data =
            |name: &str| Data { name: name.parse().unwrap(), label: name.into(), mount: "/srv".into() };
        let grant = |id: &str| -> VolumeGrant {
            let zero = "0".repeat(64);
            serde_json::from_value(serde_json::json!({"id": id, "uuid": "u", "generation": 1,
                "unlock-key": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s",
                "action": {"kind": "open", "header-digest": zero, "populated-from": zero}}))
            .unwrap()
        };
        let (root, entropy) = (grant("workers-a/root"), Secret::new([1; 32]));
        let (persists, one_boot) =
            (RootGrant::Volume(root.clone()), RootGrant::Ephemeral { entropy: entropy.clone() });
        let grants = |root: &RootGrant, volumes: &[&VolumeGrant]| Grants {
            version: 1,
            node: "workers-a".parse().unwrap(),
            level: None,
            time: 0,
            root: root.clone(),
            volumes: volumes.iter().map(|volume| (*volume).clone()).collect(),
            certificate: Grant { id: String::new(), secret: entropy.clone(), expires: 0 },
            cluster: Cluster { server: String::new(), ca: String::new() },
        };
        let two = [data("logs"), data("work")];
        let (logs, work) = (grant("workers-a/data/logs"), grant("workers-a/data/work"));
        let both = grants(&persists, &[&work, &logs]);
        assert_eq!(given(&two, &both).unwrap(), [&root, &logs, &work].map(Given::Volume));
        assert_eq!(given(&[], &grants(&persists, &[])).unwrap(), [Given::Volume(&root)]);
        assert_eq!(given(&two, &grants(&one_boot, &[])).unwrap(), [Given::Entropy(&entropy); 3]);
        let other = grant("workers-b/data/work");
        for (root, volumes) in [
            (&persists, vec![]),
            (&persists, vec![&logs]),
            (&persists, vec![&logs, &logs]),
            (&persists, vec![&logs, &other]),
            (&one_boot, vec![&logs, &work]),
        ] {
            let refusal = given(&two, &grants(root, &volumes)).unwrap_err();
            assert_eq!(refusal.code, Code::LayoutMismatch, "{}", refusal.detail);
        }
        assert!(given(&[], &grants(&persists, &[&logs])).is_err(), "more than the image has");
    }
}
