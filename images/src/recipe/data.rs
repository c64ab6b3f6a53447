//! Volumes for data: names and labels of the node's configuration, sizes of the recipe.

use super::{RecipeError, Table, mebibytes, refuse_unless};
use ccnode_evidence::{DATA_VOLUMES, DataName};
use std::collections::BTreeMap;

/// A volume for data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataVolume {
    /// Its name.
    pub name: DataName,
    /// Label of its partition.
    pub label: String,
    /// Its partition's size, MiB.
    pub mib: u64,
}

/// The volumes in the order of their names; each has a size, and each size a volume.
pub(super) fn volumes(
    table: &Table,
    sizes: &BTreeMap<String, String>,
) -> Result<Vec<DataVolume>, RecipeError> {
    let field = "disk.data";
    let list = table.get("disk").and_then(|disk| disk.get("data")).and_then(|data| data.as_array());
    let mut volumes = Vec::new();
    for item in list.into_iter().flatten() {
        let text = |key: &str| item.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let want = "names of 1 to 12 lower-case letters, digits and `-` in [[disk.data]] of the node's configuration";
        let name: DataName = text("name").parse().map_err(|_| RecipeError::Value {
            field,
            value: text("name").to_owned(),
            want,
        })?;
        let want = "a size for each [[disk.data]] of the node's configuration";
        let size = sizes.get(name.as_str());
        let size = size.ok_or_else(|| RecipeError::Value { field, value: name.to_string(), want })?;
        volumes.push(DataVolume { label: text("label").to_owned(), mib: mebibytes(field, size)?, name });
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let twice = volumes.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name));
    let known = volumes.len() == sizes.len() && !twice && volumes.len() <= DATA_VOLUMES;
    refuse_unless(
        known,
        field,
        "",
        "sizes of the [[disk.data]] of the node's configuration, eight at most, and no others",
    )?;
    Ok(volumes)
}
