//! A state that no pair of a pool allows, and that administrators let through once all the same.

use crate::SelectionExact;
use ccnode_evidence::{ImageTuple, PcrValues, PlatformTuple, Sha256Digest};

/// The very state of a refused boot. It stands in for an allowed pair of platform and image, and for nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowedOnce {
    /// sha256:0-15 as they were quoted; all sixteen count.
    pub pcrs: PcrValues,
    /// Id of the platform tuple that matched, where one did.
    pub platform: Option<Sha256Digest>,
    /// Id of the image tuple that matched: it says which root is mounted, so an unknown image is never allowed.
    pub image: Sha256Digest,
}

impl AllowedOnce {
    /// Whether it is this state, whole.
    pub(crate) fn covers(
        &self,
        quoted: &SelectionExact,
        platform: Option<&PlatformTuple>,
        image: &ImageTuple,
    ) -> bool {
        // What is known of the state must be what was known when it was refused, too.
        let known = (platform.map(PlatformTuple::id), image.id());
        *quoted.pcrs() == self.pcrs && known == (self.platform, self.image)
    }
}
