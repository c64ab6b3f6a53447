//! The administration interface: its paths and JSON types, shared by the service and the administrators' tool.
//!
//! Mutual TLS on a listener of its own; base path [`BASE`]. Objects are answered as they stand after the change; a
//! deletion answers 204. Every error is a [`crate::Problem`] with a code: 401 without a certificate, 403 without the
//! role, 404 for what does not exist, 409 for what is in the way, 400 for what can't be read.

mod audit;
mod evidence;
mod hardware;
mod nodes;
mod pools;
mod proposals;
mod refusals;
mod resources;
mod tuples;

pub use audit::{AuditFilter, AuditRow};
pub use evidence::{EvidenceVerdict, LAST_EVIDENCE_KIND, LAST_EVIDENCE_VERSION, LastEvidence, SessionOffer};
pub use hardware::{HardwareClaims, HardwareRecord, SnpClaims, SnpTcb, TdxClaims};
pub use nodes::{
    Counters, NodeAction, NodeFilter, NodeRecord, NodeState, RecoveryFetch, RecoveryRecord, Regrant,
    RotationState, VolumeRecord, VolumeState,
};
pub use pools::{EkRoot, EkRootAdd, OnUnknown, Pair, Pool, PoolCreate, PoolEdit, Rule, TrustLevel};
pub use proposals::{AllowOnce, Allowance, Pinned, Proposal, ProposalAction, ProposalMake, Rebind};
pub use refusals::{Kept, RefusalFilter, RefusalRecord, RefusedBy};
pub use resources::{Reader, ResourceRecord};
pub use tuples::{ImageRecord, PlatformRecord};

