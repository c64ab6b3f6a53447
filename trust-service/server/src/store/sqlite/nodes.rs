//! Nodes, their volumes, sessions and grants.

use super::columns::{Columns as _, json_or_null, number, one, sql, word, word_or_null};
use super::{GrantRow, NodeRow, Result, SessionRow, VolumeRow};
use ccnode_evidence::{EvidenceKind, Nonce, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{NodeFilter, VolumeRecord, VolumeState};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

const DAY: u64 = 24 * 3600;

fn node_row(row: &SqliteRow) -> Result<NodeRow> {
    Ok(NodeRow {
        identity: row.parse("identity")?,
        name: row.parse("name")?,
        pool: row.parse("pool")?,
        state: row.parse("state")?,
        reason: row.text_or_null("reason")?,
        level: row.parse_or_null("level")?,
        kind: row.parse_or_null("kind")?,
        hardware: row.json_or_null("hardware")?,
        ak_name: row.text("ak_name")?,
        counters: row.json_or_null("counters")?,
        seen: row.json_or_null("seen")?,
        platform: row.parse_or_null("platform")?,
        image: row.parse_or_null("image")?,
        release_reset: row.number("release_reset")?,
        releases: row.number("releases")?,
        created: row.number("created")?,
        attested: row.number_or_null("attested")?,
        expires: row.number_or_null("expires")?,
    })
}

pub(super) async fn nodes(db: &mut SqliteConnection, filter: &NodeFilter) -> Result<Vec<NodeRow>> {
    let query =
        "SELECT * FROM nodes WHERE (?1 IS NULL OR pool = ?1) AND (?2 IS NULL OR state = ?2) ORDER BY name";
    let rows = sqlx::query(query)
        .bind(word_or_null("pool", &filter.pool)?)
        .bind(word_or_null("state", &filter.state)?)
        .fetch_all(db)
        .await
        .map_err(sql)?;
    rows.iter().map(node_row).collect()
}

pub(super) async fn node(db: &mut SqliteConnection, identity: &Sha256Digest) -> Result<Option<NodeRow>> {
    let query = sqlx::query("SELECT * FROM nodes WHERE identity = ?").bind(identity.hex());
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(node_row).transpose()
}

pub(super) async fn node_named(db: &mut SqliteConnection, name: &NodeName) -> Result<Option<NodeRow>> {
    let query = sqlx::query("SELECT * FROM nodes WHERE name = ?").bind(name.as_str());
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(node_row).transpose()
}

pub(super) async fn insert_node(db: &mut SqliteConnection, row: &NodeRow) -> Result<bool> {
    write_node(
        db,
        "INSERT INTO nodes (name, pool, state, reason, level, ak_name, counters, seen, platform, image,
            release_reset, releases, created, attested, kind, hardware, expires, identity)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        row,
    )
    .await
}

pub(super) async fn update_node(db: &mut SqliteConnection, row: &NodeRow) -> Result<bool> {
    write_node(
        db,
        "UPDATE nodes SET name = ?, pool = ?, state = ?, reason = ?, level = ?, ak_name = ?, counters = ?, seen = ?,
            platform = ?, image = ?, release_reset = ?, releases = ?, created = ?, attested = ?, kind = ?, hardware = ?,
            expires = ?
        WHERE identity = ?",
        row,
    )
    .await
}

async fn write_node(db: &mut SqliteConnection, query: &'static str, row: &NodeRow) -> Result<bool> {
    one(sqlx::query(query)
        .bind(row.name.as_str())
        .bind(row.pool.as_str())
        .bind(word("state", &row.state)?)
        .bind(&row.reason)
        .bind(word_or_null("level", &row.level)?)
        .bind(&row.ak_name)
        .bind(json_or_null("counters", &row.counters)?)
        .bind(json_or_null("seen", &row.seen)?)
        .bind(word_or_null("platform", &row.platform)?)
        .bind(word_or_null("image", &row.image)?)
        .bind(row.release_reset)
        .bind(row.releases)
        .bind(number("created", row.created)?)
        .bind(row.attested.map(|t| number("attested", t)).transpose()?)
        .bind(row.kind.map(EvidenceKind::as_str))
        .bind(json_or_null("hardware", &row.hardware)?)
        .bind(row.expires.map(|t| number("expires", t)).transpose()?)
        .bind(row.identity.hex())
        .execute(db)
        .await)
}

