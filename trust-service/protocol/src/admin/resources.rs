//! Resources: who may read them. What they hold, no interface of administration answers.

use serde::{Deserialize, Serialize};

use crate::{NodeName, PoolName, ResourceUri};

/// A resource without its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourceRecord {
    /// Its name. Where the repository is a node's name, that node may read it.
    pub name: ResourceUri,
    /// Bytes of its content.
    pub size: u64,
    /// When it was set last, seconds since 1970.
    pub updated: u64,
    /// Nodes that may read it, too.
    pub nodes: Vec<NodeName>,
    /// Pools all of whose nodes may read it.
    pub pools: Vec<PoolName>,
}

/// Who may read a resource beside the node that its repository names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// One node.
    Node(NodeName),
    /// Every node of a pool.
    Pool(PoolName),
}
