//! What several commands ask of the service: finding objects by the beginning of their id.

use crate::args::Global;
use crate::client::Client;
use crate::context::Context;
use crate::error::Usage;
use anyhow::{Result, bail};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{IMAGES, ImageRecord, PLATFORMS, POOL, PlatformRecord, Pool, path};

/// Connects as the context says.
pub(crate) fn connect(global: &Global) -> Result<Client> {
    Client::new(&Context::load(global.context.as_deref())?)
}

/// All images.
pub(crate) async fn images(client: &Client) -> Result<Vec<ImageRecord>> {
    client.get(IMAGES).await
}

/// All platforms.
pub(crate) async fn platforms(client: &Client) -> Result<Vec<PlatformRecord>> {
    client.get(PLATFORMS).await
}

/// What a list of one pool shows. Where it is empty, the pool must be there: a name that was mistyped has no objects either.
pub(crate) async fn of_pool<T>(client: &Client, pool: Option<&PoolName>, found: Vec<T>) -> Result<Vec<T>> {
    if let (Some(pool), true) = (pool, found.is_empty()) {
        client.get::<Pool>(&path(POOL, &[pool])).await?;
    }
    Ok(found)
}

/// Goes on only if whoever asks said that data may be lost.
pub(crate) fn confirmed(yes: bool, loss: impl FnOnce() -> String) -> Result<()> {
    match yes {
        true => Ok(()),
        false => bail!(Usage::new(loss(), "say --yes if that may be")),
    }
}

/// The one image whose id starts so.
pub(crate) async fn image(client: &Client, id: &str) -> Result<ImageRecord> {
    let found = one("image", "ccnode image list", id, images(client).await?, |record| record.id);
    match found {
        Err(_) if platforms(client).await?.iter().any(|record| starts(&record.id, id)) => {
            bail!(Usage::new(
                format!("`{id}` is a platform, no image"),
                "give the other id, or see `ccnode image list`"
            ))
        }
        found => found,
    }
}

/// The one platform whose id starts so.
pub(crate) async fn platform(client: &Client, id: &str) -> Result<PlatformRecord> {
    let found = one("platform", "ccnode platform list", id, platforms(client).await?, |record| record.id);
    match found {
        Err(_) if images(client).await?.iter().any(|record| starts(&record.id, id)) => {
            bail!(Usage::new(
                format!("`{id}` is an image, no platform"),
                "give the other id, or see `ccnode platform list`"
            ))
        }
        found => found,
    }
}

/// The one object whose id starts with `prefix`; `list` is the command that shows them.
pub(crate) fn one<T>(
    kind: &str,
    list: &str,
    prefix: &str,
    all: Vec<T>,
    id: impl Fn(&T) -> Sha256Digest,
) -> Result<T> {
    let mut found: Vec<T> = all.into_iter().filter(|object| starts(&id(object), prefix)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(object), true) => Ok(object),
        (None, _) => {
            bail!(Usage::new(
                format!("no {kind} with an id that starts with `{prefix}`"),
                format!("see `{list}`")
            ))
        }
        (Some(_), false) => bail!(Usage::new(
            format!("more than one {kind} has an id that starts with `{prefix}`"),
            "give more of it"
        )),
    }
}

/// An empty beginning is none: it would be an accident.
fn starts(id: &Sha256Digest, prefix: &str) -> bool {
    !prefix.is_empty() && id.hex().starts_with(prefix)
}