pub(super) async fn delete_node(db: &mut SqliteConnection, identity: &Sha256Digest) -> Result<bool> {
    one(sqlx::query("DELETE FROM nodes WHERE identity = ?").bind(identity.hex()).execute(db).await)
}

pub(super) async fn last_evidence(
    db: &mut SqliteConnection,
    identity: &Sha256Digest,
) -> Result<Option<String>> {
    let query = sqlx::query("SELECT record FROM last_evidence WHERE identity = ?").bind(identity.hex());
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(|row| row.text("record")).transpose()
}

pub(super) async fn set_last_evidence(
    db: &mut SqliteConnection,
    identity: &Sha256Digest,
    record: &str,
) -> Result<bool> {
    let query = "INSERT INTO last_evidence (identity, record) VALUES (?, ?)
        ON CONFLICT (identity) DO UPDATE SET record = excluded.record";
    one(sqlx::query(query).bind(identity.hex()).bind(record).execute(db).await)
}

pub(super) async fn report_released(db: &mut SqliteConnection, identity: &Sha256Digest) -> Result<bool> {
    let query = sqlx::query("SELECT 1 FROM released_reports WHERE identity = ?").bind(identity.hex());
    Ok(query.fetch_optional(db).await.map_err(sql)?.is_some())
}

pub(super) async fn insert_released_report(
    db: &mut SqliteConnection,
    identity: &Sha256Digest,
    now: u64,
) -> Result<bool> {
    let query = "INSERT INTO released_reports (identity, time) VALUES (?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query).bind(identity.hex()).bind(number("time", now)?).execute(db).await)
}

fn volume_row(row: &SqliteRow) -> Result<VolumeRow> {
    Ok(VolumeRow {
        identity: row.parse("identity")?,
        record: VolumeRecord {
            id: row.text("id")?,
            uuid: row.text("uuid")?,
            state: row.parse("state")?,
            generation: row.number("generation")?,
            header_digest: row.parse_or_null("header_digest")?,
            populated_from: row.parse_or_null("populated_from")?,
        },
        unlock_key: row.bytes_or_null("unlock_key")?,
    })
}

pub(super) async fn volumes(db: &mut SqliteConnection, identity: &Sha256Digest) -> Result<Vec<VolumeRow>> {
    let query = sqlx::query("SELECT * FROM volumes WHERE identity = ? ORDER BY id").bind(identity.hex());
    query.fetch_all(db).await.map_err(sql)?.iter().map(volume_row).collect()
}

pub(super) async fn volume(db: &mut SqliteConnection, id: &str) -> Result<Option<VolumeRow>> {
    let query = sqlx::query("SELECT * FROM volumes WHERE id = ?").bind(id);
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(volume_row).transpose()
}

pub(super) async fn insert_volume(db: &mut SqliteConnection, row: &VolumeRow) -> Result<bool> {
    let query = "INSERT INTO volumes (id, identity, uuid, state, generation, header_digest, populated_from, unlock_key)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query)
        .bind(&row.record.id)
        .bind(row.identity.hex())
        .bind(&row.record.uuid)
        .bind(word("state", &row.record.state)?)
        .bind(number("generation", row.record.generation)?)
        .bind(word_or_null("header_digest", &row.record.header_digest)?)
        .bind(word_or_null("populated_from", &row.record.populated_from)?)
        .bind(&row.unlock_key)
        .execute(db)
        .await)
}

pub(super) async fn swap_volume(
    db: &mut SqliteConnection,
    from: (VolumeState, u64),
    row: &VolumeRow,
) -> Result<bool> {
    let query =
        "UPDATE volumes SET uuid = ?, state = ?, generation = ?, header_digest = ?, populated_from = ?,
            unlock_key = ?
        WHERE id = ? AND state = ? AND generation = ?";
    one(sqlx::query(query)
        .bind(&row.record.uuid)
        .bind(word("state", &row.record.state)?)
        .bind(number("generation", row.record.generation)?)
        .bind(word_or_null("header_digest", &row.record.header_digest)?)
        .bind(word_or_null("populated_from", &row.record.populated_from)?)
        .bind(&row.unlock_key)
        .bind(&row.record.id)
        .bind(word("state", &from.0)?)
        .bind(number("generation", from.1)?)
        .execute(db)
        .await)
}

