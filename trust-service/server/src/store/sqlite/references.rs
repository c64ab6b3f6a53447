//! Pools, endorsement key roots, tuples and pairs.

use super::columns::{Columns as _, json, json_or_null, number, one, sql, word};
use super::{PoolRow, Result, StoreError, Tuple};
use ccnode_evidence::{ImageTuple, PlatformTuple, Sha256Digest};
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{EkRoot, Pair};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

fn pool_row(row: &SqliteRow) -> Result<PoolRow> {
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

pub(super) async fn pools(db: &mut SqliteConnection) -> Result<Vec<PoolRow>> {
    let rows = sqlx::query("SELECT * FROM pools ORDER BY name").fetch_all(db).await.map_err(sql)?;
    rows.iter().map(pool_row).collect()
}

pub(super) async fn pool(db: &mut SqliteConnection, name: &PoolName) -> Result<Option<PoolRow>> {
    let query = sqlx::query("SELECT * FROM pools WHERE name = ?").bind(name.as_str());
    query.fetch_optional(db).await.map_err(sql)?.as_ref().map(pool_row).transpose()
}

pub(super) async fn insert_pool(db: &mut SqliteConnection, row: &PoolRow) -> Result<bool> {
    let query =
        "INSERT INTO pools (on_unknown, rules, on_foreign_disk, allow_init_data, cluster, hardware, name, created)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query)
        .bind(word("on_unknown", &row.on_unknown)?)
        .bind(json("rules", &row.rules)?)
        .bind(word("on_foreign_disk", &row.on_foreign_disk)?)
        .bind(row.allow_init_data)
        .bind(json_or_null("cluster", &row.cluster)?)
        .bind(json("hardware", &row.hardware)?)
        .bind(row.name.as_str())
        .bind(number("created", row.created)?)
        .execute(db)
        .await)
}

pub(super) async fn update_pool(db: &mut SqliteConnection, row: &PoolRow) -> Result<bool> {
    let query =
        "UPDATE pools SET on_unknown = ?, rules = ?, on_foreign_disk = ?, allow_init_data = ?, cluster = ?, hardware = ?
        WHERE name = ?";
    one(sqlx::query(query)
        .bind(word("on_unknown", &row.on_unknown)?)
        .bind(json("rules", &row.rules)?)
        .bind(word("on_foreign_disk", &row.on_foreign_disk)?)
        .bind(row.allow_init_data)
        .bind(json_or_null("cluster", &row.cluster)?)
        .bind(json("hardware", &row.hardware)?)
        .bind(row.name.as_str())
        .execute(db)
        .await)
}

pub(super) async fn delete_pool(db: &mut SqliteConnection, name: &PoolName) -> Result<bool> {
    one(sqlx::query("DELETE FROM pools WHERE name = ?").bind(name.as_str()).execute(db).await)
}

pub(super) async fn ek_roots(db: &mut SqliteConnection, pool: &PoolName) -> Result<Vec<EkRoot>> {
    let query = sqlx::query("SELECT level, certificate FROM ek_roots WHERE pool = ? ORDER BY id");
    let rows = query.bind(pool.as_str()).fetch_all(db).await.map_err(sql)?;
    let root = |row: &SqliteRow| {
        let der = row.bytes_or_null("certificate")?.unwrap_or_default();
        let level = row.parse("level")?;
        crate::pki::ek_root(&der, level)
            .map_err(|e| StoreError::Corrupt { column: "certificate", source: serde::de::Error::custom(e) })
    };
    rows.iter().map(root).collect()
}

pub(super) async fn insert_ek_root(
    db: &mut SqliteConnection,
    pool: &PoolName,
    root: &EkRoot,
) -> Result<bool> {
    let der = crate::pki::der_of_pem(&root.certificate)
        .map_err(|e| StoreError::Corrupt { column: "certificate", source: serde::de::Error::custom(e) })?;
    let query =
        "INSERT INTO ek_roots (pool, id, level, certificate) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    one(sqlx::query(query)
        .bind(pool.as_str())
        .bind(root.id.hex())
        .bind(word("level", &root.level)?)
        .bind(der)
        .execute(db)
        .await)
}

pub(super) async fn delete_ek_root(
    db: &mut SqliteConnection,
    pool: &PoolName,
    id: &Sha256Digest,
) -> Result<bool> {
    let query = sqlx::query("DELETE FROM ek_roots WHERE pool = ? AND id = ?");
    one(query.bind(pool.as_str()).bind(id.hex()).execute(db).await)
}

