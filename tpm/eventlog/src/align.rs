//! Alignment of two digest sequences: what was changed, added or left out.

/// Longest-common-subsequence tables above this many cells are not built; the rest is then paired in order.
const MAX_CELLS: usize = 1 << 18;

/// One difference; the numbers are positions in the expected and the found sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// An expected event has another digest.
    Changed(usize, usize),
    /// An expected event is not there.
    Missing(usize),
    /// An event that nothing expected.
    Added(usize),
}

/// The differences between two sequences in order; empty when they are equal.
pub(crate) fn align<D: PartialEq>(expected: &[D], found: &[D]) -> Vec<Step> {
    let prefix = expected.iter().zip(found).take_while(|(e, f)| e == f).count();
    let (e, f) = (expected.get(prefix..).unwrap_or_default(), found.get(prefix..).unwrap_or_default());
    let suffix = e.iter().rev().zip(f.iter().rev()).take_while(|(e, f)| e == f).count();
    let e = e.get(..e.len() - suffix).unwrap_or_default();
    let f = f.get(..f.len() - suffix).unwrap_or_default();

    let mut steps = Vec::new();
    let (mut from_e, mut from_f) = (0, 0);
    for (i, j) in common(e, f).into_iter().chain([(e.len(), f.len())]) {
        run(&mut steps, prefix, from_e..i, from_f..j);
        (from_e, from_f) = (i + 1, j + 1);
    }
    steps
}

/// Events between two common ones: paired in order as changed, what is left over is missing or added.
fn run(steps: &mut Vec<Step>, prefix: usize, e: std::ops::Range<usize>, f: std::ops::Range<usize>) {
    let pairs = e.len().min(f.len());
    steps.extend(e.clone().zip(f.clone()).map(|(i, j)| Step::Changed(prefix + i, prefix + j)));
    steps.extend(e.skip(pairs).map(|i| Step::Missing(prefix + i)));
    steps.extend(f.skip(pairs).map(|j| Step::Added(prefix + j)));
}

/// Positions of a longest common subsequence; none where the table would be too large.
fn common<D: PartialEq>(e: &[D], f: &[D]) -> Vec<(usize, usize)> {
    let width = f.len() + 1;
    if e.is_empty() || f.is_empty() || (e.len() + 1).saturating_mul(width) > MAX_CELLS {
        return Vec::new();
    }
    // best[i][j]: length of the longest common subsequence of e[i..] and f[j..].
    let mut best = vec![0u32; (e.len() + 1) * width];
    let at = |best: &[u32], i: usize, j: usize| best.get(i * width + j).copied().unwrap_or(0);
    for (i, left) in e.iter().enumerate().rev() {
        for (j, right) in f.iter().enumerate().rev() {
            let value = if left == right {
                at(&best, i + 1, j + 1) + 1
            } else {
                at(&best, i + 1, j).max(at(&best, i, j + 1))
            };
            if let Some(cell) = best.get_mut(i * width + j) {
                *cell = value;
            }
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while let (Some(left), Some(right)) = (e.get(i), f.get(j)) {
        if left == right {
            out.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if at(&best, i + 1, j) >= at(&best, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Sha256Digest;
    use proptest::prelude::*;

    fn seq(text: &str) -> Vec<Sha256Digest> {
        text.bytes().map(|b| Sha256Digest([b; 32])).collect()
    }

    fn steps(e: &str, f: &str) -> Vec<Step> {
        align(&seq(e), &seq(f))
    }

    #[test]
    fn names_the_event_at_fault() {
        assert_eq!(steps("abcd", "abcd"), []);
        assert_eq!(steps("abcd", "abxd"), [Step::Changed(2, 2)]);
        assert_eq!(steps("abcd", "abxcd"), [Step::Added(2)]);
        assert_eq!(steps("abcd", "abd"), [Step::Missing(2)]);
        assert_eq!(steps("nanb", "nxny"), [Step::Changed(1, 1), Step::Changed(3, 3)]);
        assert_eq!(steps("", "ab"), [Step::Added(0), Step::Added(1)]);
        assert_eq!(steps("ab", ""), [Step::Missing(0), Step::Missing(1)]);
        assert_eq!(steps("abc", "xbcd"), [Step::Changed(0, 0), Step::Added(3)]);
    }

    #[test]
    fn huge_logs_are_paired_in_order() {
        let e: Vec<_> = (0..2000u32).map(|i| Sha256Digest::of(&i.to_le_bytes())).collect();
        let f: Vec<_> = (0..2000u32).map(|i| Sha256Digest::of(&(!i).to_le_bytes())).collect();
        assert_eq!(align(&e, &f).len(), 2000);
    }

    proptest! {
        #[test]
        fn steps_lead_from_one_to_the_other(e in "[a-d]{0,12}", f in "[a-d]{0,12}") {
            let (e, f) = (seq(&e), seq(&f));
            let steps = align(&e, &f);
            let gone: Vec<usize> = steps.iter().filter_map(|s| match s { Step::Changed(i, _) | Step::Missing(i) => Some(*i), Step::Added(_) => None }).collect();
            let new: Vec<usize> = steps.iter().filter_map(|s| match s { Step::Changed(_, j) | Step::Added(j) => Some(*j), Step::Missing(_) => None }).collect();
            let kept = |s: &[Sha256Digest], out: &[usize]| -> Vec<Sha256Digest> {
                s.iter().enumerate().filter(|(i, _)| !out.contains(i)).map(|(_, d)| *d).collect()
            };
            prop_assert_eq!(kept(&e, &gone), kept(&f, &new));
            prop_assert_eq!(steps.is_empty(), e == f);
        }
    }
}