pub(super) async fn insert_session(db: &mut SqliteConnection, row: &SessionRow) -> Result<bool> {
    let query =
        "INSERT INTO sessions (nonce, identity, expires, verdict, stock, grants) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING";
    one(sqlx::query(query)
        .bind(row.nonce.text())
        .bind(row.identity.hex())
        .bind(number("expires", row.expires)?)
        .bind(json_or_null("verdict", &row.verdict)?)
        .bind(json_or_null("stock", &row.stock)?)
        .bind(&row.grants)
        .execute(db)
        .await)
}

pub(super) async fn session(db: &mut SqliteConnection, nonce: &Nonce) -> Result<Option<SessionRow>> {
    let query = sqlx::query("SELECT * FROM sessions WHERE nonce = ?").bind(nonce.text());
    let row = query.fetch_optional(db).await.map_err(sql)?;
    let session = |row: SqliteRow| {
        Ok(SessionRow {
            nonce: *nonce,
            identity: row.parse("identity")?,
            expires: row.number("expires")?,
            verdict: row.json_or_null("verdict")?,
            stock: row.json_or_null("stock")?,
            grants: row.bytes_or_null("grants")?,
        })
    };
    row.map(session).transpose()
}

pub(super) async fn set_session_grants(
    db: &mut SqliteConnection,
    nonce: &Nonce,
    grants: &[u8],
) -> Result<bool> {
    let query = sqlx::query("UPDATE sessions SET grants = ? WHERE nonce = ?");
    one(query.bind(grants).bind(nonce.text()).execute(db).await)
}

fn grant_row(row: &SqliteRow) -> Result<GrantRow> {
    Ok(GrantRow {
        id: row.text("id")?,
        kind: row.parse("kind")?,
        secret_hash: row.parse("secret_hash")?,
        identity: row.parse("identity")?,
        volume: row.text_or_null("volume")?,
        generation: row.number_or_null("generation")?,
        verity_hash: row.parse("verity_hash")?,
        csr_digest: row.parse_or_null("csr_digest")?,
        expires: row.number("expires")?,
        certificate: row.text_or_null("certificate")?,
    })
}

pub(super) async fn grant(db: &mut SqliteConnection, id: &str) -> Result<Option<GrantRow>> {
    let query = sqlx::query("SELECT * FROM grants WHERE id = ?").bind(id);
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(grant_row).transpose()
}

pub(super) async fn insert_grant(db: &mut SqliteConnection, row: &GrantRow) -> Result<bool> {
    let query =
        "INSERT INTO grants (id, kind, secret_hash, identity, volume, generation, verity_hash, csr_digest,
            expires, certificate)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query)
        .bind(&row.id)
        .bind(word("kind", &row.kind)?)
        .bind(row.secret_hash.hex())
        .bind(row.identity.hex())
        .bind(&row.volume)
        .bind(row.generation.map(|g| number("generation", g)).transpose()?)
        .bind(row.verity_hash.hex())
        .bind(word_or_null("csr_digest", &row.csr_digest)?)
        .bind(number("expires", row.expires)?)
        .bind(&row.certificate)
        .execute(db)
        .await)
}

pub(super) async fn set_grant_certificate(db: &mut SqliteConnection, id: &str, pem: &str) -> Result<bool> {
    let query = sqlx::query("UPDATE grants SET certificate = ? WHERE id = ? AND certificate IS NULL");
    one(query.bind(pem).bind(id).execute(db).await)
}

pub(super) async fn purge(db: &mut SqliteConnection, now: u64) -> Result<()> {
    let old = number("expires", now.saturating_sub(DAY))?;
    let sessions = sqlx::query("DELETE FROM sessions WHERE expires < ?").bind(old);
    sessions.execute(&mut *db).await.map_err(sql)?;
    let grants = sqlx::query("DELETE FROM grants WHERE expires < ?").bind(old);
    grants.execute(&mut *db).await.map_err(sql)?;
    let nodes = sqlx::query("DELETE FROM nodes WHERE expires < ?").bind(number("expires", now)?);
    nodes.execute(db).await.map_err(sql)?;
    Ok(())
}
