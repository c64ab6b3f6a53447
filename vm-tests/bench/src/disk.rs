//! The disk's figures: both ways to open a volume, and both ways to fill it, out of one boot.

use std::collections::BTreeMap;

use crate::figures::{Figure, Section};

/// Judging the header and opening the volume as a share of `cryptsetup open`.
const OPEN_GOAL: f64 = 0.5;
/// The rate of the copy as a share of that of dd.
const FILL_GOAL: f64 = 0.9;

/// The figures out of what the guest said, or why there are none.
#[must_use]
pub fn section(said: &Result<BTreeMap<String, String>, String>) -> Section {
    let figure = |key: &str, name: &str, unit| match said {
        Err(why) => Figure::unmeasured(name, unit, why),
        Ok(said) => match said.get(key).and_then(|value| value.parse().ok()) {
            Some(value) => Figure::new(name, value, unit),
            None => Figure::unmeasured(name, unit, format!("the guest did not tell {key}")),
        },
    };
    let cryptsetup = figure("open_cryptsetup_ms", "disk-cryptsetup-open", "ms");
    let opened = figure("open_ours_ms", "disk-header-judged-and-opened", "ms");
    let dd = figure("fill_dd_mib_s", "disk-dd-from-verity", "MiB/s");
    let filled = figure("fill_ours_mib_s", "disk-fill", "MiB/s");
    let figures = vec![
        opened.over(&cryptsetup, "header-judged-and-opened-over-cryptsetup-open").at_most(OPEN_GOAL),
        filled.over(&dd, "fill-over-dd").at_least(FILL_GOAL),
        cryptsetup,
        opened,
        dd,
        filled,
    ];
    let mut notes = vec![
        "opened: medians of five turns, each from the call to the mapping; cryptsetup as a program, ours as ccnode-init calls it".to_owned(),
    ];
    if let Some(mib) = said.as_ref().ok().and_then(|said| said.get("fill_mib")) {
        notes
            .push(format!("filled: medians of three turns, {mib} MiB from dm-verity onto one opened volume"));
    }
    Section { title: "The disk: all of it in one boot".into(), figures, notes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_to_be_high_and_times_low() {
        let said = [
            ("open_cryptsetup_ms", "200.0"),
            ("open_ours_ms", "50.0"),
            ("fill_dd_mib_s", "40"),
            ("fill_ours_mib_s", "30"),
            ("fill_mib", "300"),
        ];
        let said = Ok(said.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let section = section(&said);
        let holds: Vec<_> = section.figures.iter().map(Figure::holds).collect();
        assert_eq!(holds, [Some(true), Some(false), None, None, None, None]);
        assert!(section.notes.iter().any(|note| note.contains("300 MiB")), "{:?}", section.notes);
    }

    #[test]
    fn what_was_not_told_is_a_gap() {
        for said in [Err("no guest".to_owned()), Ok(BTreeMap::new())] {
            assert!(section(&said).figures.iter().all(|figure| figure.value.is_err()));
        }
    }
}
