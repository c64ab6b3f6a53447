//! What an accepted session is given: its volume's key and its grants, within the bounds of one boot.

use crate::audit;
use crate::cookie::CcnodeSession;
use crate::enrol;
use crate::finish::CorrelationId;
use crate::kbs::tee_key;
use crate::keys::{random, secret_hash};
use crate::node_api::{Attested, attested, cluster};
use crate::once;
use crate::problem::Refusal;
use crate::recovery;
use crate::references::Pool;
use crate::rekey;
use crate::service::Service;
use crate::store::{
    AuditEntry, GrantKind, GrantRow, NodeRow, SessionRow, SessionVerdict, Store, Tx, VolumeRow,
};
use axum::extract::State;
use ccnode_evidence::{Code, DataName, Layout, Nonce, Secret, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{Pair, VolumeRecord, VolumeState};
use ccnode_protocol::grants::{Begun, Cluster, Grant, Grants, RootGrant, VolumeAction, VolumeGrant};
use ccnode_protocol::jwe::{self, Jwe};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// Characters of a volume's id at most, as nodes take it.
const VOLUME_ID: usize = 64;
/// Sessions with a release per boot (reset count of the TPM).
pub const RELEASES_PER_BOOT: u32 = 3;

/// `GET /ccnode/v1/grants`: the grants, encrypted to the attested key. Repeated within a session it answers the same,
/// but for the time and for the cluster as the pool has it then.
pub async fn grants<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    CcnodeSession(session): CcnodeSession,
) -> Result<axum::Json<Jwe>, Refusal> {
    // Whoever has no accepted session doesn't wait for the one writer.
    if !service.admitted.has(&Sha256Digest(session.nonce.0)) {
        attested(&service, &mut service.store.read().await?, &session).await?;
    }
    let mut tx = service.store.write().await?;
    let attested = attested(&service, &mut tx, &session).await?;
    let Attested { session: row, verdict, node, .. } = &attested;
    let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
    in_pace(&service, node).map_err(about)?;
    let (grants, action) = match &row.grants {
        Some(sealed) => {
            (again(&service, &mut tx, &attested, sealed).await.map_err(about)?, "session.repeated")
        }
        None => {
            let made = release(&service, &mut tx, &attested, &id).await.map_err(about)?;
            (made, "session.granted")
        }
    };
    let plain = Zeroizing::new(serde_json::to_vec(&grants).map_err(Refusal::internal)?);
    let jwe = jwe::seal(&verdict.tee_pubkey, &plain).map_err(|error| about(tee_key(&error)))?;
    let entry = AuditEntry {
        actor: format!("node:{}", node.name),
        action,
        object: grants
            .volume()
            .map_or_else(|| format!("{}/ephemeral", node.name), |volume| volume.id.clone()),
        detail: json!({
            "generation": grants.volume().map(|volume| volume.generation),
            "action": grants.volume().map_or("ephemeral", action_word),
            "rotation": grants.volume().is_some_and(|volume| volume.rotation().is_some()),
            "data": grants.volumes.iter().map(said).collect::<Vec<_>>(),
            "image": verdict.image, "reset-count": verdict.reset_count,
        }),
        correlation_id: &id,
    };
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(axum::Json(jwe))
}

/// What the audit log says of a volume for data.
fn said(volume: &VolumeGrant) -> Value {
    json!({
        "volume": volume.id, "generation": volume.generation, "action": action_word(volume),
        "rotation": volume.rotation().is_some(),
    })
}

fn action_word(volume: &VolumeGrant) -> &'static str {
    match volume.action {
        VolumeAction::Open { .. } => "open",
        VolumeAction::Format { .. } => "format",
    }
}

/// Whether a node may be given something once more this minute: most times the audit log gets a row and the disk a transaction, and each
/// time something is sealed to a key of the node's choice.
pub(crate) fn in_pace<S: Store>(service: &Service<S>, node: &NodeRow) -> Result<(), Refusal> {
    if service.released.take(&node.name, Instant::now()) {
        return Ok(());
    }
    let per_minute = service.config.limits.releases_per_minute_per_node;
    let text = format!("{} asked for more than {per_minute} keys and resources a minute", node.name);
    let mut refusal = Refusal::new(Code::ReleasesTooMany, text);
    refusal.about.retry_after = Some(60_u32.div_ceil(per_minute.max(1)));
    Err(refusal)
}

