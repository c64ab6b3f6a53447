//! The stock key broker's `tpm` evidence, as a file.

use super::{KeyFormError, PcrBank, QuoteEvidence, QuoteKey, SignatureForm};
use ccnode_evidence::{HashAlg, PcrIndex, TpmEvidence};

/// A stock `tpm` evidence object that was read.
#[derive(Clone, Debug)]
pub struct KbsTpm {
    evidence: TpmEvidence,
    key: QuoteKey,
    pcrs: Vec<PcrBank>,
}

/// Why an evidence object can't be judged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KbsTpmError {
    /// Its attestation key is none.
    #[error("member `ak_public`: {0}")]
    Key(#[source] KeyFormError),
    /// More values than a bank has PCRs.
    #[error("member `tpm_quote.pcrs`: {0} values, 24 at most")]
    Values(usize),
}

impl KbsTpmError {
    /// The stable code.
    pub fn code(&self) -> ccnode_evidence::Code {
        match self {
            Self::Key(error) => error.code(),
            Self::Values(_) => ccnode_evidence::Code::PcrValuesMalformed,
        }
    }
}

impl KbsTpm {
    /// Reads its members.
    pub fn new(evidence: TpmEvidence) -> Result<Self, KbsTpmError> {
        let key = QuoteKey::spki(&evidence.ak_public.0).map_err(KbsTpmError::Key)?;
        let sent = &evidence.tpm_quote.pcrs;
        if sent.len() > PcrIndex::all().count() {
            return Err(KbsTpmError::Values(sent.len()));
        }
        let values = PcrIndex::all().zip(sent.iter().map(|value| value.0.to_vec())).collect();
        let bank = PcrBank::new(HashAlg::Sha256, values).map_err(|_| KbsTpmError::Values(sent.len()))?;
        Ok(Self { evidence, key, pcrs: vec![bank] })
    }

    /// The quote in it, for a nonce (extraData) where one is at hand. The firmware's log is what `ccnode` carries.
    pub fn quote<'a>(&'a self, nonce: Option<&'a [u8]>) -> QuoteEvidence<'a> {
        QuoteEvidence {
            message: &self.evidence.tpm_quote.message.0,
            signature: Some(SignatureForm::Tpmt(&self.evidence.tpm_quote.signature.0)),
            key: Some(&self.key),
            pcrs: &self.pcrs,
            nonce,
            log: self.evidence.ccnode.as_ref().map(|ours| ours.logs.event_log.0.as_slice()),
            ..Default::default()
        }
    }
}
