//! Whether a table of fields leaves no byte of a structure out.

use std::ops::Range;

/// Panics unless `fields` cover `0..len` in their order: each begins where the one before it ends. Rows of one and the same field,
/// which change it in several ways, follow one another.
pub fn assert_tiled<'a>(len: usize, fields: impl IntoIterator<Item = (&'a str, Range<usize>)>) {
    let mut last = 0..0;
    for (name, range) in fields {
        assert!(!range.is_empty(), "{name} at {range:#x?} has no bytes");
        if range == last {
            continue;
        }
        assert_eq!(
            range.start, last.end,
            "{name} at {range:#x?} leaves a gap, or overlaps, after {last:#x?}"
        );
        last = range;
    }
    assert_eq!(last.end, len, "the fields end at {:#x}, the structure at {len:#x}", last.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(fields: &[(&str, Range<usize>)], len: usize) -> bool {
        std::panic::catch_unwind(|| assert_tiled(len, fields.iter().cloned())).is_ok()
    }

    #[test]
    fn gaps_overlaps_and_ends_are_seen() {
        assert!(tiles(&[("a", 0..2), ("b", 2..3), ("b", 2..3), ("c", 3..8)], 8));
        assert!(!tiles(&[("a", 0..2), ("c", 3..8)], 8), "a gap");
        assert!(!tiles(&[("a", 0..2), ("c", 1..8)], 8), "an overlap");
        assert!(!tiles(&[("a", 1..8)], 8), "no beginning");
        assert!(!tiles(&[("a", 0..7)], 8), "no end");
        assert!(!tiles(&[("a", 0..2), ("b", 2..2), ("c", 2..8)], 8), "nothing");
        assert!(!tiles(&[], 8));
    }
}