/// The same grants once more, unless the volume moved on or the pool was edited meanwhile.
async fn again<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    Attested { session: row, verdict, node, pool }: &Attested,
    sealed: &[u8],
) -> Result<Grants, Refusal> {
    if sealed.is_empty() {
        let text = format!("the keys that this session of {} was granted were destroyed", node.name);
        return Err(Refusal::new(Code::GenerationStale, text));
    }
    let plain = service.at_rest.open(&SessionRow::place(&row.nonce), sealed).map_err(Refusal::internal)?;
    let mut grants: Grants = serde_json::from_slice(&plain).map_err(Refusal::internal)?;
    for granted in grants.all_volumes() {
        still_granted(granted, tx.volume(&granted.id).await?)?;
    }
    this_boot(node, verdict.reset_count)?;
    still_allowed(tx, pool, (&node.identity, &row.nonce), verdict).await?;
    grants.time = service.now();
    grants.cluster = cluster(service, pool)?;
    Ok(grants)
}

/// A volume that moved on since it was granted is not granted once more.
fn still_granted(granted: &VolumeGrant, volume: Option<VolumeRow>) -> Result<(), Refusal> {
    let current = volume.as_ref().map(|v| v.record.generation);
    if current != Some(granted.generation) {
        let text = format!(
            "{} is at generation {current:?}, this session's grant at {}",
            granted.id, granted.generation
        );
        return Err(Refusal::new(Code::GenerationStale, text));
    }
    match (&granted.action, volume.map(|v| v.record.state)) {
        (VolumeAction::Format { .. }, Some(VolumeState::Granted)) => Ok(()),
        (VolumeAction::Open { .. }, Some(VolumeState::Ready)) => Ok(()),
        (_, Some(VolumeState::Retired)) => {
            let text = format!("the key of {} was forgotten", granted.id);
            Err(Refusal::new(Code::VolumeRetired, text))
        }
        (_, state) => {
            let text = format!("{} is {state:?}: what this session was granted was used", granted.id);
            Err(Refusal::new(Code::GrantSpent, text))
        }
    }
}

/// A session lives as long as the boot that attested: once a later one has, there is nothing for it.
pub(crate) fn this_boot(node: &NodeRow, reset_count: Option<u32>) -> Result<(), Refusal> {
    let current = node.counters.map(|counters| counters.reset_count);
    if current == reset_count {
        return Ok(());
    }
    let [of, since] = [reset_count, current].map(words);
    let text = format!("the session is of boot {of} of {}, and boot {since} attested since", node.name);
    Err(Refusal::new(Code::SessionExpired, text))
}

fn words(boot: Option<u32>) -> String {
    boot.map_or("?".to_owned(), |n| n.to_string())
}

/// Counts a release of this boot: three with a TPM, one without.
async fn count<T: Tx>(
    tx: &mut T,
    node: &NodeRow,
    verdict: &SessionVerdict,
    now: u64,
) -> Result<NodeRow, Refusal> {
    let Some(reset) = verdict.reset_count else {
        if tx.insert_released_report(&node.identity, now).await? {
            return Ok(NodeRow { releases: 1, ..node.clone() });
        }
        let text = format!("{} had its release: a boot without a TPM has one", node.name);
        return Err(Refusal::new(Code::ReleasesExhausted, text));
    };
    let releases = if node.release_reset == reset { node.releases } else { 0 };
    if releases >= RELEASES_PER_BOOT {
        let text = format!("{} had {releases} sessions with a release in boot {reset}", node.name);
        return Err(Refusal::new(Code::ReleasesExhausted, text));
    }
    Ok(NodeRow { release_reset: reset, releases: releases + 1, ..node.clone() })
}

/// Whether the pool still takes what was attested: it may have been edited between verdict and release. `of` is whose session, and its
/// nonce.
pub(crate) async fn still_allowed<T: Tx>(
    tx: &mut T,
    pool: &Pool,
    of: (&Sha256Digest, &Nonce),
    verdict: &SessionVerdict,
) -> Result<(), Refusal> {
    enrol::still_admitted(pool, verdict.kind, verdict.level)?;
    let image = verdict.image;
    match (verdict.once, verdict.platform) {
        (Some(once), _) => once::spent_by(tx, of.0, of.1, &once).await?,
        (None, None) if !pool.hardware.images().any(|listed| listed == image) => {
            let text = format!("pool {} no longer lists a launch for image {image}", pool.name);
            return Err(Refusal::new(Code::LaunchUnknown, text));
        }
        (None, Some(platform)) if !pool.allows(Pair { platform, image }) => {
            let text = format!("pool {} no longer allows this platform and image together", pool.name);
            return Err(Refusal::new(Code::PairNotAllowed, text));
        }
        _ => {}
    }
    if verdict.judged_by != Some(pool.judged_by()) {
        let text = format!("pool {} demands something else of hardware than when this was judged", pool.name);
        return Err(Refusal::new(Code::SessionExpired, text));
    }
    Ok(())
}

