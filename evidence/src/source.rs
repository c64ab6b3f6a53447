//! What the attestation client needs from the machine: one trait, implemented by the TPM thread.

use crate::{EventLogs, PcrValues, Secret};
use std::future::Future;

/// Who the TPM is: what the auth request offers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// EK certificate, DER (X.509), from the TPM's NV memory.
    pub ek_cert: Vec<u8>,
    /// The attestation key's TPMT_PUBLIC, marshalled.
    pub ak_public: Vec<u8>,
}

/// The secret that TPM2_ActivateCredential returned.
pub type Activated = Secret<32>;

/// A quote and the PCR values that its digest was made of (the source has compared them).
#[derive(Clone, Debug)]
pub struct QuoteParts {
    /// TPMS_ATTEST, marshalled.
    pub message: Vec<u8>,
    /// TPMT_SIGNATURE, marshalled.
    pub signature: Vec<u8>,
    /// sha256:0-15.
    pub pcrs: PcrValues,
    /// The attestation key as DER SubjectPublicKeyInfo.
    pub ak_public: Vec<u8>,
}

/// A machine that can prove what it runs.
///
/// An implementer owes: `quote` selects exactly sha256:0-15 and returns values whose composite digest is the quote's;
/// every call may be repeated; an error names the TPM command that failed.
pub trait EvidenceSource: Send + Sync {
    /// The implementer's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// EK certificate and attestation key.
    fn identity(&self) -> impl Future<Output = Result<Identity, Self::Error>> + Send;

    /// TPM2_ActivateCredential over TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, both marshalled with their size.
    fn activate(
        &self,
        credential: Vec<u8>,
        secret: Vec<u8>,
    ) -> impl Future<Output = Result<Activated, Self::Error>> + Send;

    /// TPM2_Quote with `qualifying` as extraData.
    fn quote(&self, qualifying: [u8; 32]) -> impl Future<Output = Result<QuoteParts, Self::Error>> + Send;

    /// The firmware's log, our own, and the command line, as they stand now.
    fn logs(&self) -> impl Future<Output = Result<EventLogs, Self::Error>> + Send;
}
