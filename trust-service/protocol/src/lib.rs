//! The key broker protocol 0.4.0 and its `ccnode/1` members: messages, JWE, problem bodies, grants and limits.
//!
//! Shared by both ends; no I/O. The stock messages come from `kbs-types`; ours flatten them and add one member, `ccnode`.

pub mod admin;
mod bounded;
pub mod grants;
pub mod init_data;
pub mod jwe;
pub mod limits;
mod messages;
mod name;
mod problem;
pub mod recovery;
mod resource;
mod stock;

pub use kbs_types::{Tee, TeePubKey};
pub use messages::{
    Activation, Asks, AttestResponse, Attestation, AuthExt, AuthRequest, Challenge, ChallengeExt, ExtParams,
    NameBox, OfferError, RuntimeData, VERSION, kind, tee,
};
pub use name::{NameError, NodeName, PoolName};
pub use problem::{NodeRefusal, PROBLEM_TYPE_BASE, Problem, RefusalText};
pub use resource::{ResourceUri, ResourceUriError};
pub use stock::{
    ATTESTATION_POLICY, AkRegistration, REFERENCE_VALUE, REGISTER_AK, RESOURCE, RESOURCE_POLICY,
    ReferenceValuePost,
};

/// Path of the authentication request.
pub const AUTH: &str = "/kbs/v0/auth";
/// Path of the attestation request.
pub const ATTEST: &str = "/kbs/v0/attest";
/// Path from which an attested `ccnode/1` session fetches its grants, as a JWE.
pub const GRANTS: &str = "/ccnode/v1/grants";
/// Path to which a node reports that a volume is formatted.
pub const FORMATTED: &str = "/ccnode/v1/volumes/formatted";
/// Path to which a node reports that a volume is filled and ready.
pub const READY: &str = "/ccnode/v1/volumes/ready";
/// Path to which a node reports the header under a volume's next key, before it writes it.
pub const ROTATED: &str = "/ccnode/v1/volumes/rotated";
/// Path to which a node reports that this header is on its disk.
pub const COMMITTED: &str = "/ccnode/v1/volumes/committed";
/// Path at which a node trades its certificate grant and request for a certificate.
pub const CERTIFICATE: &str = "/ccnode/v1/certificate";
/// Path to which a node reports a refusal that it decided itself.
pub const REFUSALS: &str = "/ccnode/v1/refusals";
/// The session cookie's name.
pub const COOKIE: &str = "kbs-session-id";
