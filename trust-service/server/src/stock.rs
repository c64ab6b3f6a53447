//! Clients of the stock transcript: their challenge, which pool takes them, and how many unknown ones are put on record.
//!
//! They name no pool and prove no TPM, so they come in only where `config.toml` names a pool for them and that pool has the rule that
//! says what is given up. What they get are resources; the types of a session of `ccnode/1` are out of their reach.

pub mod attest;
pub mod names;
pub mod register;
pub mod resources;

use crate::config::StockConfig;
use crate::cookie::Form;
use crate::kbs::{Challenged, Start, challenged, fresh};
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{NodeRow, PoolRow, Store, Tx};
use ccnode_evidence::{Code, EvidenceKind};
use ccnode_protocol::ExtParams;
use ccnode_protocol::admin::{NodeFilter, NodeState, OnUnknown, Rule};
use serde_json::Value;
use std::time::Instant;

/// The challenge of a client that sent no member `ccnode`. One that sent a part of it is none of the stock transcript.
pub async fn challenge<S: Store>(
    service: &Service<S>,
    kind: EvidenceKind,
    params: &Value,
) -> Result<Challenged, Refusal> {
    let refused = || Refusal::new(Code::StockTranscript, "extra-params hold no whole member `ccnode`");
    if params.get("ccnode").is_some() {
        return Err(refused());
    }
    let config = service.config.stock.as_ref().ok_or_else(refused)?;
    let pool = pool(&mut service.store.read().await?, config).await?;
    allowed(&pool)?;
    let start = Start { form: Form::Stock, nonce: fresh(), kind, tpm: None, pool: pool.name };
    challenged(service, start, ExtParams::Stock(Value::String(String::new())))
}

/// The pool of stock clients.
pub async fn pool<T: Tx>(tx: &mut T, config: &StockConfig) -> Result<PoolRow, Refusal> {
    let unknown = || {
        let text = format!("there is no pool `{}`, which config.toml names for stock clients", config.pool);
        Refusal::new(Code::PoolUnknown, text)
    };
    tx.pool(&config.pool).await?.ok_or_else(unknown)
}

/// Whether the pool takes clients of the stock transcript.
pub fn allowed(pool: &PoolRow) -> Result<(), Refusal> {
    if pool.rules.contains(&Rule::DangerNoActivation) {
        return Ok(());
    }
    let text = format!("pool {} has no rule danger-no-activation", pool.name);
    Err(Refusal::new(Code::StockNotAllowed, text))
}

/// Whether one more unknown machine may be put on record: anybody can make up a key, and so any number of them.
pub async fn waiting_room<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    pool: &PoolRow,
) -> Result<(), Refusal> {
    if pool.on_unknown == OnUnknown::Refuse {
        return Ok(());
    }
    put_on_record(service, tx, pool).await
}

/// The same, whatever the pool does with unknown machines.
pub async fn put_on_record<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    pool: &PoolRow,
) -> Result<(), Refusal> {
    let full = |text: String| Refusal::new(Code::RateLimited, text);
    let Some(config) = &service.config.stock else {
        return Err(Refusal::new(Code::StockTranscript, "config.toml has no table [stock]"));
    };
    if !service.newcomers.take(Instant::now()) {
        let text = format!("{} unknown machines a minute are put on record", config.newcomers_per_minute);
        return Err(full(text));
    }
    let filter = NodeFilter { pool: Some(pool.name.clone()), state: Some(NodeState::Pending) };
    let waiting = tx.nodes(&filter).await?.len();
    match waiting < config.waiting {
        true => Ok(()),
        false => Err(full(format!("{waiting} nodes wait for approval in pool {}", pool.name))),
    }
}

/// Why a node waits, with what an administrator can compare.
pub fn waits(row: &NodeRow, text: &str) -> String {
    match row.ak_name.as_str() {
        "" => text.to_owned(),
        key => format!("{text}; SHA-256 of its attestation key is {key}"),
    }
}

/// What stock administrators ask lies below the same paths there; here they have a listener of their own.
pub async fn elsewhere() -> Refusal {
    let text = "administrators have a listener of their own: `admin-listen` of config.toml";
    Refusal::new(Code::AdminUnauthenticated, text)
}