async fn release<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    attested: &Attested,
    id: &str,
) -> Result<Grants, Refusal> {
    let Attested { session: row, verdict, node, pool } = attested;
    this_boot(node, verdict.reset_count)?;
    let now = service.now();
    let counted = count(tx, node, verdict, now).await?;
    once::spend(service, tx, row, node, verdict, id).await?;
    still_allowed(tx, pool, (&node.identity, &row.nonce), verdict).await?;
    let expires = now.saturating_add(service.config.grant_lifetime.seconds());
    let root = match verdict.ephemeral || verdict.layout == Layout::Ephemeral {
        // The identity is nobody's at the next boot, and a volume would be nobody's, too; or the image wants none.
        true => RootGrant::Ephemeral { entropy: random() },
        false => {
            let wish = (root_id(&node.name), verdict.populated_from());
            RootGrant::Volume(volume(service, tx, attested, expires, wish).await?)
        }
    };
    let mut volumes = Vec::new();
    // Where the root goes with the boot, nothing else stays.
    for name in verdict.data.iter().filter(|_| matches!(root, RootGrant::Volume(_))) {
        let wish = (data_id(&node.name, name), DataName::populated_from());
        volumes.push(volume(service, tx, attested, expires, wish).await?);
    }
    let mut certificate = GrantRow {
        csr_digest: verdict.csr,
        ..grant_row(GrantKind::Certificate, row, node, verdict, expires)
    };
    let certificate = issue(service, tx, &mut certificate).await?;
    let grants = Grants {
        version: 1,
        node: node.name.clone(),
        level: node.level,
        time: now,
        root,
        volumes,
        certificate,
        cluster: cluster(service, pool)?,
    };
    tx.update_node(&counted).await?;
    // The pool has the cluster, which is the larger part: two such rows fit into a page then.
    let kept = Grants { cluster: Cluster { server: String::new(), ca: String::new() }, ..grants.clone() };
    let plain = Zeroizing::new(serde_json::to_vec(&kept).map_err(Refusal::internal)?);
    let sealed = service.at_rest.seal(&SessionRow::place(&row.nonce), &plain).map_err(Refusal::internal)?;
    tx.set_session_grants(&row.nonce, &sealed).await?;
    Ok(grants)
}

