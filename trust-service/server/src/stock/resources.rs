//! Resources as nodes read them: what belongs to the asking node or was bound to it, sealed to its session's key.

use crate::audit;
use crate::cookie::{CookieError, Form, Session};
use crate::finish::CorrelationId;
use crate::kbs::tee_key;
use crate::problem::Refusal;
use crate::references::Pool;
use crate::service::Service;
use crate::stock::attest::judged_by;
use crate::stock::names;
use crate::store::{AuditEntry, NodeRow, ResourceRow, StockAccepted, Store, Tx};
use crate::{enrol, node_api, release};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use ccnode_evidence::{Code, Nonce};
use ccnode_protocol::admin::Pair;
use ccnode_protocol::jwe::{self, Jwe};
use ccnode_protocol::{ResourceUri, TeePubKey};
use serde_json::json;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Who asks, and what answers are sealed to.
struct Reader {
    form: Form,
    node: NodeRow,
    pool: Arc<Pool>,
    key: TeePubKey,
}

/// `GET /kbs/v0/resource/{repository}/{type}/{tag}`, by the session's cookie or by its token: what belongs to the asking node, and
/// nothing else, foreign and absent alike. For nodes of `ccnode/1`, `node/<name>/cluster` is the cluster that they join.
///
/// Other methods and paths of another shape come here too: as the stock service does, it tells them apart only to who has
/// attested.
pub async fn resource<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    headers: HeaderMap,
    method: Method,
    uri: Uri,
) -> Result<axum::Json<Jwe>, Refusal> {
    if method == Method::POST {
        return Err(super::elsewhere().await);
    }
    let asked = Asked::of(&service, &headers)?;
    let name = names::resource(&method, &uri);
    let mut tx = service.store.read().await?;
    let reader = reader(&service, &mut tx, &asked).await?;
    let about = |refusal: Refusal| refusal.of(&reader.node.pool, &reader.node.name).proven();
    let plain = match &name {
        Some(name) if is_cluster(&reader, name) => {
            release::in_pace(&service, &reader.node).map_err(about)?;
            cluster(&service, &reader)?
        }
        Some(name) if is_readable(&mut tx, &reader, name).await? => {
            drop(tx);
            release::in_pace(&service, &reader.node).map_err(about)?;
            read(&service, &asked, name, &id).await.map_err(about)?
        }
        _ => return Err(about(unknown(&reader, &method, &uri))),
    };
    let Some(plain) = plain else { return Err(about(unknown(&reader, &method, &uri))) };
    jwe::seal(&reader.key, &plain).map(axum::Json).map_err(|error| about(tee_key(&error)))
}

type Plain = Option<Zeroizing<Vec<u8>>>;

fn unknown(reader: &Reader, method: &Method, uri: &Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Refusal::new(Code::ResourceUnknown, format!("{} has nothing by {method} at {path}", reader.node.name))
}

fn is_cluster(reader: &Reader, name: &ResourceUri) -> bool {
    reader.form == Form::Ccnode && name.parts() == ["node", reader.node.name.as_str(), "cluster"]
}

fn cluster<S: Store>(service: &Service<S>, reader: &Reader) -> Result<Plain, Refusal> {
    let cluster = node_api::cluster(service, &reader.pool)?;
    serde_json::to_vec(&cluster).map(|plain| Some(Zeroizing::new(plain))).map_err(Refusal::internal)
}

/// Its own, by the repository's name, or one that it was bound to.
async fn is_readable<T: Tx>(tx: &mut T, reader: &Reader, name: &ResourceUri) -> Result<bool, Refusal> {
    if name.repository() == reader.node.name.as_str() {
        return Ok(true);
    }
    Ok(tx.is_reader(name, &reader.node.identity, &reader.pool.name).await?)
}

