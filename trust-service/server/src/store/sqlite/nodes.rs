//! Nodes, their volumes, sessions and grants.

use super::columns::{Cols, Columns as _, json_or_null, number, word, word_or_null};
use super::query::query;
use super::{EvidenceRow, GrantRow, NextKey, NodeRow, Result, SessionRow, VolumeRow, VolumeVersion};
use ccnode_evidence::{EvidenceKind, Nonce, Sha256Digest};
use ccnode_protocol::admin::{NodeFilter, VolumeRecord};
use ccnode_protocol::{NodeName, PoolName};
use rusqlite::Connection;

const DAY: u64 = 24 * 3600;

fn node_row(row: &Cols<'_, '_>) -> Result<NodeRow> {
    Ok(NodeRow {
        identity: row.parse("identity")?,
        name: row.parse("name")?,
        pool: row.parse("pool")?,
        state: row.parse("state")?,
        reason: row.text_or_null("reason")?,
        level: row.parse_or_null("level")?,
        ak_name: row.text("ak_name")?,
        counters: row.json_or_null("counters")?,
        seen: row.json_or_null("seen")?,
        platform: row.parse_or_null("platform")?,
        image: row.parse_or_null("image")?,
        release_reset: row.number("release_reset")?,
        releases: row.number("releases")?,
        created: row.number("created")?,
        attested: row.number_or_null("attested")?,
        kind: row.parse_or_null("kind")?,
        hardware: row.json_or_null("hardware")?,
        expires: row.number_or_null("expires")?,
    })
}

pub(super) fn nodes(db: &Connection, filter: &NodeFilter) -> Result<Vec<NodeRow>> {
    let text =
        "SELECT * FROM nodes WHERE (?1 IS NULL OR pool = ?1) AND (?2 IS NULL OR state = ?2) ORDER BY name";
    query(text)
        .bind(word_or_null("pool", &filter.pool)?)
        .bind(word_or_null("state", &filter.state)?)
        .all(db, node_row)
}

pub(super) fn node(db: &Connection, identity: &Sha256Digest) -> Result<Option<NodeRow>> {
    query("SELECT * FROM nodes WHERE identity = ?").bind(identity.hex()).first(db, node_row)
}

pub(super) fn node_called(db: &Connection, identity: &Sha256Digest) -> Result<Option<(NodeName, PoolName)>> {
    let read = |row: &Cols<'_, '_>| Ok((row.parse("name")?, row.parse("pool")?));
    query("SELECT name, pool FROM nodes WHERE identity = ?").bind(identity.hex()).first(db, read)
}

pub(super) fn node_named(db: &Connection, name: &NodeName) -> Result<Option<NodeRow>> {
    query("SELECT * FROM nodes WHERE name = ?").bind(name.as_str()).first(db, node_row)
}

pub(super) fn insert_node(db: &Connection, row: &NodeRow) -> Result<bool> {
    write_node(
        db,
        "INSERT INTO nodes (identity, name, pool, state, reason, level, ak_name, counters, seen, platform, image,
            release_reset, releases, created, attested, kind, hardware, expires)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        row,
    )
}

pub(super) fn update_node(db: &Connection, row: &NodeRow) -> Result<bool> {
    // What is indexed seldom changes, and its indexes would be written whenever it is named after SET.
    let usual = "UPDATE nodes SET state = ?4, reason = ?5, level = ?6, ak_name = ?7, counters = ?8, seen = ?9,
            platform = ?10, image = ?11, release_reset = ?12, releases = ?13, created = ?14, attested = ?15, kind = ?16,
            hardware = ?17
        WHERE identity = ?1 AND name = ?2 AND pool = ?3 AND expires IS ?18";
    if write_node(db, usual, row)? {
        return Ok(true);
    }
    let whole = "UPDATE nodes SET name = ?2, pool = ?3, state = ?4, reason = ?5, level = ?6, ak_name = ?7, counters = ?8,
            seen = ?9, platform = ?10, image = ?11, release_reset = ?12, releases = ?13, created = ?14, attested = ?15,
            kind = ?16, hardware = ?17, expires = ?18
        WHERE identity = ?1";
    write_node(db, whole, row)
}

