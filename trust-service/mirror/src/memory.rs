//! What a mirror said, and until when it is not asked again.

use crate::want::{Chip, Want};
use ccnode_appraise::Shelf;
use ccnode_evidence::UnixTime;
use ccnode_snp::{Certificates, KeyKind, Product};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Chips, and platform models, that are remembered. One more, and those are forgotten that a mirror did not give, for anybody can ask
/// for chips that there are not; were all given, the one is that would be asked for again first.
pub const MAX_CHIPS: usize = 4096;

/// Collateral by what it is for.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    chips: BTreeMap<Chip, Kept<Certificates>>,
    lines: BTreeMap<(Product, KeyKind), Kept<Certificates>>,
    /// A shelf each, on which what was verified is kept.
    platforms: BTreeMap<[u8; 6], Kept<Shelf>>,
}

/// What the mirror gave last, if it ever did, and when it is asked again.
#[derive(Debug)]
struct Kept<T> {
    held: Option<Arc<T>>,
    until: UnixTime,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { held: self.held.clone(), until: self.until }
    }
}

impl Memory {
    /// Whether it is at hand, fresh enough not to be asked for.
    pub fn has(&self, want: &Want, now: UnixTime) -> bool {
        self.state(want).is_some_and(|(held, until)| held && now.0 < until.0)
    }

    /// Whether a mirror is to be asked for it: never asked, or long ago.
    pub(crate) fn lacks(&self, want: &Want, now: UnixTime) -> bool {
        self.state(want).is_none_or(|(_, until)| now.0 >= until.0)
    }

    fn state(&self, want: &Want) -> Option<(bool, UnixTime)> {
        fn of<T>(kept: &Kept<T>) -> (bool, UnixTime) {
            (kept.held.is_some(), kept.until)
        }
        match want {
            Want::Chip(chip) => self.chips.get(chip).map(of),
            Want::Line(product, key) => self.lines.get(&(*product, *key)).map(of),
            Want::Platform(fmspc) => self.platforms.get(fmspc).map(of),
        }
    }

    /// Certificates and lists for `want`; none where nothing was fetched.
    pub(crate) fn snp(&self, want: &Want) -> Option<&Certificates> {
        match want {
            Want::Chip(chip) => self.chips.get(chip)?.held.as_deref(),
            Want::Line(product, key) => self.lines.get(&(*product, *key))?.held.as_deref(),
            Want::Platform(_) => None,
        }
    }

    pub(crate) fn tdx(&self, fmspc: &[u8; 6]) -> Option<&Shelf> {
        self.platforms.get(fmspc)?.held.as_deref()
    }

    pub(crate) fn put_chip(&mut self, chip: Chip, held: Certificates, until: UnixTime) {
        put(&mut self.chips, chip, Some(held), until);
    }

    pub(crate) fn put_line(&mut self, line: (Product, KeyKind), held: Certificates, until: UnixTime) {
        put(&mut self.lines, line, Some(held), until);
    }

    pub(crate) fn put_platform(&mut self, fmspc: [u8; 6], held: Shelf, until: UnixTime) {
        put(&mut self.platforms, fmspc, Some(held), until);
    }

    /// Notes that there was nothing; what was there before stays: its own dates say how long it is good.
    pub(crate) fn put_nothing(&mut self, want: &Want, until: UnixTime) {
        match *want {
            Want::Chip(chip) => put(&mut self.chips, chip, None, until),
            Want::Line(product, key) => put(&mut self.lines, (product, key), None, until),
            Want::Platform(fmspc) => put(&mut self.platforms, fmspc, None, until),
        }
    }
}

fn put<K: Ord + Copy, T>(map: &mut BTreeMap<K, Kept<T>>, key: K, held: Option<T>, until: UnixTime) {
    if map.len() >= MAX_CHIPS && !map.contains_key(&key) {
        map.retain(|_, kept| kept.held.is_some());
    }
    while map.len() >= MAX_CHIPS && !map.contains_key(&key) {
        // Whichever is in use is fetched again when its time is over, and so stands behind those that nobody wants any more.
        let oldest = map.iter().min_by_key(|(_, kept)| kept.until).map(|(key, _)| *key);
        let Some(oldest) = oldest else { break };
        map.remove(&oldest);
    }
    let kept = map.entry(key).or_insert(Kept { held: None, until });
    kept.until = until;
    if let Some(held) = held {
        kept.held = Some(Arc::new(held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1000);

    #[test]
    fn what_was_not_given_is_asked_for_again_later_and_what_was_stays() {
        let want = Want::Line(Product::Milan, KeyKind::Vcek);
        let mut memory = Memory::default();
        assert!(memory.lacks(&want, NOW) && !memory.has(&want, NOW));
        memory.put_nothing(&want, UnixTime(1060));
        assert!(!memory.lacks(&want, NOW) && !memory.has(&want, NOW));
        assert!(memory.lacks(&want, UnixTime(1060)));
        memory.put_line((Product::Milan, KeyKind::Vcek), Certificates::default(), UnixTime(2000));
        assert!(memory.has(&want, NOW));
        memory.put_nothing(&want, UnixTime(2060));
        assert!(memory.snp(&want).is_some());
        assert!(memory.lacks(&want, UnixTime(2060)), "it is asked for again all the same");
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let chip = |n: u64| {
            let mut id = [0; 64];
            id[..8].copy_from_slice(&n.to_be_bytes());
            Chip { product: Product::Genoa, id, tcb: [0; 8] }
        };
        let mut memory = Memory::default();
        let good = chip(u64::MAX);
        memory.put_chip(good, Certificates::default(), UnixTime(2000));
        for n in 0..MAX_CHIPS as u64 {
            memory.put_nothing(&Want::Chip(chip(n)), NOW);
        }
        assert_eq!(memory.chips.len(), 2);
        assert!(memory.has(&Want::Chip(good), NOW), "made-up chips don't put a real one out");
        let old = chip(u64::MAX - 1);
        memory.put_chip(old, Certificates::default(), UnixTime(1900));
        for n in 0..MAX_CHIPS as u64 - 1 {
            memory.put_chip(chip(n), Certificates::default(), UnixTime(2000 + n));
        }
        assert_eq!(memory.chips.len(), MAX_CHIPS);
        assert!(!memory.chips.contains_key(&old), "the oldest is forgotten");
        assert!(memory.has(&Want::Chip(good), NOW) && memory.has(&Want::Chip(chip(0)), NOW), "and no other");
    }
}
