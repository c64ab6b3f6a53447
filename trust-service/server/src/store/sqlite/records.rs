//! Refusals with their evidence, and the audit log.

use super::columns::{Cols, Columns as _, json, json_or_null, number, word, word_or_null};
use super::query::query;
use super::{RefusalRow, Result};
use crate::config::Keep;
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::admin::{AuditFilter, AuditRow, RefusalFilter, RefusalRecord};
use ccnode_protocol::{NodeName, PoolName};
use rusqlite::Connection;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(LIMIT).min(LIMIT_MAX)
}

fn refusal_row(row: &Cols<'_, '_>) -> Result<RefusalRow> {
    Ok(RefusalRow {
        record: RefusalRecord {
            id: row.number("id")?,
            time: row.number("time")?,
            by: row.parse("refused_by")?,
            node: row.parse_or_null("node")?,
            pool: row.parse_or_null("pool")?,
            code: row.parse("code")?,
            detail: row.text("detail")?,
            pcr: row.number_or_null("pcr")?,
            event: row.text_or_null("event")?,
            closest: row.text_or_null("closest")?,
            differences: row.json("differences")?,
            image: row.parse_or_null("image")?,
            platform: row.parse_or_null("platform")?,
            correlation_id: row.text("correlation_id")?,
            has_evidence: row.number::<i64>("has_evidence")? != 0,
            kept: row.json_or_null("kept")?,
        },
        proven: row.number::<i64>("proven")? != 0,
        machine: row.json_or_null("machine")?,
    })
}

pub(super) fn refusals(db: &Connection, filter: &RefusalFilter) -> Result<Vec<RefusalRow>> {
    let text = "SELECT r.*, e.refusal IS NOT NULL AS has_evidence, NULL AS kept
        FROM refusals r LEFT JOIN evidence e ON e.refusal = r.id
        WHERE (?1 IS NULL OR r.pool = ?1) AND (?2 IS NULL OR r.node = ?2)
        AND (?3 IS NULL OR r.correlation_id = ?3) ORDER BY r.id DESC LIMIT ?4";
    let short = |row: &Cols<'_, '_>| {
        let mut row = refusal_row(row)?;
        row.record.differences.clear();
        Ok(row)
    };
    query(text)
        .bind(word_or_null("pool", &filter.pool)?)
        .bind(word_or_null("node", &filter.node)?)
        .bind(&filter.correlation_id)
        .bind(limit(filter.limit))
        .all(db, short)
}

pub(super) fn refusal(db: &Connection, id: u64) -> Result<Option<RefusalRow>> {
    let text = "SELECT r.*, e.refusal IS NOT NULL AS has_evidence, e.kept
        FROM refusals r LEFT JOIN evidence e ON e.refusal = r.id WHERE r.id = ?";
    query(text).bind(number("id", id)?).first(db, refusal_row)
}

pub(super) fn insert_refusal(db: &Connection, row: &RefusalRow) -> Result<u64> {
    let text = "INSERT INTO refusals (time, refused_by, node, pool, code, detail, pcr, event, closest, differences, image,
            platform, correlation_id, proven, machine)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let record = &row.record;
    query(text)
        .bind(number("time", record.time)?)
        .bind(word("refused_by", &record.by)?)
        .bind(word_or_null("node", &record.node)?)
        .bind(word_or_null("pool", &record.pool)?)
        .bind(word("code", &record.code)?)
        .bind(&record.detail)
        .bind(record.pcr)
        .bind(&record.event)
        .bind(&record.closest)
        .bind(json("differences", &record.differences)?)
        .bind(word_or_null("image", &record.image)?)
        .bind(word_or_null("platform", &record.platform)?)
        .bind(&record.correlation_id)
        .bind(row.proven)
        .bind(json_or_null("machine", &row.machine)?)
        .run(db)?;
    let id = db.last_insert_rowid();
    if let Some(kept) = &record.kept {
        query("INSERT INTO evidence (refusal, pool, kept) VALUES (?, ?, ?)")
            .bind(id)
            .bind(word_or_null("pool", &record.pool)?)
            .bind(json("kept", kept)?)
            .run(db)?;
    }
    Ok(id.unsigned_abs())
}