fn write_node(db: &Connection, text: &'static str, row: &NodeRow) -> Result<bool> {
    query(text)
        .bind(row.identity.hex())
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
        .one(db)
}

pub(super) fn delete_node(db: &Connection, identity: &Sha256Digest) -> Result<bool> {
    query("DELETE FROM nodes WHERE identity = ?").bind(identity.hex()).one(db)
}

pub(super) fn last_evidence(db: &Connection, identity: &Sha256Digest) -> Result<Option<EvidenceRow>> {
    let text =
        "SELECT e.record, l.digest AS log_digest, l.log, k.digest AS keys_digest, k.keys FROM last_evidence e
        LEFT JOIN evidence_logs l ON l.digest = e.log LEFT JOIN evidence_keys k ON k.digest = e.keys
        WHERE e.identity = ?";
    let read = |row: &Cols<'_, '_>| {
        Ok(EvidenceRow {
            record: row.text("record")?,
            log: row.parse_or_null("log_digest")?.zip(row.text_or_null("log")?),
            keys: row.parse_or_null("keys_digest")?.zip(row.text_or_null("keys")?),
        })
    };
    query(text).bind(identity.hex()).first(db, read)
}

pub(super) fn set_last_evidence(db: &Connection, identity: &Sha256Digest, row: &EvidenceRow) -> Result<bool> {
    let digest = |part: &Option<(Sha256Digest, String)>| part.as_ref().map(|(digest, _)| digest.hex());
    let (log, keys) = (digest(&row.log), digest(&row.keys));
    // Nearly always both are those of the boot before, and stay where they are.
    let text = "UPDATE last_evidence SET record = ? WHERE identity = ? AND log IS ? AND keys IS ?";
    if query(text).bind(&row.record).bind(identity.hex()).bind(&log).bind(&keys).one(db)? {
        return Ok(true);
    }
    let log_text = "INSERT INTO evidence_logs (digest, log) VALUES (?, ?) ON CONFLICT DO NOTHING";
    let keys_text = "INSERT INTO evidence_keys (digest, keys) VALUES (?, ?) ON CONFLICT DO NOTHING";
    for (text, part) in [(log_text, &row.log), (keys_text, &row.keys)] {
        if let Some((digest, part)) = part {
            query(text).bind(digest.hex()).bind(part).run(db)?;
        }
    }
    let text = "INSERT INTO last_evidence (identity, record, log, keys) VALUES (?, ?, ?, ?)
        ON CONFLICT (identity) DO UPDATE SET record = excluded.record, log = excluded.log, keys = excluded.keys";
    query(text).bind(identity.hex()).bind(&row.record).bind(log).bind(keys).one(db)
}

pub(super) fn report_released(db: &Connection, identity: &Sha256Digest) -> Result<bool> {
    let text = "SELECT 1 FROM released_reports WHERE identity = ?";
    Ok(query(text).bind(identity.hex()).first(db, |_| Ok(()))?.is_some())
}

pub(super) fn insert_released_report(db: &Connection, identity: &Sha256Digest, now: u64) -> Result<bool> {
    let text = "INSERT INTO released_reports (identity, time) VALUES (?, ?) ON CONFLICT DO NOTHING";
    query(text).bind(identity.hex()).bind(number("time", now)?).one(db)
}

fn volume_row(row: &Cols<'_, '_>) -> Result<VolumeRow> {
    Ok(VolumeRow {
        identity: row.parse("identity")?,
        record: VolumeRecord {
            id: row.text("id")?,
            uuid: row.text("uuid")?,
            state: row.parse("state")?,
            generation: row.number("generation")?,
            header_digest: row.parse_or_null("header_digest")?,
            populated_from: row.parse_or_null("populated_from")?,
            rotation: None,
        },
        unlock_key: row.bytes_or_null("unlock_key")?,
        next: match row.bytes_or_null("next_key")? {
            Some(key) => Some(NextKey { key, digest: row.parse_or_null("next_digest")? }),
            None => None,
        },
        recovery: row.bytes_or_null("recovery")?,
    })
}