/// A volume of the attested image: opened where it is ready, else made anew under the next generation. `wanted` is what it is filled
/// from, where it fits the image.
async fn volume<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    Attested { session: row, verdict, node, pool }: &Attested,
    expires: u64,
    (id, wanted): (String, Sha256Digest),
) -> Result<VolumeGrant, Refusal> {
    if id.len() > VOLUME_ID {
        let text = format!("`{id}` is longer than the {VOLUME_ID} characters of a volume's id");
        return Err(Refusal::new(Code::Conflict, text));
    }
    let volume = match tx.volume(&id).await? {
        Some(volume) if volume.identity != node.identity => {
            return Err(Refusal::internal(format!("{id} is another node's than {}", node.name)));
        }
        Some(volume) => volume,
        None => {
            let volume = new_volume(service, node, id)?;
            tx.insert_volume(&volume).await?;
            volume
        }
    };
    let record = &volume.record;
    let unlock_key = match service.unlock_key(&volume).map_err(Refusal::internal)? {
        Some(key) if record.state != VolumeState::Retired => key,
        _ => {
            let text = format!("the key of {} was forgotten", record.id);
            return Err(Refusal::new(Code::VolumeRetired, text));
        }
    };
    if record.state == VolumeState::Ready {
        let (Some(header_digest), Some(populated_from)) = (record.header_digest, record.populated_from)
        else {
            return Err(Refusal::internal(format!("{} is ready and has no digests", record.id)));
        };
        if populated_from != wanted {
            let text = format!(
                "{} was filled from {populated_from}, and a volume of this image, whose layout is {}, from {wanted}",
                record.id, verdict.layout
            );
            return Err(Refusal::new(Code::PopulatedFromOther, text));
        }
        let rotation = match &volume.next {
            None => None,
            Some(next) => {
                let mut grant = GrantRow {
                    volume: Some(record.id.clone()),
                    generation: Some(record.generation.saturating_add(1)),
                    ..grant_row(GrantKind::Rotate, row, node, verdict, expires)
                };
                let grant = issue(service, tx, &mut grant).await?;
                Some(Box::new(rekey::offer(service, &volume, next, grant)?))
            }
        };
        let action = VolumeAction::Open { header_digest, populated_from, rotation };
        return Ok(grant_of(record, record.generation, unlock_key, action));
    }
    let generation = record.generation.saturating_add(1);
    let next = VolumeRow {
        record: VolumeRecord {
            state: VolumeState::Granted,
            generation,
            header_digest: None,
            populated_from: None,
            ..record.clone()
        },
        // Of a format that was cut short: what comes has shares of its own.
        recovery: None,
        ..volume.clone()
    };
    if !tx.swap_volume(volume.version(), &next).await? {
        return Err(Refusal::new(Code::GenerationStale, format!("{} moved on", record.id)));
    }
    let mut grant = GrantRow {
        volume: Some(record.id.clone()),
        generation: Some(generation),
        populated_from: wanted,
        ..grant_row(GrantKind::Format, row, node, verdict, expires)
    };
    let grant = issue(service, tx, &mut grant).await?;
    // What was to be filled with something else was wiped elsewhere.
    let same = record.state == VolumeState::Formatted && record.populated_from == Some(wanted);
    let holders = recovery::record(service, &volume)?.map(|record| record.recovery.holders());
    let begun =
        record.header_digest.filter(|_| same).map(|header_digest| Box::new(Begun { header_digest, holders }));
    let action =
        VolumeAction::Format { entropy: random(), on_foreign_disk: pool.on_foreign_disk, grant, begun };
    Ok(grant_of(record, generation, unlock_key, action))
}

fn grant_of(
    record: &VolumeRecord,
    generation: u64,
    unlock_key: Secret<32>,
    action: VolumeAction,
) -> VolumeGrant {
    VolumeGrant { id: record.id.clone(), uuid: record.uuid.clone(), generation, unlock_key, action }
}

/// The id of a node's root volume.
pub fn root_id(node: &NodeName) -> String {
    format!("{node}/root")
}

/// The id of a node's volume for data.
pub fn data_id(node: &NodeName, name: &DataName) -> String {
    format!("{node}/data/{name}")
}

/// A volume with a key of its own, never granted.
pub fn new_volume<S>(service: &Service<S>, node: &NodeRow, id: String) -> Result<VolumeRow, Refusal> {
    let place = VolumeRow::place(&node.identity, &id);
    let sealed = service.at_rest.seal(&place, random().expose()).map_err(Refusal::internal)?;
    let record = VolumeRecord {
        id,
        uuid: uuid::Uuid::new_v4().to_string(),
        state: VolumeState::None,
        generation: 0,
        header_digest: None,
        populated_from: None,
        rotation: None,
    };
    Ok(VolumeRow { identity: node.identity, record, unlock_key: Some(sealed), next: None, recovery: None })
}

fn grant_row(
    kind: GrantKind,
    session: &SessionRow,
    node: &NodeRow,
    verdict: &SessionVerdict,
    expires: u64,
) -> GrantRow {
    GrantRow {
        // Of this moment, so that it lies beside others in the index; what is secret is the secret.
        id: uuid::Uuid::now_v7().simple().to_string(),
        kind,
        secret_hash: Sha256Digest::ZERO,
        identity: node.identity,
        session: Some(session.nonce),
        volume: None,
        generation: None,
        populated_from: verdict.populated_from(),
        csr_digest: None,
        expires,
        certificate: None,
    }
}

/// Gives a grant its secret; the row keeps only the hash.
async fn issue<S: Store>(service: &Service<S>, tx: &mut S::Tx, row: &mut GrantRow) -> Result<Grant, Refusal> {
    let secret = random();
    row.secret_hash = secret_hash(&secret);
    service.admitted.admit(row.secret_hash);
    tx.insert_grant(row).await?;
    Ok(Grant { id: row.id.clone(), secret, expires: row.expires })
}