pub(super) fn trim_refusals(
    db: &Connection,
    pool: Option<&PoolName>,
    node: Option<&NodeName>,
    keep: &Keep,
) -> Result<()> {
    let (pool, node) = (pool.map(PoolName::as_str), node.map(NodeName::as_str));
    let text =
        "DELETE FROM refusals WHERE pool IS ?1 AND node IS ?2 AND proven AND id <= (SELECT id FROM refusals
        WHERE pool IS ?1 AND node IS ?2 AND proven ORDER BY id DESC LIMIT 1 OFFSET ?3)";
    query(text).bind(pool).bind(node).bind(keep.refusals_per_node).run(db)?;
    let text = "DELETE FROM evidence WHERE refusal IN (SELECT r.id FROM refusals r JOIN evidence e ON e.refusal = r.id
        WHERE r.pool IS ?1 AND r.node IS ?2 ORDER BY r.id DESC LIMIT -1 OFFSET ?3)";
    query(text).bind(pool).bind(node).bind(keep.evidence_per_node).run(db)?;
    for (class, keep) in [(true, keep.refusals), (false, keep.unproven)] {
        let text = "DELETE FROM refusals WHERE pool IS ?1 AND proven = ?2 AND id <= (SELECT id FROM refusals
            WHERE pool IS ?1 AND proven = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)";
        query(text).bind(pool).bind(class).bind(keep).run(db)?;
    }
    let text = "DELETE FROM evidence WHERE pool IS ?1 AND refusal <= (SELECT refusal FROM evidence
        WHERE pool IS ?1 ORDER BY refusal DESC LIMIT 1 OFFSET ?2)";
    query(text).bind(pool).bind(keep.evidence).run(db)?;
    Ok(())
}

fn audit_row(row: &Cols<'_, '_>) -> Result<AuditRow> {
    Ok(AuditRow {
        seq: row.number("seq")?,
        time: row.number("time")?,
        actor: row.text("actor")?,
        action: row.text("action")?,
        object: row.text("object")?,
        detail: row.json("detail")?,
        correlation_id: row.text("correlation_id")?,
        prev: row.parse("prev")?,
        hash: row.parse("hash")?,
    })
}

pub(super) fn audit_end(db: &Connection) -> Result<Option<(u64, Sha256Digest)>> {
    let read = |row: &Cols<'_, '_>| Ok((row.number("seq")?, row.parse("hash")?));
    query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").first(db, read)
}

pub(super) fn insert_audit(db: &Connection, row: &AuditRow) -> Result<bool> {
    let text = "INSERT INTO audit (seq, time, actor, action, object, detail, correlation_id, prev, hash)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    query(text)
        .bind(number("seq", row.seq)?)
        .bind(number("time", row.time)?)
        .bind(&row.actor)
        .bind(&row.action)
        .bind(&row.object)
        .bind(json("detail", &row.detail)?)
        .bind(&row.correlation_id)
        .bind(row.prev.hex())
        .bind(row.hash.hex())
        .one(db)
}

pub(super) fn audit(db: &Connection, filter: &AuditFilter) -> Result<Vec<AuditRow>> {
    let text = "SELECT * FROM audit WHERE ?1 IS NULL OR seq < ?1 ORDER BY seq DESC LIMIT ?2";
    let before = filter.before.map(|seq| number("seq", seq)).transpose()?;
    query(text).bind(before).bind(limit(filter.limit)).all(db, audit_row)
}

pub(super) fn audit_from(db: &Connection, seq: u64) -> Result<Vec<AuditRow>> {
    let text = "SELECT * FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?";
    query(text).bind(number("seq", seq)?).bind(LIMIT_MAX).all(db, audit_row)
}
