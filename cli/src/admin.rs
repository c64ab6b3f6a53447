//! What several commands ask of the service: finding objects by the beginning of their id.

use crate::args::Global;
use crate::client::{Client, Usage};
use crate::context::Context;
use anyhow::{Result, bail};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::admin::{IMAGES, ImageRecord, PLATFORMS, PlatformRecord};

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

/// The one image whose id starts so.
pub(crate) async fn image(client: &Client, id: &str) -> Result<ImageRecord> {
    one("image", "ccnode image list", id, images(client).await?, |record| record.id)
}

/// The one platform whose id starts so.
pub(crate) async fn platform(client: &Client, id: &str) -> Result<PlatformRecord> {
    one("platform", "ccnode platform list", id, platforms(client).await?, |record| record.id)
}

/// The one object whose id starts with `prefix`; `list` is the command that shows them.
pub(crate) fn one<T>(
    kind: &str,
    list: &str,
    prefix: &str,
    all: Vec<T>,
    id: impl Fn(&T) -> Sha256Digest,
) -> Result<T> {
    let mut found: Vec<T> = all.into_iter().filter(|object| id(object).hex().starts_with(prefix)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(object), true) if !prefix.is_empty() => Ok(object),
        (None, _) => bail!(Usage(format!("no {kind} with an id that starts with `{prefix}`: see `{list}`"))),
        _ => bail!(Usage(format!(
            "more than one {kind} has an id that starts with `{prefix}`: give more of it"
        ))),
    }
}
