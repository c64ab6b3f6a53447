//! Figures with their goals: the table for people and `summary.json` for machines.

use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// One figure. What could not be measured has no value and says why.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What it is, in stable words of lower case: "cryptsetup-open".
    pub name: String,
    /// The value, or why there is none.
    pub value: Result<f64, String>,
    /// Unit: "ms", "MiB", "ratio", "count".
    pub unit: &'static str,
    /// The value is to be at most this, or at least where `high` says so.
    pub goal: Option<f64>,
    /// Whether more is better.
    pub high: bool,
    /// How it came about, for the table alone: "345–377 of 3 boots".
    pub detail: String,
    /// The least of several runs: what a busy host has disturbed least.
    pub least: Option<f64>,
}

impl Figure {
    /// A measured value without goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value: Ok(value),
            unit,
            goal: None,
            high: false,
            detail: String::new(),
            least: None,
        }
    }

    /// A figure that could not be measured, and why.
    pub fn unmeasured(name: impl Into<String>, unit: &'static str, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Err(why.into()),
            unit,
            goal: None,
            high: false,
            detail: String::new(),
            least: None,
        }
    }

    /// The median of several runs, with their spread as the detail; unmeasured where there are none.
    pub fn median(name: impl Into<String>, runs: &[f64], unit: &'static str) -> Self {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = match (sorted.get((sorted.len().max(1) - 1) / 2), sorted.get(sorted.len() / 2)) {
            (Some(low), Some(high)) => f64::midpoint(*low, *high),
            _ => return Self::unmeasured(name, unit, "no run ended"),
        };
        let spread = match (sorted.first(), sorted.last()) {
            (Some(min), Some(max)) => format!("{min:.0}–{max:.0}, {} boots", sorted.len()),
            _ => String::new(),
        };
        Self { least: sorted.first().copied(), ..Self::new(name, middle, unit).detail(spread) }
    }

    /// This figure over another; unmeasured where either is.
    pub fn over(&self, other: &Self, name: impl Into<String>) -> Self {
        match (&self.value, &other.value) {
            (Ok(a), Ok(b)) if *b > 0.0 => {
                let least = self.least.zip(other.least).filter(|(_, b)| *b > 0.0);
                let least =
                    least.map(|(a, b)| format!("; {:.2} of the fastest boots", a / b)).unwrap_or_default();
                Self::new(name, a / b, "ratio").detail(format!("{} / {}{least}", self.name, other.name))
            }
            (Ok(_), Ok(_)) => Self::unmeasured(name, "ratio", format!("{} is zero", other.name)),
            (Err(why), _) => Self::unmeasured(name, "ratio", format!("{}: {why}", self.name)),
            (_, Err(why)) => Self::unmeasured(name, "ratio", format!("{}: {why}", other.name)),
        }
    }

    /// Sets the goal: at most this.
    #[must_use]
    pub fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Sets the goal: at least this.
    #[must_use]
    pub fn at_least(self, goal: f64) -> Self {
        Self { high: true, ..self.at_most(goal) }
    }

    /// Sets the detail.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = text.into();
        self
    }

    /// Whether the goal is reached; none without a goal or a value.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        let (value, goal) = (*self.value.as_ref().ok()?, self.goal?);
        Some(if self.high { value >= goal } else { value <= goal })
    }
}

/// A heading of the table, its figures, and remarks on how they came about.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// Remarks, a line each.
    pub notes: Vec<String>,
}

/// The table for people.
#[must_use]
pub fn table(sections: &[Section]) -> String {
    let names = sections.iter().flat_map(|s| &s.figures).map(|f| f.name.chars().count());
    let width = names.max().unwrap_or_default();
    let mut out = String::new();
    for section in sections {
        let _infallible = writeln!(out, "\n{}", section.title);
        for figure in &section.figures {
            let _infallible = writeln!(out, "  {}", line(figure, width));
        }
        for note in &section.notes {
            let _infallible = writeln!(out, "  ({note})");
        }
    }
    out
}

fn line(figure: &Figure, width: usize) -> String {
    let name = &figure.name;
    let value = match &figure.value {
        Ok(value) => shown(*value, figure.unit),
        Err(why) => return format!("{name:width$}  not measured: {why}"),
    };
    let unit = if figure.unit == "ratio" { "×" } else { figure.unit };
    let than = if figure.high { '≥' } else { '≤' };
    let goal = match (figure.goal, figure.holds()) {
        (Some(goal), Some(true)) => format!("goal {than} {} reached", shown(goal, figure.unit)),
        (Some(goal), _) => format!("goal {than} {} MISSED", shown(goal, figure.unit)),
        _ => String::new(),
    };
    format!("{name:width$}  {value:>9} {unit:<5}  {goal:<20}  {}", figure.detail).trim_end().to_owned()
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "ms" | "count" => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    figures: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    value: Option<f64>,
    unit: &'a str,
    goal: Option<f64>,
    holds: Option<bool>,
}

