//! Reference tuples from files: of the kind that is wanted, or a hint which one it is.

use crate::error::Usage;
use anyhow::{Context as _, Result, anyhow};
use ccnode_evidence::{ImageTuple, PcrIndex, PcrValues, PlatformTuple, TupleError};
use serde::Deserialize;
use std::path::Path;

/// Reads an image tuple.
pub(crate) fn image(path: &Path) -> Result<ImageTuple> {
    read(path, ImageTuple::from_json, Kind::Image, "give image-tuple.json of a build")
}

/// Reads a platform tuple.
pub(crate) fn platform(path: &Path) -> Result<PlatformTuple> {
    let next = "make one with `ccnode platform record LOG -o FILE`";
    read(path, PlatformTuple::from_json, Kind::Platform, next)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Platform,
}

fn read<T>(
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, TupleError>,
    wanted: Kind,
    next: &str,
) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let path = path.display();
    let usage = |error: TupleError| match kind(&text) {
        Some(Kind::Platform) if wanted == Kind::Image => Usage::new(
            format!("{path} is a platform tuple, and an image tuple is wanted"),
            format!("register it with `ccnode platform register {path}`"),
        ),
        Some(Kind::Image) if wanted == Kind::Platform => Usage::new(
            format!("{path} is an image tuple, and a platform tuple is wanted"),
            format!("register it with `ccnode image register {path}`"),
        ),
        _ => Usage::new(format!("{path}: {error}"), next),
    };
    parse(&text).map_err(|error| anyhow!(usage(error)))
}

/// Which kind it is by the PCRs that it holds, sound or not.
fn kind(text: &[u8]) -> Option<Kind> {
    #[derive(Deserialize)]
    struct Held {
        pcrs: PcrValues,
    }
    let held: Held = serde_json::from_slice(text).ok()?;
    let holds = |index: u32| PcrIndex::new(index).is_ok_and(|index| held.pcrs.get(index).is_some());
    match (holds(0), holds(4)) {
        (true, false) => Some(Kind::Platform),
        (false, true) => Some(Kind::Image),
        _ => None,
    }
}
