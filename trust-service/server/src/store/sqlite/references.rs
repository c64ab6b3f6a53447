//! Pools, endorsement key roots, tuples and pairs.

use super::columns::{Cols, Columns as _, json, json_or_null, number, word};
use super::query::query;
use super::{PoolRow, Result, StoreError, Tuple};
use ccnode_evidence::{ImageTuple, PlatformTuple, Sha256Digest};
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{EkRoot, Pair};
use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn pool_row(row: &Cols<'_, '_>) -> Result<PoolRow> {
    Ok(PoolRow {
        name: row.parse("name")?,
        on_unknown: row.parse("on_unknown")?,
        rules: row.json("rules")?,
        on_foreign_disk: row.parse("on_foreign_disk")?,
        allow_init_data: row.number::<i64>("allow_init_data")? != 0,
        hardware: row.json("hardware")?,
        cluster: row.json_or_null("cluster")?,
        created: row.number("created")?,
    })
}

pub(super) fn pools(db: &Connection) -> Result<Vec<PoolRow>> {
    query("SELECT * FROM pools ORDER BY name").all(db, pool_row)
}

pub(super) fn pool(db: &Connection, name: &PoolName) -> Result<Option<PoolRow>> {
    query("SELECT * FROM pools WHERE name = ?").bind(name.as_str()).first(db, pool_row)
}

pub(super) fn insert_pool(db: &Connection, row: &PoolRow) -> Result<bool> {
    let text =
        "INSERT INTO pools (on_unknown, rules, on_foreign_disk, allow_init_data, cluster, hardware, name, created)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    query(text)
        .bind(word("on_unknown", &row.on_unknown)?)
        .bind(json("rules", &row.rules)?)
        .bind(word("on_foreign_disk", &row.on_foreign_disk)?)
        .bind(row.allow_init_data)
        .bind(json_or_null("cluster", &row.cluster)?)
        .bind(json("hardware", &row.hardware)?)
        .bind(row.name.as_str())
        .bind(number("created", row.created)?)
        .one(db)
}

pub(super) fn update_pool(db: &Connection, row: &PoolRow) -> Result<bool> {
    let text =
        "UPDATE pools SET on_unknown = ?, rules = ?, on_foreign_disk = ?, allow_init_data = ?, cluster = ?, hardware = ?
        WHERE name = ?";
    query(text)
        .bind(word("on_unknown", &row.on_unknown)?)
        .bind(json("rules", &row.rules)?)
        .bind(word("on_foreign_disk", &row.on_foreign_disk)?)
        .bind(row.allow_init_data)
        .bind(json_or_null("cluster", &row.cluster)?)
        .bind(json("hardware", &row.hardware)?)
        .bind(row.name.as_str())
        .one(db)
}

pub(super) fn delete_pool(db: &Connection, name: &PoolName) -> Result<bool> {
    query("DELETE FROM pools WHERE name = ?").bind(name.as_str()).one(db)
}

pub(super) fn revision(db: &Connection) -> Result<u64> {
    query("SELECT n FROM revision").first(db, |row| row.number("n"))?.ok_or(StoreError::Range("n"))
}

pub(super) fn ek_roots(db: &Connection, pool: &PoolName) -> Result<Vec<EkRoot>> {
    let root = |row: &Cols<'_, '_>| {
        let der = row.bytes_or_null("certificate")?.unwrap_or_default();
        let level = row.parse("level")?;
        crate::pki::ek_root(&der, level)
            .map_err(|e| StoreError::Corrupt { column: "certificate", source: serde::de::Error::custom(e) })
    };
    let text = "SELECT level, certificate FROM ek_roots WHERE pool = ? ORDER BY id";
    query(text).bind(pool.as_str()).all(db, root)
}

pub(super) fn insert_ek_root(db: &Connection, pool: &PoolName, root: &EkRoot) -> Result<bool> {
    let der = crate::pki::der_of_pem(&root.certificate)
        .map_err(|e| StoreError::Corrupt { column: "certificate", source: serde::de::Error::custom(e) })?;
    let text =
        "INSERT INTO ek_roots (pool, id, level, certificate) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    query(text).bind(pool.as_str()).bind(root.id.hex()).bind(word("level", &root.level)?).bind(der).one(db)
}

