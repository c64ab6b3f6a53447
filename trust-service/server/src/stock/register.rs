//! Registration of attestation keys, as machines of confidential clusters ask for it at their first boot.

use crate::audit;
use crate::enrol;
use crate::extract::Json;
use crate::finish::CorrelationId;
use crate::problem::{Refusal, printable};
use crate::service::Service;
use crate::stock::attest::ak_name;
use crate::stock::{allowed, pool, put_on_record};
use crate::store::{AuditEntry, PoolRow, Store, Tx as _};
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::default_name;
use ccnode_appraise::stock::{ak_id, read_ak};
use ccnode_evidence::{Code, EvidenceKind};
use ccnode_protocol::AkRegistration;
use ccnode_protocol::admin::Rule;
use serde_json::{Value, json};
use std::sync::Arc;

/// Characters of a claimed UUID that are kept.
const UUID: usize = 64;

/// `PUT /register-ak`: a record that waits for approval and proves nothing. One that is there already stays as it is, whatever its
/// state, and the answer is the same.
pub async fn register<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    Json(registration): Json<AkRegistration>,
) -> Result<(StatusCode, axum::Json<Value>), Refusal> {
    let done = || (StatusCode::CREATED, axum::Json(json!({"status": "success"})));
    let mut tx = service.store.read().await?;
    let pool_of = pool_that_takes(&service, &mut tx).await?;
    let ak = key(&registration.public_key)?;
    let identity = ak_id(EvidenceKind::Tpm, &ak);
    if tx.node(&identity).await?.is_some() {
        return Ok(done());
    }
    drop(tx);
    let mut tx = service.store.write().await?;
    if tx.node(&identity).await?.is_some() {
        return Ok(done());
    }
    put_on_record(&service, &mut tx, &pool_of).await?;
    let now = service.now();
    let name = default_name(&pool_of.name, &identity);
    let uuid = registration.uuid.map(|uuid| printable(&uuid).chars().take(UUID).collect::<String>());
    let mut row = enrol::registered(&pool_of, &name, identity, ak_name(&ak), now);
    let claim = uuid.as_ref().map(|uuid| format!(", as {uuid} by its own word")).unwrap_or_default();
    row.reason =
        Some(super::waits(&row, &format!("{name} registered its key{claim}, and waits for approval")));
    if !tx.insert_node(&row).await? {
        return Err(Refusal::new(Code::Conflict, format!("another TPM has the name {name}")));
    }
    let entry = AuditEntry {
        actor: format!("unproven:{name}"),
        action: "node.registered",
        object: row.pool.to_string(),
        detail: json!({"ak": row.ak_name, "uuid": uuid}),
        correlation_id: &id,
    };
    audit::append(&mut tx, now, entry).await?;
    tx.commit().await?;
    Ok(done())
}

async fn pool_that_takes<S: Store>(service: &Service<S>, tx: &mut S::Tx) -> Result<PoolRow, Refusal> {
    let refused = |text: String| Refusal::new(Code::AkRegistrationNotAllowed, text);
    let config = service.config.stock.as_ref();
    let config = config.ok_or_else(|| refused("config.toml has no table [stock]".to_owned()))?;
    let pool = pool(tx, config).await?;
    allowed(&pool)?;
    match pool.rules.contains(&Rule::DangerOpenRegistration) {
        true => Ok(pool),
        false => Err(refused(format!("pool {} has no rule danger-open-registration", pool.name))),
    }
}

/// PEM, or base64 of DER.
fn key(text: &str) -> Result<Vec<u8>, Refusal> {
    let bytes = match text.contains("-----BEGIN") {
        true => text.as_bytes().to_vec(),
        false => {
            let bare: String = text.split_ascii_whitespace().collect();
            let fail = |_| Refusal::new(Code::AkMalformed, "public_key: neither PEM nor base64 of DER");
            STANDARD.decode(bare).map_err(fail)?
        }
    };
    read_ak(&bytes).map_err(|error| Refusal::new(error.code(), format!("public_key: {error}")))
}
