//! `ccnode image`: building, predicting, registering.

use crate::admin::{connect, image, images};
use crate::args::{Global, Image};
use crate::error::Unreadable;
use crate::output::{self, short, time};
use crate::tuple;
use anyhow::{Context as _, Result};
use ccnode_evidence::{DataName, ImageTuple, PcrIndex, PcrValues, TupleEvent};
use ccnode_images::{Inputs, Progress, SecureBoot};
use ccnode_protocol::admin::{self, ImageRecord};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) async fn run(global: &Global, command: Image) -> Result<()> {
    match command {
        Image::Build { recipe, output, init, ca } => build(global, &recipe, &output, init, ca),
        Image::Measure { uki, secure_boot } => {
            let bytes = std::fs::read(&uki).with_context(|| format!("reading {}", uki.display()))?;
            let tuple = ccnode_images::measure_uki(
                &bytes,
                if secure_boot { SecureBoot::On } else { SecureBoot::Off },
            )
            .map_err(|error| Unreadable(format!("{} is no UKI: {error}", uki.display())))?;
            if global.json {
                return output::json(&tuple);
            }
            events(&tuple.pcrs, &tuple.events)
        }
        Image::Register { tuple } => {
            let tuple = tuple::image(&tuple)?;
            let record: ImageRecord = connect(global)?.post(admin::IMAGES, &tuple).await?;
            shown(global, &record)
        }
        Image::List => list(global).await,
        Image::Show { id } => shown(global, &image(&connect(global)?, &id).await?),
        Image::Delete { id } => {
            let client = connect(global)?;
            let id = image(&client, &id).await?.id;
            client.delete(&admin::path(admin::IMAGE, &[&id])).await
        }
    }
}

async fn list(global: &Global) -> Result<()> {
    let records = images(&connect(global)?).await?;
    if global.json {
        return output::json(&records);
    }
    let rows: Vec<[String; 5]> = records
        .iter()
        .map(|record| {
            let pools: Vec<&str> = record.pools.iter().map(|pool| pool.as_str()).collect();
            [
                short(&record.id),
                record.tuple.name.clone(),
                record.tuple.version.clone(),
                time(record.registered),
                pools.join(", "),
            ]
        })
        .collect();
    output::table(["id", "name", "version", "registered", "pools"], &rows)
}

fn shown(global: &Global, record: &ImageRecord) -> Result<()> {
    if global.json {
        return output::json(record);
    }
    output::fields(&[
        ("image", record.id.hex()),
        ("name", record.tuple.name.clone()),
        ("version", record.tuple.version.clone()),
        ("root hash", record.tuple.verity_hash.hex()),
        ("layout", record.tuple.layout.to_string()),
        ("data", data(&record.tuple)),
        ("cmdline", record.tuple.cmdline.clone()),
        ("registered", time(record.registered)),
    ])?;
    events(&record.tuple.pcrs, &record.tuple.events)
}

/// Volumes for data beside the root.
fn data(tuple: &ImageTuple) -> String {
    let names: Vec<&str> = tuple.data.iter().map(DataName::as_str).collect();
    if names.is_empty() { "-".into() } else { names.join(", ") }
}

/// Prints a tuple: each PCR with the events behind it.
pub(crate) fn events(pcrs: &PcrValues, events: &BTreeMap<PcrIndex, Vec<TupleEvent>>) -> Result<()> {
    for (pcr, value) in &pcrs.0 {
        output::line(&format!("sha256:{:<3} {value}", pcr.get()))?;
        for event in events.get(pcr).into_iter().flatten() {
            output::line(&format!("           {}  {}", short(&event.digest), event.component))?;
        }
    }
    Ok(())
}

fn build(
    global: &Global,
    recipe: &Path,
    out: &Path,
    init: PathBuf,
    certificates: Vec<PathBuf>,
) -> Result<()> {
    std::fs::File::open(&init)
        .with_context(|| format!("--init {}: build ccnode-init first", init.display()))?;
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            Some(text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{text}`, no Unix seconds"))?)
        }
        Err(_) => None,
    };
    let inputs = Inputs { init, certificates, cache: ccnode_images::default_cache(out), epoch };
    let report = ccnode_images::build(recipe, out, &inputs, &mut |progress| match progress {
        Progress::Begin(step) => eprintln!("  {step} …"),
        Progress::End(step, took) if took.as_secs_f32() >= 0.5 => {
            eprintln!("  {step}: {:.1} s", took.as_secs_f32());
        }
        Progress::End(..) => (),
    })?;
    if global.json {
        return output::json(&report.tuple);
    }
    output::fields(&[
        ("image", report.tuple.id().hex()),
        ("disk", report.disk.display().to_string()),
        ("uki", report.uki.display().to_string()),
        ("tuple", report.tuple_path.display().to_string()),
        ("root hash", report.tuple.verity_hash.hex()),
        ("layout", report.tuple.layout.to_string()),
        ("data", data(&report.tuple)),
    ])?;
    eprintln!("next: ccnode image register {}", report.tuple_path.display());
    Ok(())
}
