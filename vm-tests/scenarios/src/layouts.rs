//! Images of other layouts than the demo's: the same tree and, where nothing else is asked for, the same initramfs.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::Story;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::stage::{Built, Stage, build_recipe, test_recipe};

/// Volumes for data, and the size of each.
const DATA: [(&str, &str, &str); 2] = [("logs", "/mnt", "34M"), ("work", "/srv", "40M")];

/// Builds the image of that layout, with a volume of that size, and perhaps swap of that size and volumes for data beside it.
///
/// # Errors
/// When the build fails.
pub fn image(story: &Story, layout: &str, volume: &str, beside: Option<&str>) -> Result<Built> {
    changed(story, |recipe, config| {
        recipe.insert("layout".into(), layout.into());
        let disk =
            recipe.get_mut("disk").and_then(|disk| disk.as_table_mut()).context("a recipe has [disk]")?;
        disk.insert("root".into(), volume.into());
        if let Some(swap) = beside {
            disk.insert("swap".into(), swap.into());
            let sizes = DATA.map(|(name, _, size)| (name.to_owned(), size.into()));
            disk.insert("data".into(), toml::Table::from_iter(sizes).into());
            *config = config.replace("[disk]\n", "[disk]\nswap = \"swap\"\n");
            for (name, mount, _) in DATA {
                write!(
                    config,
                    "\n[[disk.data]]\nname = \"{name}\"\nlabel = \"{name}\"\nmount = \"{mount}\"\n"
                )?;
            }
        }
        Ok(())
    })
}

/// Builds the image whose volume for /var has tags of that kind, for which the initramfs needs `modules`.
///
/// # Errors
/// When the build fails.
pub fn tagged(story: &Story, integrity: &str, volume: &str, modules: &[&str]) -> Result<Built> {
    changed(story, |recipe, config| {
        recipe.insert("layout".into(), "verity-root".into());
        let disk =
            recipe.get_mut("disk").and_then(|disk| disk.as_table_mut()).context("a recipe has [disk]")?;
        disk.insert("root".into(), volume.into());
        let listed = recipe.get_mut("kernel").and_then(|kernel| kernel.get_mut("modules"));
        let listed = listed.and_then(|listed| listed.as_array_mut()).context("a recipe has modules")?;
        listed.extend(modules.iter().map(|module| toml::Value::from(*module)));
        *config = config.replace("[disk]\n", &format!("[disk]\nintegrity = \"{integrity}\"\n"));
        Ok(())
    })
}

static MAKING: Mutex<()> = Mutex::new(());

fn changed(story: &Story, change: impl FnOnce(&mut toml::Table, &mut String) -> Result<()>) -> Result<Built> {
    let keys = &Stage::get()?.keys;
    // One folder of all scenarios, made anew each time.
    let alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = test_recipe("1", keys)?;
    let own = story.path("recipe");
    let copied = Command::new("cp").arg("-a").arg(shared.parent().context("a folder")?).arg(&own).status()?;
    ensure!(copied.success(), "copying the recipe failed");
    drop(alone);
    let path = own.join("recipe.toml");
    let mut recipe: toml::Table = fs::read_to_string(&path)?.parse()?;
    let config = own.join("node.toml");
    let mut text = fs::read_to_string(&config)?;
    change(&mut recipe, &mut text)?;
    fs::write(&config, text)?;
    fs::write(&path, toml::to_string(&recipe)?)?;
    build_recipe(&path, story.path("image"), keys, None)
}
