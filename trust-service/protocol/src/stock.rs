//! Paths and messages of stock administrators and of machines that register their attestation keys.

use serde::{Deserialize, Serialize};

/// Below which resources lie: `/kbs/v0/resource/<repository>/<type>/<tag>`.
pub const RESOURCE: &str = "/kbs/v0/resource";
/// Where stock administrators post reference values, and below which they read them by name.
pub const REFERENCE_VALUE: &str = "/kbs/v0/reference-value";
/// Where stock administrators post the policy of resources.
pub const RESOURCE_POLICY: &str = "/kbs/v0/resource-policy";
/// Where stock administrators post policies of attestation.
pub const ATTESTATION_POLICY: &str = "/kbs/v0/attestation-policy";
/// Where a machine of a confidential cluster registers its attestation key at its first boot.
pub const REGISTER_AK: &str = "/register-ak";

/// Body of `POST /kbs/v0/reference-value`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReferenceValuePost {
    /// "0.1.0".
    pub version: String,
    /// "sample": a map from name to values.
    #[serde(rename = "type")]
    pub kind: String,
    /// Base64 of JSON.
    pub payload: String,
}

/// Body of `PUT /register-ak`, as Ignition sends it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AkRegistration {
    /// The attestation key, SubjectPublicKeyInfo: PEM, or base64 of DER.
    #[serde(alias = "attestation_key")]
    pub public_key: String,
    /// What the machine was provisioned as; a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}
