//! The figures of verification, which a program of the release profile left in `target/bench/appraisal.json`.

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
pub fn section(file: &Path) -> Section {
    let title = "Verification, milliseconds on one core".to_owned();
    match read(file) {
        Ok(figures) => Section { title, figures, notes: Vec::new() },
        Err(error) => {
            let why = format!("{error:#}");
            Section { title, figures: vec![Figure::unmeasured("appraisal", "ms", why)], notes: Vec::new() }
        }
    }
}

fn read(file: &Path) -> Result<Vec<Figure>> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    let wire: Wire = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
    wire.figures.into_iter().map(figure).collect()
}

fn figure(line: Line) -> Result<Figure> {
    let unit = match line.unit.as_str() {
        // Fractions of a millisecond, which the table would round away, are told in microseconds.
        "ms" => "µs",
        "ratio" => "ratio",
        "MB/s" => "MB/s",
        other => bail!("unit `{other}`"),
    };
    let scale = if unit == "µs" { 1000.0 } else { 1.0 };
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
            {"name":"b","value":1.3,"unit":"ratio","goal":1.2,"holds":false}]}"#;
        std::fs::write(&file, text).unwrap();
        let found = section(&file).figures;
        assert_eq!((found[0].value.clone(), found[0].unit, found[0].holds()), (Ok(200.0), "µs", Some(true)));
        assert_eq!(found[1].holds(), Some(false));
        std::fs::write(&file, text.replace("ratio", "pieces")).unwrap();
        assert!(section(&file).figures[0].value.as_ref().unwrap_err().contains("pieces"));
        assert!(section(&dir.path().join("none")).figures[0].value.is_err());
    }
}
