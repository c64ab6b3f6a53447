//! What is sealed, in whichever table, for a rotation of the key.

use super::columns::{Cols, Columns as _};
use super::query::query;
use super::{Result, Sealed, SealedAt};
use crate::store::{ResourceRow, SessionRow, VolumeRow};
use rusqlite::Connection;

pub(super) fn sealed(db: &Connection) -> Result<Vec<Sealed>> {
    let volume = |row: &Cols<'_, '_>| {
        let id = row.text("id")?;
        let place = VolumeRow::place(&row.parse("identity")?, &id);
        Ok(Sealed { at: SealedAt::Volume(id), place, value: value(row)? })
    };
    let next = |row: &Cols<'_, '_>| {
        let id = row.text("id")?;
        let place = VolumeRow::next_place(&row.parse("identity")?, &id);
        Ok(Sealed { at: SealedAt::NextKey(id), place, value: value(row)? })
    };
    let recovery = |row: &Cols<'_, '_>| {
        let id = row.text("id")?;
        let place = VolumeRow::recovery_place(&row.parse("identity")?, &id);
        Ok(Sealed { at: SealedAt::Recovery(id), place, value: value(row)? })
    };
    let session = |row: &Cols<'_, '_>| {
        let place = SessionRow::place(&row.parse("nonce")?);
        Ok(Sealed { at: SealedAt::Session(row.text("nonce")?), place, value: value(row)? })
    };
    let resource = |row: &Cols<'_, '_>| {
        let place = ResourceRow::place(&row.parse("name")?);
        Ok(Sealed { at: SealedAt::Resource(row.text("name")?), place, value: value(row)? })
    };
    let volumes = "SELECT id, identity, unlock_key AS value FROM volumes WHERE unlock_key IS NOT NULL";
    let nexts = "SELECT id, identity, next_key AS value FROM volumes WHERE next_key IS NOT NULL";
    let recoveries = "SELECT id, identity, recovery AS value FROM volumes WHERE recovery IS NOT NULL";
    let sessions = "SELECT nonce, grants AS value FROM sessions WHERE length(grants) > 0";
    let resources = "SELECT name, content AS value FROM resources";
    let mut all = query(volumes).all(db, volume)?;
    all.extend(query(nexts).all(db, next)?);
    all.extend(query(recoveries).all(db, recovery)?);
    all.extend(query(sessions).all(db, session)?);
    all.extend(query(resources).all(db, resource)?);
    Ok(all)
}

fn value(row: &Cols<'_, '_>) -> Result<Vec<u8>> {
    Ok(row.bytes_or_null("value")?.unwrap_or_default())
}

pub(super) fn set_sealed(db: &Connection, row: &Sealed) -> Result<bool> {
    let (text, key) = match &row.at {
        SealedAt::Volume(id) => ("UPDATE volumes SET unlock_key = ? WHERE id = ?", id),
        SealedAt::NextKey(id) => ("UPDATE volumes SET next_key = ? WHERE id = ?", id),
        SealedAt::Recovery(id) => ("UPDATE volumes SET recovery = ? WHERE id = ?", id),
        SealedAt::Session(nonce) => ("UPDATE sessions SET grants = ? WHERE nonce = ?", nonce),
        SealedAt::Resource(name) => ("UPDATE resources SET content = ? WHERE name = ?", name),
    };
    query(text).bind(row.value.as_slice()).bind(key).one(db)
}