pub(super) fn delete_ek_root(db: &Connection, pool: &PoolName, id: &Sha256Digest) -> Result<bool> {
    query("DELETE FROM ek_roots WHERE pool = ? AND id = ?").bind(pool.as_str()).bind(id.hex()).one(db)
}

fn tuple_row<T: DeserializeOwned>(row: &Cols<'_, '_>) -> Result<Tuple<T>> {
    Ok(Tuple { id: row.parse("id")?, registered: row.number("registered")?, tuple: row.json("tuple")? })
}

fn tuples<T: DeserializeOwned>(db: &Connection, text: &'static str) -> Result<Vec<Tuple<T>>> {
    query(text).all(db, tuple_row)
}

fn tuple<T: DeserializeOwned>(
    db: &Connection,
    text: &'static str,
    id: &Sha256Digest,
) -> Result<Option<Tuple<T>>> {
    query(text).bind(id.hex()).first(db, tuple_row)
}

fn insert_tuple<T: Serialize>(db: &Connection, text: &'static str, row: &Tuple<T>) -> Result<bool> {
    query(text)
        .bind(row.id.hex())
        .bind(json("tuple", &row.tuple)?)
        .bind(number("registered", row.registered)?)
        .one(db)
}

pub(super) fn images(db: &Connection) -> Result<Vec<Tuple<ImageTuple>>> {
    tuples(db, "SELECT * FROM images ORDER BY registered, id")
}

pub(super) fn image(db: &Connection, id: &Sha256Digest) -> Result<Option<Tuple<ImageTuple>>> {
    tuple(db, "SELECT * FROM images WHERE id = ?", id)
}

pub(super) fn insert_image(db: &Connection, row: &Tuple<ImageTuple>) -> Result<bool> {
    insert_tuple(
        db,
        "INSERT INTO images (id, tuple, registered) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        row,
    )
}

pub(super) fn delete_image(db: &Connection, id: &Sha256Digest) -> Result<bool> {
    query("DELETE FROM images WHERE id = ?").bind(id.hex()).one(db)
}

pub(super) fn platforms(db: &Connection) -> Result<Vec<Tuple<PlatformTuple>>> {
    tuples(db, "SELECT * FROM platforms ORDER BY registered, id")
}

pub(super) fn platform(db: &Connection, id: &Sha256Digest) -> Result<Option<Tuple<PlatformTuple>>> {
    tuple(db, "SELECT * FROM platforms WHERE id = ?", id)
}

pub(super) fn insert_platform(db: &Connection, row: &Tuple<PlatformTuple>) -> Result<bool> {
    insert_tuple(
        db,
        "INSERT INTO platforms (id, tuple, registered) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        row,
    )
}

pub(super) fn delete_platform(db: &Connection, id: &Sha256Digest) -> Result<bool> {
    query("DELETE FROM platforms WHERE id = ?").bind(id.hex()).one(db)
}

pub(super) fn pairs(db: &Connection, pool: Option<&PoolName>) -> Result<Vec<(PoolName, Pair)>> {
    let text = "SELECT * FROM pairs WHERE ?1 IS NULL OR pool = ?1 ORDER BY pool, platform, image";
    let pair = |row: &Cols<'_, '_>| {
        Ok((row.parse("pool")?, Pair { platform: row.parse("platform")?, image: row.parse("image")? }))
    };
    query(text).bind(pool.map(PoolName::as_str)).all(db, pair)
}

pub(super) fn insert_pair(db: &Connection, pool: &PoolName, pair: &Pair) -> Result<bool> {
    let text = "INSERT INTO pairs (pool, platform, image) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    query(text).bind(pool.as_str()).bind(pair.platform.hex()).bind(pair.image.hex()).one(db)
}

pub(super) fn delete_pair(db: &Connection, pool: &PoolName, pair: &Pair) -> Result<bool> {
    let text = "DELETE FROM pairs WHERE pool = ? AND platform = ? AND image = ?";
    query(text).bind(pool.as_str()).bind(pair.platform.hex()).bind(pair.image.hex()).one(db)
}
