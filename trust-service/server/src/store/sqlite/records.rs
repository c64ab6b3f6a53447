//! Refusals with their evidence, and the audit log.

use super::columns::{Columns as _, json, number, one, sql, word, word_or_null};
use super::{RefusalRow, Result};
use crate::config::Keep;
use ccnode_protocol::admin::{AuditFilter, AuditRow, RefusalFilter, RefusalRecord};
use ccnode_protocol::{NodeName, PoolName};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(LIMIT).min(LIMIT_MAX)
}

fn refusal_row(row: &SqliteRow) -> Result<RefusalRow> {
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
    })
}

pub(super) async fn refusals(db: &mut SqliteConnection, filter: &RefusalFilter) -> Result<Vec<RefusalRow>> {
    let query = "SELECT r.*, e.refusal IS NOT NULL AS has_evidence, NULL AS kept
        FROM refusals r LEFT JOIN evidence e ON e.refusal = r.id
        WHERE (?1 IS NULL OR r.pool = ?1) AND (?2 IS NULL OR r.node = ?2) ORDER BY r.id DESC LIMIT ?3";
    let rows = sqlx::query(query)
        .bind(word_or_null("pool", &filter.pool)?)
        .bind(word_or_null("node", &filter.node)?)
        .bind(limit(filter.limit))
        .fetch_all(db)
        .await
        .map_err(sql)?;
    let short = |row| {
        let mut row: RefusalRow = refusal_row(row)?;
        row.record.differences.clear();
        Ok(row)
    };
    rows.iter().map(short).collect()
}

pub(super) async fn refusal(db: &mut SqliteConnection, id: u64) -> Result<Option<RefusalRow>> {
    let query = "SELECT r.*, e.refusal IS NOT NULL AS has_evidence, e.kept
        FROM refusals r LEFT JOIN evidence e ON e.refusal = r.id WHERE r.id = ?";
    let row = sqlx::query(query).bind(number("id", id)?).fetch_optional(db).await.map_err(sql)?;
    row.as_ref().map(refusal_row).transpose()
}

pub(super) async fn insert_refusal(db: &mut SqliteConnection, row: &RefusalRow) -> Result<u64> {
    let query = "INSERT INTO refusals (time, refused_by, node, pool, code, detail, pcr, event, closest, differences, image,
            platform, correlation_id, proven)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let record = &row.record;
    let done = sqlx::query(query)
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
        .execute(&mut *db)
        .await
        .map_err(sql)?;
    let id = done.last_insert_rowid();
    if let Some(kept) = &record.kept {
        sqlx::query("INSERT INTO evidence (refusal, pool, kept) VALUES (?, ?, ?)")
            .bind(id)
            .bind(word_or_null("pool", &record.pool)?)
            .bind(json("kept", kept)?)
            .execute(db)
            .await
            .map_err(sql)?;
    }
    Ok(id.unsigned_abs())
}

pub(super) async fn trim_refusals(
    db: &mut SqliteConnection,
    pool: Option<&PoolName>,
    node: Option<&NodeName>,
    keep: &Keep,
) -> Result<()> {
    let (pool, node) = (pool.map(PoolName::as_str), node.map(NodeName::as_str));
    let query =
        "DELETE FROM refusals WHERE pool IS ?1 AND node IS ?2 AND proven AND id <= (SELECT id FROM refusals
        WHERE pool IS ?1 AND node IS ?2 AND proven ORDER BY id DESC LIMIT 1 OFFSET ?3)";
    let query = sqlx::query(query).bind(pool).bind(node).bind(keep.refusals_per_node);
    query.execute(&mut *db).await.map_err(sql)?;
    let query = "DELETE FROM evidence WHERE refusal IN (SELECT r.id FROM refusals r JOIN evidence e ON e.refusal = r.id
        WHERE r.pool IS ?1 AND r.node IS ?2 ORDER BY r.id DESC LIMIT -1 OFFSET ?3)";
    let query = sqlx::query(query).bind(pool).bind(node).bind(keep.evidence_per_node);
    query.execute(&mut *db).await.map_err(sql)?;
    for (class, keep) in [(true, keep.refusals), (false, keep.unproven)] {
        let query = "DELETE FROM refusals WHERE pool IS ?1 AND proven = ?2 AND id <= (SELECT id FROM refusals
            WHERE pool IS ?1 AND proven = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)";
        let query = sqlx::query(query).bind(pool).bind(class).bind(keep);
        query.execute(&mut *db).await.map_err(sql)?;
    }
    let query = "DELETE FROM evidence WHERE pool IS ?1 AND refusal <= (SELECT refusal FROM evidence
        WHERE pool IS ?1 ORDER BY refusal DESC LIMIT 1 OFFSET ?2)";
    sqlx::query(query).bind(pool).bind(keep.evidence).execute(db).await.map_err(sql)?;
    Ok(())
}

fn audit_row(row: &SqliteRow) -> Result<AuditRow> {
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

pub(super) async fn last_audit(db: &mut SqliteConnection) -> Result<Option<AuditRow>> {
    let query = sqlx::query("SELECT * FROM audit ORDER BY seq DESC LIMIT 1");
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(audit_row).transpose()
}

pub(super) async fn insert_audit(db: &mut SqliteConnection, row: &AuditRow) -> Result<bool> {
    let query = "INSERT INTO audit (seq, time, actor, action, object, detail, correlation_id, prev, hash)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query)
        .bind(number("seq", row.seq)?)
        .bind(number("time", row.time)?)
        .bind(&row.actor)
        .bind(&row.action)
        .bind(&row.object)
        .bind(json("detail", &row.detail)?)
        .bind(&row.correlation_id)
        .bind(row.prev.hex())
        .bind(row.hash.hex())
        .execute(db)
        .await)
}

pub(super) async fn audit(db: &mut SqliteConnection, filter: &AuditFilter) -> Result<Vec<AuditRow>> {
    let query = "SELECT * FROM audit WHERE ?1 IS NULL OR seq < ?1 ORDER BY seq DESC LIMIT ?2";
    let before = filter.before.map(|seq| number("seq", seq)).transpose()?;
    let query = sqlx::query(query).bind(before).bind(limit(filter.limit));
    query.fetch_all(db).await.map_err(sql)?.iter().map(audit_row).collect()
}

pub(super) async fn audit_from(db: &mut SqliteConnection, seq: u64) -> Result<Vec<AuditRow>> {
    let query = "SELECT * FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?";
    let query = sqlx::query(query).bind(number("seq", seq)?).bind(LIMIT_MAX);
    query.fetch_all(db).await.map_err(sql)?.iter().map(audit_row).collect()
}
