//! What administrators propose, and what they allowed once.

use super::columns::{Cols, Columns as _, json, number};
use super::query::query;
use super::{AllowanceRow, AllowanceUsed, ProposalRow, Result};
use ccnode_evidence::Sha256Digest;
use rusqlite::Connection;

fn proposal_row(row: &Cols<'_, '_>) -> Result<ProposalRow> {
    Ok(ProposalRow {
        id: row.number("id")?,
        action: row.json("action")?,
        pinned: row.json("pinned")?,
        reason: row.text_or_null("reason")?,
        proposer: row.text("proposer")?,
        proposer_key: row.parse("proposer_key")?,
        proposed: row.number("proposed")?,
        expires: row.number("expires")?,
    })
}

pub(super) fn proposals(db: &Connection) -> Result<Vec<ProposalRow>> {
    query("SELECT * FROM proposals ORDER BY id").all(db, proposal_row)
}

pub(super) fn proposal(db: &Connection, id: u64) -> Result<Option<ProposalRow>> {
    query("SELECT * FROM proposals WHERE id = ?").bind(number("id", id)?).first(db, proposal_row)
}

pub(super) fn insert_proposal(db: &Connection, row: &ProposalRow) -> Result<u64> {
    let text = "INSERT INTO proposals (action, pinned, reason, proposer, proposer_key, proposed, expires)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    query(text)
        .bind(json("action", &row.action)?)
        .bind(json("pinned", &row.pinned)?)
        .bind(&row.reason)
        .bind(&row.proposer)
        .bind(row.proposer_key.hex())
        .bind(number("proposed", row.proposed)?)
        .bind(number("expires", row.expires)?)
        .run(db)?;
    Ok(db.last_insert_rowid().unsigned_abs())
}

pub(super) fn delete_proposal(db: &Connection, id: u64) -> Result<bool> {
    query("DELETE FROM proposals WHERE id = ?").bind(number("id", id)?).one(db)
}

pub(super) fn purge_proposals(db: &Connection, now: u64) -> Result<()> {
    query("DELETE FROM proposals WHERE expires < ?").bind(number("expires", now)?).run(db)?;
    Ok(())
}

pub(super) fn allowance(db: &Connection, identity: &Sha256Digest) -> Result<Option<AllowanceRow>> {
    let read = |row: &Cols<'_, '_>| {
        let session = row.parse_or_null("session")?;
        let (at, reset) = (row.number_or_null("used")?, row.number_or_null("reset")?);
        let used =
            session.zip(at).zip(reset).map(|((session, at), reset)| AllowanceUsed { session, at, reset });
        Ok(AllowanceRow {
            proposal: row.number("proposal")?,
            state: row.json("state")?,
            expires: row.number("expires")?,
            used,
        })
    };
    query("SELECT * FROM allowances WHERE identity = ?").bind(identity.hex()).first(db, read)
}

pub(super) fn set_allowance(db: &Connection, row: &AllowanceRow) -> Result<bool> {
    let text = "INSERT INTO allowances (identity, proposal, state, expires) VALUES (?, ?, ?, ?)
        ON CONFLICT (identity) DO UPDATE SET proposal = excluded.proposal, state = excluded.state, expires = excluded.expires,
            session = NULL, used = NULL, reset = NULL";
    query(text)
        .bind(row.state.identity.hex())
        .bind(number("proposal", row.proposal)?)
        .bind(json("state", &row.state)?)
        .bind(number("expires", row.expires)?)
        .one(db)
}

pub(super) fn use_allowance(db: &Connection, row: &AllowanceRow, used: &AllowanceUsed) -> Result<bool> {
    let text = "UPDATE allowances SET session = ?1, used = ?2, reset = ?3
        WHERE identity = ?4 AND proposal = ?5 AND session IS NULL AND expires >= ?2";
    query(text)
        .bind(used.session.text())
        .bind(number("used", used.at)?)
        .bind(used.reset)
        .bind(row.state.identity.hex())
        .bind(number("proposal", row.proposal)?)
        .one(db)
}