/// Every path of the administration interface starts with this.
pub const BASE: &str = "/ccnode/v1/admin";
/// Pools: GET lists [`Pool`]s, POST makes one of a [`PoolCreate`].
pub const POOLS: &str = "/ccnode/v1/admin/pools";
/// One pool: GET, PATCH with a [`PoolEdit`], DELETE.
pub const POOL: &str = "/ccnode/v1/admin/pools/{pool}";
/// A pool's allowed pairs: POST a [`Pair`] allows it; answers the [`Pool`].
pub const PAIRS: &str = "/ccnode/v1/admin/pools/{pool}/pairs";
/// One allowed pair: DELETE disallows it.
pub const PAIR: &str = "/ccnode/v1/admin/pools/{pool}/pairs/{platform}/{image}";
/// A pool's endorsement key roots: POST an [`EkRootAdd`] adds one; answers the [`Pool`].
pub const EK_ROOTS: &str = "/ccnode/v1/admin/pools/{pool}/ek-roots";
/// One endorsement key root: DELETE removes it.
pub const EK_ROOT: &str = "/ccnode/v1/admin/pools/{pool}/ek-roots/{id}";
/// What a pool demands of hardware: GET, PUT the whole of it; `ccnode_appraise::HardwarePolicy` as JSON.
pub const POOL_HARDWARE: &str = "/ccnode/v1/admin/pools/{pool}/hardware";
/// Reference values that stock administrators posted for a pool: GET answers a map from name to values, DELETE takes them all away.
pub const POOL_REFERENCE_VALUES: &str = "/ccnode/v1/admin/pools/{pool}/reference-values";
/// Resources: GET lists [`ResourceRecord`]s.
pub const RESOURCES: &str = "/ccnode/v1/admin/resources";
/// One resource: PUT its bytes as they are, at most [`crate::limits::RESOURCE`]; GET the [`ResourceRecord`]; DELETE.
pub const RESOURCE: &str = "/ccnode/v1/admin/resources/{repository}/{type}/{tag}";
/// Who may read a resource: POST a [`Reader`] to let it; answers the [`ResourceRecord`].
pub const RESOURCE_READERS: &str = "/ccnode/v1/admin/resources/{repository}/{type}/{tag}/readers";
/// One node that may read it: DELETE takes that back.
pub const RESOURCE_NODE: &str = "/ccnode/v1/admin/resources/{repository}/{type}/{tag}/readers/node/{node}";
/// One pool that may read it: DELETE takes that back.
pub const RESOURCE_POOL: &str = "/ccnode/v1/admin/resources/{repository}/{type}/{tag}/readers/pool/{pool}";
/// Image tuples: GET lists [`ImageRecord`]s, POST registers an [`ccnode_evidence::ImageTuple`].
pub const IMAGES: &str = "/ccnode/v1/admin/images";
/// One image: GET, DELETE.
pub const IMAGE: &str = "/ccnode/v1/admin/images/{id}";
/// Platform tuples: GET lists [`PlatformRecord`]s, POST registers a [`ccnode_evidence::PlatformTuple`].
pub const PLATFORMS: &str = "/ccnode/v1/admin/platforms";
/// One platform: GET, DELETE.
pub const PLATFORM: &str = "/ccnode/v1/admin/platforms/{id}";
/// Nodes: GET with a [`NodeFilter`] as query lists [`NodeRecord`]s.
pub const NODES: &str = "/ccnode/v1/admin/nodes";
/// One node: GET, DELETE (destroys its keys; of a retired node, the record).
pub const NODE: &str = "/ccnode/v1/admin/nodes/{node}";
/// POST with a [`NodeAction`]: pending, quarantined or revoked → active, with the key and counters last seen.
pub const NODE_APPROVE: &str = "/ccnode/v1/admin/nodes/{node}/approve";
/// POST with a [`NodeAction`]: no release and no certificate any more.
pub const NODE_REVOKE: &str = "/ccnode/v1/admin/nodes/{node}/revoke";
/// POST with a [`Regrant`]: volumes are made anew at the next boot; what is on them is lost.
pub const NODE_REGRANT: &str = "/ccnode/v1/admin/nodes/{node}/regrant";
/// POST with a [`NodeAction`]: its keys are destroyed, and the record stays as `retired`.
pub const NODE_RETIRE: &str = "/ccnode/v1/admin/nodes/{node}/retire";
/// POST with a [`NodeAction`]: the node's next boot puts other unlock keys in place of those that its volumes have.
pub const NODE_ROTATE_KEY: &str = "/ccnode/v1/admin/nodes/{node}/rotate-key";
/// POST with a [`RecoveryFetch`]: answers the [`RecoveryRecord`] of one of the node's volumes.
pub const NODE_RECOVERY: &str = "/ccnode/v1/admin/nodes/{node}/recovery";
/// A node's last evidence with its verdict: GET answers the [`LastEvidence`].
pub const NODE_EVIDENCE: &str = "/ccnode/v1/admin/nodes/{node}/last-evidence";
/// What waits for a second administrator: GET lists [`Proposal`]s, POST makes one of a [`ProposalMake`].
pub const PROPOSALS: &str = "/ccnode/v1/admin/proposals";
/// One proposal: GET, DELETE withdraws it.
pub const PROPOSAL: &str = "/ccnode/v1/admin/proposals/{id}";
/// POST by another administrator than the one who proposed it: it is done, and the answer is the [`Proposal`] with both names.
pub const PROPOSAL_APPROVE: &str = "/ccnode/v1/admin/proposals/{id}/approve";
/// Refusals: GET with a [`RefusalFilter`] as query lists [`RefusalRecord`]s, newest first, without `kept`.
pub const REFUSALS: &str = "/ccnode/v1/admin/refusals";
/// One refusal, with what was kept of its evidence: GET.
pub const REFUSAL: &str = "/ccnode/v1/admin/refusals/{id}";
/// The audit log: GET with an [`AuditFilter`] as query lists [`AuditRow`]s, newest first.
pub const AUDIT: &str = "/ccnode/v1/admin/audit";

/// A path with its `{placeholders}` filled in order; values are names, digests and numbers, which need no escaping.
///
/// `path(admin::PAIR, &[&pool, &platform, &image])`
pub fn path(template: &str, values: &[&dyn std::fmt::Display]) -> String {
    let mut values = values.iter();
    template
        .split('/')
        .map(|part| match part.starts_with('{') {
            true => values.next().map(|v| v.to_string()).unwrap_or_default(),
            false => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolName;
    use ccnode_evidence::Sha256Digest;

    #[test]
    fn paths_are_filled_in_order() {
        let pool: PoolName = "workers".parse().unwrap();
        let (p, i) = (Sha256Digest::of(b"p"), Sha256Digest::of(b"i"));
        assert_eq!(
            path(PAIR, &[&pool, &p, &i]),
            format!("/ccnode/v1/admin/pools/workers/pairs/{}/{}", p.hex(), i.hex())
        );
        assert_eq!(path(NODES, &[]), NODES);
    }
}
