//! What one appraisal finds: the bundle's collateral and the mirror's, and a note of what it looked for in vain.

use crate::memory::Memory;
use crate::want::{Want, of};
use ccnode_appraise::{Collateral, Shelf};
use ccnode_evidence::UnixTime;
use ccnode_snp::{Certificates, Report};
use ccnode_tdx::{Collateral as TdxCollateral, CollateralAge, CollateralValid, Rejection, Root};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Collateral in memory as of one moment.
#[derive(Debug, Default)]
pub struct AtHand {
    shelf: Arc<Shelf>,
    memory: Option<(Arc<Memory>, UnixTime)>,
    missed: Mutex<Missed>,
}

/// What a mirror is to be asked for.
#[derive(Debug, Default)]
struct Missed {
    /// Without it nothing can be proven, or less.
    needed: BTreeSet<Want>,
    /// It may lie with the evidence.
    perhaps: BTreeSet<Want>,
}

impl AtHand {
    /// The bundle's collateral alone; nothing is noted.
    pub fn shelf(shelf: Arc<Shelf>) -> Self {
        Self { shelf, ..Self::default() }
    }

    /// The bundle's collateral, and before it what a mirror said.
    pub fn with_mirror(shelf: Arc<Shelf>, memory: Arc<Memory>, now: UnixTime) -> Self {
        Self { shelf, memory: Some((memory, now)), ..Self::default() }
    }

    /// What to ask a mirror for before the verdict stands: what the platform's state is judged by, and, where evidence was `refused`,
    /// all that it could have lacked.
    pub fn missed(&self, refused: bool) -> BTreeSet<Want> {
        let missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let perhaps = missed.perhaps.iter().filter(|_| refused);
        missed.needed.iter().chain(perhaps).copied().collect()
    }

    fn note(&self, want: Want, choose: impl FnOnce(&mut Missed) -> &mut BTreeSet<Want>) {
        if self.memory.as_ref().is_some_and(|(memory, now)| memory.lacks(&want, *now)) {
            choose(&mut self.missed.lock().unwrap_or_else(PoisonError::into_inner)).insert(want);
        }
    }
}

impl AtHand {
    /// Where the platform model's collateral lies: the mirror's is newer.
    fn platform(&self, fmspc: &[u8; 6]) -> Option<&Shelf> {
        let shelf = Some(self.shelf.as_ref()).filter(|shelf| shelf.tdx(fmspc).is_some());
        let want = Want::Platform(*fmspc);
        self.note(want, |missed| if shelf.is_some() { &mut missed.perhaps } else { &mut missed.needed });
        self.memory.as_ref().and_then(|(memory, _)| memory.tdx(fmspc)).or(shelf)
    }
}

impl Collateral for AtHand {
    fn snp(&self, report: &Report) -> Certificates {
        let mut found = self.shelf.snp(report);
        for want in of(report) {
            // The evidence brings its chip's certificate along, mostly.
            self.note(want, |missed| &mut missed.perhaps);
            if let Some(held) = self.memory.as_ref().and_then(|(memory, _)| memory.snp(&want)) {
                found.extend(held.clone());
            }
        }
        found
    }

    fn tdx(&self, fmspc: &[u8; 6]) -> Option<&TdxCollateral> {
        self.platform(fmspc)?.tdx(fmspc)
    }

    fn tdx_valid(
        &self,
        fmspc: &[u8; 6],
        root: &Root,
        age: &CollateralAge,
        now: UnixTime,
    ) -> Option<Result<Arc<CollateralValid>, Rejection>> {
        self.platform(fmspc)?.tdx_valid(fmspc, root, age, now)
    }
}
