//! The nodes' routes, as a table.

use crate::service::Service;
use crate::store::{SqliteStore, Store};
use crate::{admin, attest, kbs, node_api, probes, rekey, release, stock};
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, any, get, post, put};
use ccnode_protocol::{
    ATTEST, ATTESTATION_POLICY, AUTH, CERTIFICATE, COMMITTED, FORMATTED, GRANTS, READY, REFERENCE_VALUE,
    REFUSALS, REGISTER_AK, RESOURCE_POLICY, ROTATED,
};
use std::sync::Arc;

/// Every route of the nodes' listener; `body` is the most of an attestation's bytes. The router is made of this table, and so are the
/// tests of what is documented.
pub fn routes<S: Store>(body: usize) -> Vec<(&'static str, MethodRouter<Arc<Service<S>>>)> {
    vec![
        (AUTH, post(kbs::auth::<S>)),
        (ATTEST, post(attest::attest::<S>).layer(DefaultBodyLimit::max(body))),
        ("/kbs/v0/resource/{*path}", any(stock::resources::resource::<S>)),
        (REGISTER_AK, put(stock::register::register::<S>)),
        (GRANTS, get(release::grants::<S>)),
        (FORMATTED, post(node_api::formatted::<S>)),
        (READY, post(node_api::ready::<S>)),
        (ROTATED, post(rekey::rotated::<S>)),
        (COMMITTED, post(rekey::committed::<S>)),
        (CERTIFICATE, post(node_api::certificate::<S>)),
        (REFUSALS, post(node_api::refusals::<S>)),
        (probes::LIVE, get(probes::live)),
        (probes::READY, get(probes::ready::<S>)),
        (probes::JWKS, get(probes::jwks::<S>)),
    ]
}

/// Paths of administrators, who have a listener of their own: the nodes' one says so.
pub const ELSEWHERE: [&str; 4] =
    [REFERENCE_VALUE, "/kbs/v0/reference-value/{*name}", RESOURCE_POLICY, ATTESTATION_POLICY];

/// The templates of all routes of both listeners.
pub fn templates() -> Vec<&'static str> {
    let tables = [routes::<SqliteStore>(0), admin::routes(), admin::stock::routes()];
    tables.into_iter().flatten().map(|(path, _)| path).chain(ELSEWHERE).collect()
}