/// The content, with its audit row; decided once more where the row is written.
async fn read<S: Store>(
    service: &Service<S>,
    asked: &Asked,
    name: &ResourceUri,
    id: &str,
) -> Result<Plain, Refusal> {
    let mut tx = service.store.write().await?;
    let now = service.now();
    let reader = reader(service, &mut tx, asked).await?;
    if !is_readable(&mut tx, &reader, name).await? {
        return Ok(None);
    }
    let Some(row) = tx.resource(name).await? else { return Ok(None) };
    let plain =
        service.at_rest.open(&ResourceRow::place(&row.name), &row.content).map_err(Refusal::internal)?;
    let entry = AuditEntry {
        actor: format!("node:{}", reader.node.name),
        action: "resource.read",
        object: name.to_string(),
        detail: json!({"size": row.size, "updated": row.updated}),
        correlation_id: id,
    };
    audit::append(&mut tx, now, entry).await?;
    tx.commit().await?;
    Ok(Some(plain))
}

/// The session that is asked in.
struct Asked {
    nonce: Nonce,
    /// The key that a token names; it must be the session's own.
    key: Option<TeePubKey>,
}

impl Asked {
    /// By the cookie, or by a token where there is no cookie that opens.
    fn of<S: Store>(service: &Service<S>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let now = service.now();
        let error = match Session::open(&service.cookies, text(header::COOKIE), now) {
            Ok(session) => return Ok(Self { nonce: session.nonce, key: None }),
            Err(error) => error,
        };
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(error.into());
        }
        let token = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let bearer = token.ok_or(CookieError::Unknown).map_err(|_| no_token("no bearer token"))?;
        let bearer = service.token.get().bearer(bearer, now).map_err(no_token)?;
        Ok(Self { nonce: bearer.nonce, key: Some(bearer.tee_pubkey) })
    }
}

fn no_token(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::SessionUnknown, format!("Authorization: {error}"))
}

/// The active node behind an accepted session, by what its pool demands now.
async fn reader<S: Store>(service: &Service<S>, tx: &mut S::Tx, asked: &Asked) -> Result<Reader, Refusal> {
    let now = service.now();
    let unknown = || Refusal::new(Code::SessionUnknown, "this session has no accepted attestation");
    let row = tx.session(&asked.nonce).await?.ok_or_else(unknown)?;
    if row.expires < now {
        return Err(CookieError::Expired { expires: row.expires, now }.into());
    }
    let (node, pool, form, key) = match (row.verdict, row.stock) {
        (Some(verdict), None) => {
            let (node, pool) = node_api::active(service, tx, &row.identity).await?;
            let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
            release::this_boot(&node, verdict.reset_count).map_err(about)?;
            let of = (&row.identity, &row.nonce);
            release::still_allowed(tx, &pool, of, &verdict).await.map_err(about)?;
            (node, pool, Form::Ccnode, verdict.tee_pubkey)
        }
        (None, Some(stock)) => {
            let (node, pool) = node_api::active(service, tx, &row.identity).await?;
            let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
            release::this_boot(&node, stock.reset_count).map_err(about)?;
            still_allowed(tx, &pool, &stock).await.map_err(about)?;
            (node, pool, Form::Stock, stock.tee_pubkey)
        }
        _ => return Err(unknown()),
    };
    match &asked.key {
        Some(named) if !same(named, &key) => Err(no_token("the token names another key than its session's")),
        _ => Ok(Reader { form, node, pool, key }),
    }
}

fn same(one: &TeePubKey, other: &TeePubKey) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether the pool still takes what a stock client attested: it may have been edited since.
async fn still_allowed<T: Tx>(tx: &mut T, pool: &Pool, stock: &StockAccepted) -> Result<(), Refusal> {
    super::allowed(pool)?;
    enrol::still_admitted(pool, Some(stock.kind), Some(stock.level))?;
    match (stock.platform, stock.image) {
        (Some(platform), Some(image)) if !pool.allows(Pair { platform, image }) => {
            let text = format!("pool {} no longer allows this platform and image together", pool.name);
            return Err(Refusal::new(Code::PairNotAllowed, text));
        }
        (None, Some(image)) if !pool.hardware.images().any(|listed| listed == image) => {
            let text = format!("pool {} no longer lists a launch for image {image}", pool.name);
            return Err(Refusal::new(Code::LaunchUnknown, text));
        }
        _ => {}
    }
    let posted = tx.reference_values(&pool.name).await?;
    if stock.judged_by != judged_by(pool, &posted)? {
        let text = format!("pool {} demands something else than when this was judged", pool.name);
        return Err(Refusal::new(Code::SessionExpired, text));
    }
    Ok(())
}
