//! Registered images and platforms.

use ccnode_evidence::{ImageTuple, PlatformTuple, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::PoolName;

/// A registered image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageRecord {
    /// [`ImageTuple::id`].
    pub id: Sha256Digest,
    /// When it was registered, seconds since 1970.
    pub registered: u64,
    /// Pools that allow it with some platform.
    pub pools: Vec<PoolName>,
    /// The tuple.
    pub tuple: ImageTuple,
}

/// A registered platform.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlatformRecord {
    /// [`PlatformTuple::id`].
    pub id: Sha256Digest,
    /// When it was registered, seconds since 1970.
    pub registered: u64,
    /// Pools that allow it with some image.
    pub pools: Vec<PoolName>,
    /// The tuple.
    pub tuple: PlatformTuple,
}