pub(super) fn volumes(db: &Connection, identity: &Sha256Digest) -> Result<Vec<VolumeRow>> {
    query("SELECT * FROM volumes WHERE identity = ? ORDER BY id").bind(identity.hex()).all(db, volume_row)
}

pub(super) fn volume(db: &Connection, id: &str) -> Result<Option<VolumeRow>> {
    query("SELECT * FROM volumes WHERE id = ?").bind(id).first(db, volume_row)
}

pub(super) fn insert_volume(db: &Connection, row: &VolumeRow) -> Result<bool> {
    let text = "INSERT INTO volumes (id, identity, uuid, state, generation, header_digest, populated_from, unlock_key,
            next_key, next_digest, recovery)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    query(text)
        .bind(&row.record.id)
        .bind(row.identity.hex())
        .bind(&row.record.uuid)
        .bind(word("state", &row.record.state)?)
        .bind(number("generation", row.record.generation)?)
        .bind(word_or_null("header_digest", &row.record.header_digest)?)
        .bind(word_or_null("populated_from", &row.record.populated_from)?)
        .bind(&row.unlock_key)
        .bind(row.next.as_ref().map(|next| next.key.as_slice()))
        .bind(word_or_null("next_digest", &row.next.as_ref().and_then(|next| next.digest))?)
        .bind(&row.recovery)
        .one(db)
}

pub(super) fn swap_volume(db: &Connection, from: VolumeVersion, row: &VolumeRow) -> Result<bool> {
    let text =
        "UPDATE volumes SET uuid = ?, state = ?, generation = ?, header_digest = ?, populated_from = ?,
            unlock_key = ?, next_key = ?, next_digest = ?, recovery = ?
        WHERE id = ? AND state = ? AND generation = ? AND next_digest IS ?";
    query(text)
        .bind(&row.record.uuid)
        .bind(word("state", &row.record.state)?)
        .bind(number("generation", row.record.generation)?)
        .bind(word_or_null("header_digest", &row.record.header_digest)?)
        .bind(word_or_null("populated_from", &row.record.populated_from)?)
        .bind(&row.unlock_key)
        .bind(row.next.as_ref().map(|next| next.key.as_slice()))
        .bind(word_or_null("next_digest", &row.next.as_ref().and_then(|next| next.digest))?)
        .bind(&row.recovery)
        .bind(&row.record.id)
        .bind(word("state", &from.0)?)
        .bind(number("generation", from.1)?)
        .bind(word_or_null("next_digest", &from.2)?)
        .one(db)
}

pub(super) fn move_volume(db: &Connection, from: &Sha256Digest, row: &VolumeRow) -> Result<bool> {
    let (state, generation, digest) = row.version();
    let text = "UPDATE volumes SET identity = ?, unlock_key = ?, next_key = ?, recovery = ?
        WHERE id = ? AND identity = ? AND state = ? AND generation = ? AND next_digest IS ?";
    query(text)
        .bind(row.identity.hex())
        .bind(&row.unlock_key)
        .bind(row.next.as_ref().map(|next| next.key.as_slice()))
        .bind(&row.recovery)
        .bind(&row.record.id)
        .bind(from.hex())
        .bind(word("state", &state)?)
        .bind(number("generation", generation)?)
        .bind(word_or_null("next_digest", &digest)?)
        .one(db)
}

