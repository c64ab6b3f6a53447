//! `ccnode refusal` and `ccnode audit`: what was decided, and why.

use crate::admin::{connect, of_pool};
use crate::args::{Audit, Global, Refusal, RefusalName};
use crate::client::Client;
use crate::error::Usage;
use crate::output::{self, or_dash, short, time, word};
use anyhow::{Context as _, Result};
use ccnode_protocol::admin::{self, AuditFilter, AuditRow, NodeRecord, RefusalFilter, RefusalRecord};

pub(crate) async fn run(global: &Global, command: Refusal) -> Result<()> {
    let client = connect(global)?;
    match command {
        Refusal::List { pool, node, limit } => {
            let filter = RefusalFilter { pool, node, correlation_id: None, limit: Some(limit) };
            let found = client.list::<Vec<RefusalRecord>>(admin::REFUSALS, &filter).await?;
            let found = of_pool(&client, filter.pool.as_ref(), found).await?;
            if let (Some(node), true) = (&filter.node, found.is_empty()) {
                // A name that was mistyped has no refusals either.
                client.get::<NodeRecord>(&admin::path(admin::NODE, &[node])).await?;
            }
            list(global, &found)
        }
        Refusal::Show { id, log } => {
            let id = number(&client, id).await?;
            let refusal: RefusalRecord = client.get(&admin::path(admin::REFUSAL, &[&id])).await?;
            if let Some(path) = log {
                let kept = refusal.kept.as_ref().context("the service kept no log of this refusal")?;
                std::fs::write(&path, &kept.logs.event_log.0)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            shown(global, &refusal)
        }
    }
}

/// The newest refusal of a name.
async fn number(client: &Client, name: RefusalName) -> Result<u64> {
    let id = match name {
        RefusalName::Number(number) => return Ok(number),
        RefusalName::Correlation(id) => id,
    };
    let filter = RefusalFilter { correlation_id: Some(id.clone()), limit: Some(1), ..Default::default() };
    let found = client.list::<Vec<RefusalRecord>>(admin::REFUSALS, &filter).await?;
    let none = || {
        let next = "the service's log has what was not recorded; `ccnode refusal list` lists what was";
        Usage::new(format!("there is no refusal of correlation id {id}"), next)
    };
    found.first().map(|refusal| refusal.id).ok_or_else(none).map_err(Into::into)
}

fn list(global: &Global, refusals: &[RefusalRecord]) -> Result<()> {
    if global.json {
        return output::json(&refusals);
    }
    let rows: Vec<[String; 6]> = refusals
        .iter()
        .map(|refusal| {
            [
                refusal.id.to_string(),
                time(refusal.time),
                word(&refusal.by),
                or_dash(refusal.node.as_ref()),
                refusal.code.to_string(),
                or_dash(refusal.event.as_ref()),
            ]
        })
        .collect();
    output::table(["id", "time", "by", "node", "code", "event"], &rows)
}

fn shown(global: &Global, refusal: &RefusalRecord) -> Result<()> {
    if global.json {
        return output::json(refusal);
    }
    let mut fields = vec![
        ("refusal", refusal.id.to_string()),
        ("time", time(refusal.time)),
        ("by", word(&refusal.by)),
        ("node", or_dash(refusal.node.as_ref())),
        ("pool", or_dash(refusal.pool.as_ref())),
        ("code", refusal.code.to_string()),
        ("meaning", refusal.code.meaning().to_owned()),
        ("detail", refusal.detail.clone()),
        ("pcr", or_dash(refusal.pcr)),
        ("event", or_dash(refusal.event.as_ref())),
        ("closest", or_dash(refusal.closest.as_ref())),
        ("platform", or_dash(refusal.platform.as_ref().map(short))),
        ("image", or_dash(refusal.image.as_ref().map(short))),
        ("next", refusal.code.action().to_owned()),
        ("correlation", refusal.correlation_id.clone()),
    ];
    fields.extend(refusal.differences.iter().map(|difference| ("differs", difference.clone())));
    output::fields(&fields)?;
    if let Some(kept) = &refusal.kept {
        for (pcr, value) in &kept.pcrs.0 {
            output::line(&format!("sha256:{pcr:<3} {value}", pcr = pcr.get()))?;
        }
    }
    Ok(())
}

pub(crate) async fn audit(global: &Global, command: Audit) -> Result<()> {
    let Audit::List { limit } = command;
    let client = connect(global)?;
    let rows: Vec<AuditRow> =
        client.list(admin::AUDIT, &AuditFilter { before: None, limit: Some(limit) }).await?;
    if global.json {
        return output::json(&rows);
    }
    let cells: Vec<[String; 5]> = rows
        .into_iter()
        .map(|row| [row.seq.to_string(), time(row.time), row.actor, row.action, row.object])
        .collect();
    output::table(["seq", "time", "actor", "action", "object"], &cells)
}
