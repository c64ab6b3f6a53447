//! Images of other layouts than the demo's: the same tree and, where nothing else is asked for, the same initramfs.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::Story;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::stage::{Built, Stage, build_recipe, test_recipe};

/// Volumes for data, and the size of each.
const DATA: [(&str, &str, &str); 2] = [("logs", "/mnt", "34M"), ("work", "/srv", "40M")];

/// Builds the image of that layout, with a volume of that size, and perhaps swap of that size and volumes for data beside it.
///
/// # Errors
/// When the build fails.
pub fn image(story: &Story, layout: &str, volume: &str, beside: Option<&str>) -> Result<Built> {
    let keys = &Stage::get()?.keys;
    let shared = test_recipe("1", keys)?;
    let own = story.path("recipe");
    let copied = Command::new("cp").arg("-a").arg(shared.parent().context("a folder")?).arg(&own).status()?;
    ensure!(copied.success(), "copying the recipe failed");
    let path = own.join("recipe.toml");
    let mut recipe: toml::Table = fs::read_to_string(&path)?.parse()?;
    recipe.insert("layout".into(), layout.into());
    let disk = recipe.get_mut("disk").and_then(|disk| disk.as_table_mut()).context("a recipe has [disk]")?;
    disk.insert("root".into(), volume.into());
    if let Some(swap) = beside {
        disk.insert("swap".into(), swap.into());
        let sizes = DATA.map(|(name, _, size)| (name.to_owned(), size.into()));
        disk.insert("data".into(), toml::Table::from_iter(sizes).into());
        let config = own.join("node.toml");
        let mut text = fs::read_to_string(&config)?.replace("[disk]\n", "[disk]\nswap = \"swap\"\n");
        for (name, mount, _) in DATA {
            write!(text, "\n[[disk.data]]\nname = \"{name}\"\nlabel = \"{name}\"\nmount = \"{mount}\"\n")?;
        }
        fs::write(&config, text)?;
    }
    fs::write(&path, toml::to_string(&recipe)?)?;
    build_recipe(&path, story.path("image"), keys, None)
}