pub(super) fn insert_session(db: &Connection, row: &SessionRow) -> Result<bool> {
    let text =
        "INSERT INTO sessions (nonce, identity, expires, verdict, stock, grants) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING";
    query(text)
        .bind(row.nonce.text())
        .bind(row.identity.hex())
        .bind(number("expires", row.expires)?)
        .bind(json_or_null("verdict", &row.verdict)?)
        .bind(json_or_null("stock", &row.stock)?)
        .bind(&row.grants)
        .one(db)
}

pub(super) fn session(db: &Connection, nonce: &Nonce) -> Result<Option<SessionRow>> {
    let read = |row: &Cols<'_, '_>| {
        Ok(SessionRow {
            nonce: *nonce,
            identity: row.parse("identity")?,
            expires: row.number("expires")?,
            verdict: row.json_or_null("verdict")?,
            stock: row.json_or_null("stock")?,
            grants: row.bytes_or_null("grants")?,
        })
    };
    query("SELECT * FROM sessions WHERE nonce = ?").bind(nonce.text()).first(db, read)
}

pub(super) fn set_session_grants(db: &Connection, nonce: &Nonce, grants: &[u8]) -> Result<bool> {
    query("UPDATE sessions SET grants = ? WHERE nonce = ?").bind(grants).bind(nonce.text()).one(db)
}

pub(super) fn forget_session_grants(db: &Connection, identity: &Sha256Digest) -> Result<u64> {
    let text =
        "UPDATE sessions SET grants = x'' WHERE identity = ? AND grants IS NOT NULL AND length(grants) > 0";
    Ok(query(text).bind(identity.hex()).run(db)? as u64)
}

fn grant_row(row: &Cols<'_, '_>) -> Result<GrantRow> {
    Ok(GrantRow {
        id: row.text("id")?,
        kind: row.parse("kind")?,
        secret_hash: row.parse("secret_hash")?,
        identity: row.parse("identity")?,
        session: row.parse_or_null("session")?,
        volume: row.text_or_null("volume")?,
        generation: row.number_or_null("generation")?,
        populated_from: row.parse("verity_hash")?,
        csr_digest: row.parse_or_null("csr_digest")?,
        expires: row.number("expires")?,
        certificate: row.text_or_null("certificate")?,
    })
}

pub(super) fn grant(db: &Connection, id: &str) -> Result<Option<GrantRow>> {
    query("SELECT * FROM grants WHERE id = ?").bind(id).first(db, grant_row)
}

pub(super) fn insert_grant(db: &Connection, row: &GrantRow) -> Result<bool> {
    let text =
        "INSERT INTO grants (id, kind, secret_hash, identity, volume, generation, verity_hash, csr_digest,
            expires, certificate, session)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    query(text)
        .bind(&row.id)
        .bind(word("kind", &row.kind)?)
        .bind(row.secret_hash.hex())
        .bind(row.identity.hex())
        .bind(&row.volume)
        .bind(row.generation.map(|g| number("generation", g)).transpose()?)
        .bind(row.populated_from.hex())
        .bind(word_or_null("csr_digest", &row.csr_digest)?)
        .bind(number("expires", row.expires)?)
        .bind(&row.certificate)
        .bind(row.session.map(|nonce| nonce.text()))
        .one(db)
}

pub(super) fn set_grant_certificate(db: &Connection, id: &str, pem: &str) -> Result<bool> {
    query("UPDATE grants SET certificate = ? WHERE id = ? AND certificate IS NULL").bind(pem).bind(id).one(db)
}

pub(super) fn purge(db: &Connection, now: u64, grants_last: u64) -> Result<()> {
    let old = now.saturating_sub(DAY);
    query("DELETE FROM grants WHERE expires < ?").bind(number("expires", old)?).run(db)?;
    let old = number("expires", old.saturating_sub(grants_last))?;
    query("DELETE FROM sessions WHERE expires < ?").bind(old).run(db)?;
    Ok(())
}

pub(super) fn purge_nodes(db: &Connection, now: u64) -> Result<()> {
    query("DELETE FROM nodes WHERE expires < ?").bind(number("expires", now)?).run(db)?;
    Ok(())
}
