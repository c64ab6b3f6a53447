//! Who has lately earned the writer: sessions that were accepted and grants that were issued, each by 32 bytes that tell it.
//!
//! It spares them a look at the store before they wait for the writer, where all is looked up in any case. What was forgotten is looked
//! up twice, as everything is after a restart.

use ccnode_evidence::Sha256Digest;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The newest are kept: some four megabytes.
const KEPT: usize = 1 << 15;

/// A bounded set, first in, first out.
#[derive(Debug, Default)]
pub struct Admitted(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    set: HashSet<Sha256Digest>,
    order: VecDeque<Sha256Digest>,
}

impl Admitted {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers this one.
    pub fn admit(&self, key: Sha256Digest) {
        let mut known = self.lock();
        if !known.set.insert(key) {
            return;
        }
        known.order.push_back(key);
        if known.order.len() > KEPT
            && let Some(oldest) = known.order.pop_front()
        {
            known.set.remove(&oldest);
        }
    }

    /// Whether it is remembered.
    pub fn has(&self, key: &Sha256Digest) -> bool {
        self.lock().set.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let key = |n: usize| Sha256Digest::of(&n.to_be_bytes());
        let admitted = Admitted::default();
        for n in 0..=KEPT {
            assert!(!admitted.has(&key(n)));
            admitted.admit(key(n));
            admitted.admit(key(n));
        }
        assert!(!admitted.has(&key(0)), "forgotten");
        assert!((1..=KEPT).all(|n| admitted.has(&key(n))));
        assert_eq!(admitted.lock().set.len(), KEPT);
    }
}