fn tuple_row<T: DeserializeOwned>(row: &SqliteRow) -> Result<Tuple<T>> {
    Ok(Tuple { id: row.parse("id")?, registered: row.number("registered")?, tuple: row.json("tuple")? })
}

async fn tuples<T: DeserializeOwned>(
    db: &mut SqliteConnection,
    query: &'static str,
) -> Result<Vec<Tuple<T>>> {
    sqlx::query(query).fetch_all(db).await.map_err(sql)?.iter().map(tuple_row).collect()
}

async fn tuple<T: DeserializeOwned>(
    db: &mut SqliteConnection,
    query: &'static str,
    id: &Sha256Digest,
) -> Result<Option<Tuple<T>>> {
    let row = sqlx::query(query).bind(id.hex()).fetch_optional(db).await.map_err(sql)?;
    row.as_ref().map(tuple_row).transpose()
}

async fn insert_tuple<T: Serialize>(
    db: &mut SqliteConnection,
    query: &'static str,
    row: &Tuple<T>,
) -> Result<bool> {
    one(sqlx::query(query)
        .bind(row.id.hex())
        .bind(json("tuple", &row.tuple)?)
        .bind(number("registered", row.registered)?)
        .execute(db)
        .await)
}

pub(super) async fn images(db: &mut SqliteConnection) -> Result<Vec<Tuple<ImageTuple>>> {
    tuples(db, "SELECT * FROM images ORDER BY registered, id").await
}

pub(super) async fn image(db: &mut SqliteConnection, id: &Sha256Digest) -> Result<Option<Tuple<ImageTuple>>> {
    tuple(db, "SELECT * FROM images WHERE id = ?", id).await
}

pub(super) async fn insert_image(db: &mut SqliteConnection, row: &Tuple<ImageTuple>) -> Result<bool> {
    insert_tuple(
        db,
        "INSERT INTO images (id, tuple, registered) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        row,
    )
    .await
}

pub(super) async fn delete_image(db: &mut SqliteConnection, id: &Sha256Digest) -> Result<bool> {
    one(sqlx::query("DELETE FROM images WHERE id = ?").bind(id.hex()).execute(db).await)
}

pub(super) async fn platforms(db: &mut SqliteConnection) -> Result<Vec<Tuple<PlatformTuple>>> {
    tuples(db, "SELECT * FROM platforms ORDER BY registered, id").await
}

pub(super) async fn platform(
    db: &mut SqliteConnection,
    id: &Sha256Digest,
) -> Result<Option<Tuple<PlatformTuple>>> {
    tuple(db, "SELECT * FROM platforms WHERE id = ?", id).await
}

pub(super) async fn insert_platform(db: &mut SqliteConnection, row: &Tuple<PlatformTuple>) -> Result<bool> {
    insert_tuple(
        db,
        "INSERT INTO platforms (id, tuple, registered) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        row,
    )
    .await
}

pub(super) async fn delete_platform(db: &mut SqliteConnection, id: &Sha256Digest) -> Result<bool> {
    one(sqlx::query("DELETE FROM platforms WHERE id = ?").bind(id.hex()).execute(db).await)
}

pub(super) async fn pairs(
    db: &mut SqliteConnection,
    pool: Option<&PoolName>,
) -> Result<Vec<(PoolName, Pair)>> {
    let query = "SELECT * FROM pairs WHERE ?1 IS NULL OR pool = ?1 ORDER BY pool, platform, image";
    let rows = sqlx::query(query).bind(pool.map(PoolName::as_str)).fetch_all(db).await.map_err(sql)?;
    let pair = |row: &SqliteRow| {
        Ok((row.parse("pool")?, Pair { platform: row.parse("platform")?, image: row.parse("image")? }))
    };
    rows.iter().map(pair).collect()
}

pub(super) async fn insert_pair(db: &mut SqliteConnection, pool: &PoolName, pair: &Pair) -> Result<bool> {
    let query = "INSERT INTO pairs (pool, platform, image) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    let query = sqlx::query(query).bind(pool.as_str()).bind(pair.platform.hex()).bind(pair.image.hex());
    one(query.execute(db).await)
}

pub(super) async fn delete_pair(db: &mut SqliteConnection, pool: &PoolName, pair: &Pair) -> Result<bool> {
    let query = "DELETE FROM pairs WHERE pool = ? AND platform = ? AND image = ?";
    let query = sqlx::query(query).bind(pool.as_str()).bind(pair.platform.hex()).bind(pair.image.hex());
    one(query.execute(db).await)
}
