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
    fn mirrors(&self, fmspc: &[u8; 6]) -> Option<&Shelf> {
        self.memory.as_ref().and_then(|(memory, _)| memory.tdx(fmspc))
    }
}

impl Collateral for AtHand {
    fn snp(&self, report: &Report) -> Certificates {
        let mut found = self.shelf.snp(report);
        for want in of(report) {
            let held = self.memory.as_ref().and_then(|(memory, _)| memory.snp(&want));
            // A list that was believed until now is asked for again once its time is over. A chip's certificate does not change, and
            // the evidence brings it along, mostly.
            let aged = held.is_some() && matches!(want, Want::Line(..));
            self.note(want, |missed| if aged { &mut missed.needed } else { &mut missed.perhaps });
            found.extend(held.cloned().unwrap_or_default());
        }
        found
    }

    fn tdx(&self, fmspc: &[u8; 6]) -> Option<&TdxCollateral> {
        self.mirrors(fmspc).unwrap_or(&self.shelf).tdx(fmspc)
    }

    /// The newer of the bundle's and the mirror's. What a mirror says that can't be proven does not take the place of what can.
    fn tdx_valid(
        &self,
        fmspc: &[u8; 6],
        root: &Root,
        age: &CollateralAge,
        now: UnixTime,
    ) -> Option<Result<Arc<CollateralValid>, Rejection>> {
        let of = |shelf: &Shelf| shelf.tdx_valid(fmspc, root, age, now);
        match (self.mirrors(fmspc).and_then(of), of(&self.shelf)) {
            (Some(Ok(mirrors)), Some(Ok(bundles))) => {
                Some(Ok(if mirrors.is_no_older_than(&bundles) { mirrors } else { bundles }))
            }
            // That a signer is revoked is proven by the root's list.
            (Some(Err(error)), _) | (_, Some(Err(error))) if is_revocation(&error) => Some(Err(error)),
            (Some(Ok(valid)), _) | (_, Some(Ok(valid))) => Some(Ok(valid)),
            (mirrors, bundles) => mirrors.or(bundles),
        }
    }

    fn genuine(&self, fmspc: &[u8; 6]) {
        // The bundle's stands alone until the mirror was asked once; from then on the mirror's is kept new.
        let enough = self.mirrors(fmspc).is_none() && self.shelf.tdx(fmspc).is_some();
        self.note(
            Want::Platform(*fmspc),
            |missed| if enough { &mut missed.perhaps } else { &mut missed.needed },
        );
    }
}

fn is_revocation(error: &Rejection) -> bool {
    matches!(error, Rejection::Revoked { .. })
}
