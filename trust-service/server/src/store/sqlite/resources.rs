//! Resources, who may read them, and reference values.

use super::columns::{Columns as _, json, number, one, sql};
use super::{ResourceRow, Result};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::{NodeName, PoolName, ResourceUri};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::collections::BTreeMap;

fn resource_row(row: &SqliteRow) -> Result<ResourceRow> {
    Ok(ResourceRow {
        name: row.parse("name")?,
        content: row.bytes_or_null("content")?.unwrap_or_default(),
        size: row.number("size")?,
        updated: row.number("updated")?,
    })
}

pub(super) async fn resources(db: &mut SqliteConnection) -> Result<Vec<ResourceRow>> {
    let query = sqlx::query("SELECT name, x'' AS content, size, updated FROM resources ORDER BY name");
    query.fetch_all(db).await.map_err(sql)?.iter().map(resource_row).collect()
}

pub(super) async fn resource(db: &mut SqliteConnection, name: &ResourceUri) -> Result<Option<ResourceRow>> {
    let query = sqlx::query("SELECT * FROM resources WHERE name = ?").bind(name.to_string());
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(resource_row).transpose()
}

pub(super) async fn set_resource(db: &mut SqliteConnection, row: &ResourceRow) -> Result<bool> {
    let query = "INSERT INTO resources (name, content, size, updated) VALUES (?, ?, ?, ?) ON CONFLICT (name)
        DO UPDATE SET content = excluded.content, size = excluded.size, updated = excluded.updated";
    one(sqlx::query(query)
        .bind(row.name.to_string())
        .bind(&row.content)
        .bind(number("size", row.size)?)
        .bind(number("updated", row.updated)?)
        .execute(db)
        .await)
}

pub(super) async fn delete_resource(db: &mut SqliteConnection, name: &ResourceUri) -> Result<bool> {
    one(sqlx::query("DELETE FROM resources WHERE name = ?").bind(name.to_string()).execute(db).await)
}

pub(super) async fn delete_resources_of(db: &mut SqliteConnection, node: &NodeName) -> Result<u64> {
    let query = sqlx::query("DELETE FROM resources WHERE substr(name, 1, length(?1)) = ?1");
    Ok(query.bind(format!("kbs:///{node}/")).execute(db).await.map_err(sql)?.rows_affected())
}

pub(super) async fn resource_nodes(db: &mut SqliteConnection, name: &ResourceUri) -> Result<Vec<NodeName>> {
    let query = "SELECT nodes.name AS node FROM resource_nodes JOIN nodes USING (identity)
        WHERE resource_nodes.name = ? ORDER BY node";
    let rows = sqlx::query(query).bind(name.to_string()).fetch_all(db).await.map_err(sql)?;
    rows.iter().map(|row| row.parse("node")).collect()
}

pub(super) async fn resource_pools(db: &mut SqliteConnection, name: &ResourceUri) -> Result<Vec<PoolName>> {
    let query = sqlx::query("SELECT pool FROM resource_pools WHERE name = ? ORDER BY pool");
    let rows = query.bind(name.to_string()).fetch_all(db).await.map_err(sql)?;
    rows.iter().map(|row| row.parse("pool")).collect()
}

pub(super) async fn allow_node(
    db: &mut SqliteConnection,
    name: &ResourceUri,
    node: &Sha256Digest,
) -> Result<bool> {
    let query = "INSERT INTO resource_nodes (name, identity) VALUES (?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query).bind(name.to_string()).bind(node.hex()).execute(db).await)
}

pub(super) async fn disallow_node(
    db: &mut SqliteConnection,
    name: &ResourceUri,
    node: &Sha256Digest,
) -> Result<bool> {
    let query = sqlx::query("DELETE FROM resource_nodes WHERE name = ? AND identity = ?");
    one(query.bind(name.to_string()).bind(node.hex()).execute(db).await)
}

pub(super) async fn allow_pool(
    db: &mut SqliteConnection,
    name: &ResourceUri,
    pool: &PoolName,
) -> Result<bool> {
    let query = "INSERT INTO resource_pools (name, pool) VALUES (?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query).bind(name.to_string()).bind(pool.as_str()).execute(db).await)
}

pub(super) async fn disallow_pool(
    db: &mut SqliteConnection,
    name: &ResourceUri,
    pool: &PoolName,
) -> Result<bool> {
    let query = sqlx::query("DELETE FROM resource_pools WHERE name = ? AND pool = ?");
    one(query.bind(name.to_string()).bind(pool.as_str()).execute(db).await)
}

pub(super) async fn is_reader(
    db: &mut SqliteConnection,
    name: &ResourceUri,
    node: &Sha256Digest,
    pool: &PoolName,
) -> Result<bool> {
    let query = "SELECT 1 FROM resource_nodes WHERE name = ?1 AND identity = ?2
        UNION ALL SELECT 1 FROM resource_pools WHERE name = ?1 AND pool = ?3 LIMIT 1";
    let query = sqlx::query(query).bind(name.to_string()).bind(node.hex()).bind(pool.as_str());
    Ok(query.fetch_optional(db).await.map_err(sql)?.is_some())
}

pub(super) async fn reference_values(
    db: &mut SqliteConnection,
    pool: &PoolName,
) -> Result<BTreeMap<String, Value>> {
    let query = sqlx::query("SELECT name, value FROM reference_values WHERE pool = ?").bind(pool.as_str());
    let rows = query.fetch_all(db).await.map_err(sql)?;
    rows.iter().map(|row| Ok((row.text("name")?, row.json("value")?))).collect()
}

pub(super) async fn set_reference_value(
    db: &mut SqliteConnection,
    pool: &PoolName,
    name: &str,
    value: &Value,
) -> Result<bool> {
    let query = "INSERT INTO reference_values (pool, name, value) VALUES (?, ?, ?)
        ON CONFLICT (pool, name) DO UPDATE SET value = excluded.value";
    let query = sqlx::query(query).bind(pool.as_str()).bind(name).bind(json("value", value)?);
    one(query.execute(db).await)
}

pub(super) async fn clear_reference_values(db: &mut SqliteConnection, pool: &PoolName) -> Result<u64> {
    let query = sqlx::query("DELETE FROM reference_values WHERE pool = ?").bind(pool.as_str());
    Ok(query.execute(db).await.map_err(sql)?.rows_affected())
}
