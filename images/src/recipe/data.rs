//! Volumes for data: names and labels of the node's configuration, sizes of the recipe.

use super::{RecipeError, Table, mebibytes};
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
    let list = table.get("disk").and_then(|disk| disk.get("data")).and_then(|data| data.as_array());
    let mut volumes: Vec<DataVolume> = Vec::new();
    for item in list.into_iter().flatten() {
        let text = |key: &str| item.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let name = text("name");
        let bad = |what: &str| RecipeError::Data(format!("`{}`: {what}", name.escape_debug()));
        let name: DataName =
            name.parse().map_err(|_| bad("a name has 1 to 12 lower-case letters, digits and `-`"))?;
        if volumes.iter().any(|other| other.name == name) {
            return Err(bad("named twice"));
        }
        let size =
            sizes.get(name.as_str()).ok_or_else(|| bad("give it a size in [disk.data] of the recipe"))?;
        let label = text("label");
        // The boot partition's, which the configuration does not name, and what a partition table would cut.
        if label == "esp" || label.encode_utf16().count() > 36 {
            return Err(bad("choose another label: `esp` is taken, and more than 36 letters don't fit"));
        }
        volumes.push(DataVolume { label: label.to_owned(), mib: mebibytes("disk.data", size)?, name });
    }
    if volumes.len() > DATA_VOLUMES {
        return Err(RecipeError::Data(format!("{} volumes; {DATA_VOLUMES} at most", volumes.len())));
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let known = |size: &&String| volumes.iter().any(|volume| volume.name.as_str() == **size);
    if let Some(size) = sizes.keys().find(|size| !known(size)) {
        let size = size.escape_debug();
        return Err(RecipeError::Data(format!(
            "none is named `{size}`, which [disk.data] of the recipe has a size for"
        )));
    }
    Ok(volumes)
}