fn row(figure: &Figure) -> Row<'_> {
    let Figure { name, value, unit, goal, .. } = figure;
    let value = value.as_ref().ok().map(|v| (v * 1000.0).round() / 1000.0);
    Row { name, value, unit, goal: *goal, holds: figure.holds() }
}

/// `{"figures":[{"name","value","unit","goal","holds"}]}`: the goal is null where there is none, the value where it was
/// not measured, `holds` in both cases. Values have three decimals at most.
///
/// # Errors
/// Never in practice: every value is a finite number or null.
pub fn summary(sections: &[Section]) -> Result<String> {
    let figures = sections.iter().flat_map(|s| &s.figures).map(row).collect();
    Ok(serde_json::to_string_pretty(&Summary { figures })? + "\n")
}

/// Writes the summary to a file, whole or not at all; its folder is made.
///
/// # Errors
/// When it can't be written.
pub fn write_summary(sections: &[Section], path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    std::fs::write(&part, summary(sections)?).with_context(|| format!("writing {}", part.display()))?;
    std::fs::rename(&part, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sections() -> Vec<Section> {
        let peer = Figure::median("cryptsetup-open", &[377.0, 345.0, 372.0], "ms");
        let ours = Figure::new("ours", 100.0, "ms");
        let ratio = ours.over(&peer, "ours-over-cryptsetup").at_most(0.3);
        let missed = Figure::new("initramfs-zstd", 7.5, "MiB").at_most(7.0);
        let none = Figure::unmeasured("systemd-cryptsetup-attach", "ms", "no swtpm").at_most(1.0);
        let times =
            Section { title: "Times".into(), figures: vec![peer, ours, ratio], notes: vec!["a note".into()] };
        vec![times, Section { title: "Sizes".into(), figures: vec![missed, none], notes: Vec::new() }]
    }

    #[test]
    fn summary_has_every_figure_in_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bench/summary.json");
        write_summary(&sections(), &path).unwrap();
        let read: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let want = json!({"figures": [
            {"name": "cryptsetup-open", "value": 372.0, "unit": "ms", "goal": null, "holds": null},
            {"name": "ours", "value": 100.0, "unit": "ms", "goal": null, "holds": null},
            {"name": "ours-over-cryptsetup", "value": 0.269, "unit": "ratio", "goal": 0.3, "holds": true},
            {"name": "initramfs-zstd", "value": 7.5, "unit": "MiB", "goal": 7.0, "holds": false},
            {"name": "systemd-cryptsetup-attach", "value": null, "unit": "ms", "goal": 1.0, "holds": null},
        ]});
        assert_eq!(read, want);
        assert_eq!(std::fs::read_dir(dir.path().join("bench")).unwrap().count(), 1);
    }

    #[test]
    fn table_shows_goals_spreads_and_gaps() {
        let want = "
Times
  cryptsetup-open                  372 ms                           345–377, 3 boots
  ours                             100 ms
  ours-over-cryptsetup            0.27 ×      goal ≤ 0.30 reached   ours / cryptsetup-open
  (a note)

Sizes
  initramfs-zstd                  7.50 MiB    goal ≤ 7.00 MISSED
  systemd-cryptsetup-attach  not measured: no swtpm
";
        assert_eq!(table(&sections()), want);
    }

    #[test]
    fn median_of_even_and_odd_and_none() {
        assert_eq!(Figure::median("x", &[4.0, 1.0, 3.0, 2.0], "ms").value, Ok(2.5));
        assert_eq!(Figure::median("x", &[9.0, 1.0, 3.0], "ms").value, Ok(3.0));
        assert_eq!(Figure::median("x", &[], "ms").value, Err("no run ended".into()));
    }

    #[test]
    fn a_ratio_of_what_was_not_measured_says_which() {
        let (a, b) = (Figure::new("a", 1.0, "ms"), Figure::unmeasured("b", "ms", "why"));
        assert_eq!(a.over(&b, "r").value, Err("b: why".into()));
        assert_eq!(b.over(&a, "r").value, Err("b: why".into()));
        assert_eq!(a.over(&Figure::new("zero", 0.0, "ms"), "r").value, Err("zero is zero".into()));
    }

    #[test]
    fn a_ratio_of_medians_tells_that_of_the_fastest_boots_too() {
        let (a, b) =
            (Figure::median("a", &[30.0, 90.0, 60.0], "ms"), Figure::median("b", &[120.0, 240.0], "ms"));
        let ratio = a.over(&b, "r");
        assert_eq!(
            (ratio.value, ratio.detail.as_str()),
            (Ok(60.0 / 180.0), "a / b; 0.25 of the fastest boots")
        );
    }

    #[test]
    fn a_goal_holds_up_to_its_edge() {
        assert_eq!(Figure::new("a", 0.3, "ratio").at_most(0.3).holds(), Some(true));
        assert_eq!(Figure::new("a", 0.3001, "ratio").at_most(0.3).holds(), Some(false));
    }
}
