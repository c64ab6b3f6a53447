//! Whether what was granted is what the measured layout is for: neither side alone decides whether a root persists.

use crate::prover::Sent;
use crate::refusal::Refusal;
use ccnode_evidence::{Code, EvidenceKind, Layout};
use ccnode_protocol::grants::RootGrant;

/// Refuses a grant that does not fit `layout`, for a machine that was proven by what was `sent`.
pub(super) fn fits(layout: Layout, sent: Sent, root: &RootGrant) -> Result<(), Refusal> {
    let wrong = |granted: &str| {
        let detail = format!("this image's layout is {layout}, and {granted} was granted");
        Err(Refusal::new(Code::LayoutMismatch, detail))
    };
    match (layout, root) {
        (Layout::Ephemeral, RootGrant::Volume(_)) => wrong("a volume that persists"),
        // An endorsement key is there at the next boot, too; what a report vouches for may not be.
        (Layout::LuksRoot | Layout::VerityRoot, RootGrant::Ephemeral { .. })
            if sent.kind == EvidenceKind::Tpm =>
        {
            wrong("a root of one boot")
        }
        (Layout::Ephemeral, RootGrant::Ephemeral { .. }) | (Layout::LuksRoot | Layout::VerityRoot, _) => {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Secret;

    #[test]
    fn a_root_persists_where_image_and_service_say_so() {
        let one_boot = RootGrant::Ephemeral { entropy: Secret::new([1; 32]) };
        let volume: RootGrant = serde_json::from_str(
            r#"{"id":"v","uuid":"u","generation":1,"unlock-key":"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s",
                "action":{"kind":"open","header-digest":"0000000000000000000000000000000000000000000000000000000000000000",
                "populated-from":"0000000000000000000000000000000000000000000000000000000000000000"}}"#,
        )
        .unwrap();
        let alone = Sent { kind: EvidenceKind::Tpm, tpm: true, svsm: false };
        let vouched = Sent { kind: EvidenceKind::AzSnpVtpm, ..alone };
        let bare = Sent { kind: EvidenceKind::Snp, tpm: false, svsm: false };
        for sent in [alone, vouched, bare] {
            fits(Layout::LuksRoot, sent, &volume).unwrap();
            fits(Layout::VerityRoot, sent, &volume).unwrap();
            fits(Layout::Ephemeral, sent, &one_boot).unwrap();
            let refusal = fits(Layout::Ephemeral, sent, &volume).unwrap_err();
            assert_eq!(refusal.code, Code::LayoutMismatch, "{}", refusal.detail);
        }
        for layout in [Layout::LuksRoot, Layout::VerityRoot] {
            let refusal = fits(layout, alone, &one_boot).unwrap_err();
            assert_eq!(refusal.code, Code::LayoutMismatch, "{}", refusal.detail);
        }
        // Whose identity is one boot's can have no other root.
        for sent in [vouched, bare] {
            fits(Layout::LuksRoot, sent, &one_boot).unwrap();
            fits(Layout::VerityRoot, sent, &one_boot).unwrap();
        }
    }
}
