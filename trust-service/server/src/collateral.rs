//! Certificates, revocation lists and TCB information that do not come with the evidence: what is at hand now.

use ccnode_appraise::Shelf;
use std::sync::{Arc, Mutex, PoisonError};

/// The shelf in use; a new one takes its place whole, and appraisals under way keep theirs.
#[derive(Debug, Default)]
pub struct Collateral(Mutex<Arc<Shelf>>);

impl Collateral {
    /// What is at hand now.
    pub fn current(&self) -> Arc<Shelf> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes `shelf` in place of what was there.
    pub fn replace(&self, shelf: Shelf) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(shelf);
    }
}
