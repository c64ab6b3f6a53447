//! Figures that a program of the release profile left in a file below `target/bench/`.

use crate::figures::{Figure, Section};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Wire {
    figures: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    value: f64,
    unit: String,
    goal: Option<f64>,
}

/// Reads them; what is not there is told as a figure that was not measured.
#[must_use]
pub fn section(title: &str, file: &Path) -> Section {
    let title = title.to_owned();
    match read(file) {
        Ok(figures) => Section { title, figures, notes: Vec::new() },
        Err(error) => {
            let why = format!("{error:#}");
            let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            Section { title, figures: vec![Figure::unmeasured(name, "ms", why)], notes: Vec::new() }
        }
    }
}

fn read(file: &Path) -> Result<Vec<Figure>> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    let wire: Wire = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
    wire.figures.into_iter().map(figure).collect()
}

/// Milliseconds below which a time is told in microseconds: the table has no fractions.
const FINE: f64 = 10.0;

fn figure(line: Line) -> Result<Figure> {
    let (unit, scale) = match line.unit.as_str() {
        "ms" if line.value < FINE => ("µs", 1000.0),
        "ms" => ("ms", 1.0),
        "ratio" => ("ratio", 1.0),
        "MB/s" => ("MB/s", 1.0),
        "MiB" => ("MiB", 1.0),
        "1/s" => ("1/s", 1.0),
        other => bail!("unit `{other}`"),
    };
    let figure = Figure::new(line.name, line.value * scale, unit);
    Ok(match line.goal {
        Some(goal) => figure.at_most(goal * scale),
        None => figure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("appraisal.json");
        let text = r#"{"figures":[{"name":"a","value":0.2,"unit":"ms","goal":0.25,"holds":true},
            {"name":"c","value":483.0,"unit":"ms","goal":null,"holds":null},
            {"name":"b","value":1.3,"unit":"ratio","goal":1.2,"holds":false}]}"#;
        std::fs::write(&file, text).unwrap();
        let found = section("t", &file).figures;
        assert_eq!((found[0].value.clone(), found[0].unit, found[0].holds()), (Ok(200.0), "µs", Some(true)));
        assert_eq!((found[1].value.clone(), found[1].unit), (Ok(483.0), "ms"));
        assert_eq!(found[2].holds(), Some(false));
        std::fs::write(&file, text.replace("ratio", "pieces")).unwrap();
        assert!(section("t", &file).figures[0].value.as_ref().unwrap_err().contains("pieces"));
        assert!(section("t", &dir.path().join("none")).figures[0].value.is_err());
    }
}
