//! A machine without a TPM: what is closed at its end is the register of its guest, once, or nothing.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use ccnode_bootstrap::last;
use ccnode_bootstrap::prover::Reports;
use ccnode_cvm::{CvmError, RuntimeRegister, cap_digest};
use ccnode_evidence::{EvidenceKind, ReportParts};
use std::sync::{Arc, Mutex};

/// A TDX guest of which only the register is asked.
#[derive(Default)]
struct Guest(Mutex<Vec<[u8; 48]>>);

impl Reports for Guest {
    fn kind(&self) -> EvidenceKind {
        EvidenceKind::Tdx
    }

    fn is_svsm(&self) -> bool {
        false
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, CvmError> {
        Ok(None)
    }

    fn report(&self, _: &[u8; 64]) -> Result<ReportParts, CvmError> {
        Err(CvmError::ProviderMissing)
    }

    fn supports_runtime_register(&self) -> Option<&dyn RuntimeRegister> {
        Some(self)
    }
}

impl RuntimeRegister for Guest {
    fn value(&self) -> Result<[u8; 48], CvmError> {
        Err(CvmError::ProviderMissing)
    }

    fn extend(&self, digest: &[u8; 48]) -> Result<(), CvmError> {
        self.0.lock().unwrap().push(*digest);
        Ok(())
    }
}

// One test: what is told of the machine belongs to the process.
#[test]
fn t17_a_refusal_closes_the_register_once() {
    let guest = Arc::new(Guest::default());
    last::set_without_tpm(guest.clone());
    assert!(last::close_pcr());
    assert_eq!(*guest.0.lock().unwrap(), [cap_digest()]);
    assert!(last::close_pcr());
    assert_eq!(guest.0.lock().unwrap().len(), 1, "closed is closed");
}
