//! `ccnode platform`: what a firmware measures, recorded from a log.

use crate::admin::{connect, platform, platforms};
use crate::args::{Global, Platform};
use crate::error::Unreadable;
use crate::explain::no_log;
use crate::output::{self, short, time};
use crate::tuple;
use anyhow::{Context as _, Result, bail};
use ccnode_evidence::PlatformTuple;
use ccnode_protocol::admin::{self, Pair, PlatformRecord, RefusalRecord};
use std::path::{Path, PathBuf};

pub(crate) async fn run(global: &Global, command: Platform) -> Result<()> {
    match command {
        Platform::Record { log: Some(log), name, output, .. } => from_file(global, &log, name, output).await,
        Platform::Record { refusal: Some(id), name, output, .. } => {
            from_refusal(global, id, name, output).await
        }
        Platform::Record { .. } => bail!("say a log file, or --refusal ID"),
        Platform::Register { tuple } => {
            let tuple = tuple::platform(&tuple)?;
            let record: PlatformRecord = connect(global)?.post(admin::PLATFORMS, &tuple).await?;
            shown(global, &record)
        }
        Platform::List => list(global).await,
        Platform::Show { id } => shown(global, &platform(&connect(global)?, &id).await?),
        Platform::Delete { id } => {
            let client = connect(global)?;
            let id = platform(&client, &id).await?.id;
            client.delete(&admin::path(admin::PLATFORM, &[&id])).await
        }
    }
}

async fn from_file(global: &Global, log: &Path, name: Option<String>, output: Option<PathBuf>) -> Result<()> {
    let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let name = name.unwrap_or_else(|| log.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let tuple = ccnode_images::platform_tuple_from_log(&bytes, &name)
        .map_err(|error| Unreadable(format!("{} gives no platform: {error}", log.display())))?;
    match output {
        Some(path) => write(&path, &tuple),
        None => shown(global, &connect(global)?.post(admin::PLATFORMS, &tuple).await?),
    }
}

async fn from_refusal(global: &Global, id: u64, name: Option<String>, output: Option<PathBuf>) -> Result<()> {
    let client = connect(global)?;
    let refusal: RefusalRecord = client.get(&admin::path(admin::REFUSAL, &[&id])).await?;
    let Some(kept) = &refusal.kept else {
        bail!(no_log(id, &refusal));
    };
    let name = name.unwrap_or_else(|| format!("refusal-{id}"));
    let tuple = ccnode_images::platform_tuple_from_log(&kept.logs.event_log.0, &name)
        .with_context(|| format!("the log of refusal {id} gives no platform"))?;
    for (pcr, value) in &tuple.pcrs.0 {
        if kept.pcrs.get(*pcr) != Some(value) {
            bail!("the log of refusal {id} does not replay to the quoted PCR {pcr}: nothing was recorded");
        }
    }
    if let Some(path) = output {
        return write(&path, &tuple);
    }
    let record: PlatformRecord = client.post(admin::PLATFORMS, &tuple).await?;
    match (&refusal.pool, refusal.image) {
        (Some(pool), Some(image)) => {
            let pair = Pair { platform: record.id, image };
            let _: admin::Pool = client.post(&admin::path(admin::PAIRS, &[pool]), &pair).await?;
            eprintln!("allowed in pool {pool}: platform {} with image {}", short(&record.id), short(&image));
        }
        _ => eprintln!("the refused boot ran no registered image: allow a pair with `ccnode pool allow`"),
    }
    shown(global, &record)
}

fn write(path: &Path, tuple: &PlatformTuple) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(tuple)?;
    text.push(b'\n');
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

async fn list(global: &Global) -> Result<()> {
    let records = platforms(&connect(global)?).await?;
    if global.json {
        return output::json(&records);
    }
    let rows: Vec<[String; 4]> = records
        .iter()
        .map(|record| {
            let pools: Vec<&str> = record.pools.iter().map(|pool| pool.as_str()).collect();
            [short(&record.id), record.tuple.name.clone(), time(record.registered), pools.join(", ")]
        })
        .collect();
    output::table(["id", "name", "registered", "pools"], &rows)
}

fn shown(global: &Global, record: &PlatformRecord) -> Result<()> {
    if global.json {
        return output::json(record);
    }
    output::fields(&[
        ("platform", record.id.hex()),
        ("name", record.tuple.name.clone()),
        ("registered", time(record.registered)),
    ])?;
    crate::image::events(&record.tuple.pcrs, &record.tuple.events)
}
