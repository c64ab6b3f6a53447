//! The initramfs by part, as the image builder counted it.

use anyhow::{Context as _, Result};
use ccnode_images::Sizes;
use std::fs;
use std::path::Path;

use crate::figures::{Figure, Section};

/// Name of the figure of the unpacked size.
pub const RAW: &str = "initramfs-raw";
/// Name of the figure of the packed size.
pub const PACKED: &str = "initramfs-zstd-19";

/// Goals, MiB, without kernel modules.
const RAW_GOAL: f64 = 20.0;
const PACKED_GOAL: f64 = 7.0;

/// The sizes out of `sizes.json` in the folder of a built image.
#[must_use]
pub fn measure(image: Result<&Path>) -> Section {
    let figures = match image.and_then(read) {
        Ok(sizes) => figures(&sizes),
        Err(error) => {
            let gap = |name, goal| Figure::unmeasured(name, "MiB", format!("{error:#}")).at_most(goal);
            vec![gap(RAW, RAW_GOAL), gap(PACKED, PACKED_GOAL)]
        }
    };
    let notes = vec!["without kernel modules, as in the goals; MiB is 1,048,576 bytes".to_owned()];
    Section { title: "Sizes of the initramfs".into(), figures, notes }
}

fn read(image: &Path) -> Result<Sizes> {
    let path = image.join("sizes.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn figures(sizes: &Sizes) -> Vec<Figure> {
    let parts = sizes.initramfs.iter().map(|(part, size)| {
        let detail = if part == "modules" { "not in the goals" } else { "" };
        Figure::new(format!("initramfs-part-{part}"), mib(*size), "MiB").detail(detail)
    });
    let mut figures = vec![
        Figure::new(RAW, mib(sizes.initramfs_without_modules), "MiB").at_most(RAW_GOAL),
        Figure::new(PACKED, mib(sizes.initramfs_without_modules_packed), "MiB").at_most(PACKED_GOAL),
    ];
    figures.extend(parts);
    figures.push(
        Figure::new("initramfs-zstd-19-whole", mib(sizes.initramfs_packed), "MiB").detail("with modules"),
    );
    figures
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"initramfs":{"configuration":4096,"init":6291456,"libraries":10485760,"modules":2097152},
        "initramfs_without_modules":16781312,"initramfs_without_modules_packed":7864320,"initramfs_packed":8388608,
        "kernel":1,"uki":2,"root":3,"disk":4}"#;

    #[test]
    fn goals_leave_modules_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sizes.json"), TEXT).unwrap();
        let section = measure(Ok(dir.path()));
        let value = |name: &str| section.figures.iter().find(|f| f.name == name).unwrap();
        assert_eq!(value(RAW).value, Ok(16.003_906_25));
        assert_eq!((value(RAW).holds(), value(PACKED).holds()), (Some(true), Some(false)));
        assert_eq!(value("initramfs-part-init").value, Ok(6.0));
        assert_eq!(value("initramfs-part-modules").holds(), None);
    }

    #[test]
    fn an_image_that_was_not_built_leaves_gaps() {
        let section = measure(Ok(Path::new("/nowhere")));
        assert!(section.figures.iter().all(|f| f.value.is_err() && f.goal.is_some()));
        assert_eq!(section.figures.len(), 2);
    }
}
