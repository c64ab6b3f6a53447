//! Resources, who may read them, and reference values.

use super::columns::{Cols, Columns as _, json, number};
use super::query::query;
use super::{ResourceRow, Result};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::{NodeName, PoolName, ResourceUri};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;

fn resource_row(row: &Cols<'_, '_>) -> Result<ResourceRow> {
    Ok(ResourceRow {
        name: row.parse("name")?,
        content: row.bytes_or_null("content")?.unwrap_or_default(),
        size: row.number("size")?,
        updated: row.number("updated")?,
    })
}

pub(super) fn resources(db: &Connection) -> Result<Vec<ResourceRow>> {
    query("SELECT name, x'' AS content, size, updated FROM resources ORDER BY name").all(db, resource_row)
}

pub(super) fn resource(db: &Connection, name: &ResourceUri) -> Result<Option<ResourceRow>> {
    query("SELECT * FROM resources WHERE name = ?").bind(name.to_string()).first(db, resource_row)
}

pub(super) fn set_resource(db: &Connection, row: &ResourceRow) -> Result<bool> {
    let text = "INSERT INTO resources (name, content, size, updated) VALUES (?, ?, ?, ?) ON CONFLICT (name)
        DO UPDATE SET content = excluded.content, size = excluded.size, updated = excluded.updated";
    query(text)
        .bind(row.name.to_string())
        .bind(&row.content)
        .bind(number("size", row.size)?)
        .bind(number("updated", row.updated)?)
        .one(db)
}

pub(super) fn delete_resource(db: &Connection, name: &ResourceUri) -> Result<bool> {
    query("DELETE FROM resources WHERE name = ?").bind(name.to_string()).one(db)
}

pub(super) fn delete_resources_of(db: &Connection, node: &NodeName) -> Result<u64> {
    Ok(query("DELETE FROM resources WHERE substr(name, 1, length(?1)) = ?1")
        .bind(format!("kbs:///{node}/"))
        .run(db)? as u64)
}

pub(super) fn resource_nodes(db: &Connection, name: &ResourceUri) -> Result<Vec<NodeName>> {
    let text = "SELECT nodes.name AS node FROM resource_nodes JOIN nodes USING (identity)
        WHERE resource_nodes.name = ? ORDER BY node";
    query(text).bind(name.to_string()).all(db, |row| row.parse("node"))
}

pub(super) fn resource_pools(db: &Connection, name: &ResourceUri) -> Result<Vec<PoolName>> {
    let text = "SELECT pool FROM resource_pools WHERE name = ? ORDER BY pool";
    query(text).bind(name.to_string()).all(db, |row| row.parse("pool"))
}

pub(super) fn allow_node(db: &Connection, name: &ResourceUri, node: &Sha256Digest) -> Result<bool> {
    let text = "INSERT INTO resource_nodes (name, identity) VALUES (?, ?) ON CONFLICT DO NOTHING";
    query(text).bind(name.to_string()).bind(node.hex()).one(db)
}

pub(super) fn disallow_node(db: &Connection, name: &ResourceUri, node: &Sha256Digest) -> Result<bool> {
    query("DELETE FROM resource_nodes WHERE name = ? AND identity = ?")
        .bind(name.to_string())
        .bind(node.hex())
        .one(db)
}

pub(super) fn move_readers(db: &Connection, from: &Sha256Digest, to: &Sha256Digest) -> Result<()> {
    let text = "UPDATE OR REPLACE resource_nodes SET identity = ? WHERE identity = ?";
    query(text).bind(to.hex()).bind(from.hex()).run(db)?;
    Ok(())
}

pub(super) fn allow_pool(db: &Connection, name: &ResourceUri, pool: &PoolName) -> Result<bool> {
    let text = "INSERT INTO resource_pools (name, pool) VALUES (?, ?) ON CONFLICT DO NOTHING";
    query(text).bind(name.to_string()).bind(pool.as_str()).one(db)
}

pub(super) fn disallow_pool(db: &Connection, name: &ResourceUri, pool: &PoolName) -> Result<bool> {
    query("DELETE FROM resource_pools WHERE name = ? AND pool = ?")
        .bind(name.to_string())
        .bind(pool.as_str())
        .one(db)
}

pub(super) fn is_reader(
    db: &Connection,
    name: &ResourceUri,
    node: &Sha256Digest,
    pool: &PoolName,
) -> Result<bool> {
    let text = "SELECT 1 FROM resource_nodes WHERE name = ?1 AND identity = ?2
        UNION ALL SELECT 1 FROM resource_pools WHERE name = ?1 AND pool = ?3 LIMIT 1";
    let query = query(text).bind(name.to_string()).bind(node.hex()).bind(pool.as_str());
    Ok(query.first(db, |_| Ok(()))?.is_some())
}

pub(super) fn reference_values(db: &Connection, pool: &PoolName) -> Result<BTreeMap<String, Value>> {
    let text = "SELECT name, value FROM reference_values WHERE pool = ?";
    let pair = |row: &Cols<'_, '_>| Ok((row.text("name")?, row.json("value")?));
    Ok(query(text).bind(pool.as_str()).all(db, pair)?.into_iter().collect())
}

pub(super) fn set_reference_value(
    db: &Connection,
    pool: &PoolName,
    name: &str,
    value: &Value,
) -> Result<bool> {
    let text = "INSERT INTO reference_values (pool, name, value) VALUES (?, ?, ?)
        ON CONFLICT (pool, name) DO UPDATE SET value = excluded.value";
    query(text).bind(pool.as_str()).bind(name).bind(json("value", value)?).one(db)
}

pub(super) fn clear_reference_values(db: &Connection, pool: &PoolName) -> Result<u64> {
    Ok(query("DELETE FROM reference_values WHERE pool = ?").bind(pool.as_str()).run(db)? as u64)
}
