//! A stock client's quote: signed by the key that came with it, over this session, then over exactly sha256:0-23.

use crate::public_key::PublicKey;
use crate::quote::{exactly, of_session, values};
use crate::sent::{Parts, SentQuote, SentReport};
use crate::session::Covered;
use crate::tpm::Quote;
use crate::{Counters, Rejection, Scheme, SchemeKind};
use ccnode_evidence::{EvidenceKind, HashAlg, PcrSet, PcrValues};
use ccnode_hcl::HclReport;

/// The one scheme of the stock transcript.
const SCHEME: Scheme = Scheme { kind: SchemeKind::Rsassa, hash: HashAlg::Sha256 };
/// Values that the stock attester sends.
const VALUES: usize = 24;

/// Proof that a key signed this session's report data as a TPM's quote. Whose key that is, nothing here says.
pub(super) struct Signed<'a> {
    /// The key.
    pub(super) key: PublicKey,
    attest: Quote<'a>,
    sent: &'a SentQuote,
}

impl<'a> Signed<'a> {
    /// The key is the evidence's own: `ak_public`, or on Azure the one that the runtime data name, which the report has to cover.
    /// `None` for evidence without a quote.
    pub(super) fn check(
        kind: EvidenceKind,
        parts: &'a Parts,
        covered: &Covered,
    ) -> Result<Option<Self>, Rejection> {
        let Some(sent) = &parts.quote else { return Ok(None) };
        let key = key(parts, sent)?;
        let attest = Quote::parse(&sent.message).map_err(Rejection::QuoteMalformed)?;
        let signature = sent.signature().map_err(Rejection::QuoteMalformed)?;
        if signature.scheme != SCHEME {
            return Err(Rejection::StockScheme { sent: signature.scheme });
        }
        if !key.signed(&sent.message, &signature) {
            return Err(Rejection::QuoteSignature);
        }
        of_session(&attest, &covered.quoted.extra_data(kind))?;
        Ok(Some(Self { key, attest, sent }))
    }

    /// The quote is over exactly sha256:0-23, and the 24 values sent are those that it covers.
    pub(super) fn select(&self) -> Result<Selected, Rejection> {
        exactly(&self.attest, PcrSet::STOCK, |sent| Rejection::StockQuoteSelection { sent })?;
        let pcrs = values(&self.attest, SCHEME.hash, &self.sent.pcrs, VALUES)?;
        let clock = &self.attest.clock;
        let counters = Counters {
            reset_count: clock.reset_count,
            restart_count: clock.restart_count,
            clock: clock.clock,
            safe: clock.safe,
        };
        Ok(Selected { ak: self.key.spki(), counters, pcrs })
    }
}

/// Proof that the values at hand are all 24 that a quote of this session covers.
pub(super) struct Selected {
    /// SubjectPublicKeyInfo of the key that signed.
    pub(super) ak: Vec<u8>,
    pub(super) counters: Counters,
    /// sha256:0-23.
    pub(super) pcrs: PcrValues,
}

fn key(parts: &Parts, sent: &SentQuote) -> Result<PublicKey, Rejection> {
    if let Some(spki) = &sent.ak_public {
        return PublicKey::from_spki(spki).map_err(Rejection::StockKey);
    }
    let (Some(SentReport::AzSnp { hcl, .. }) | Some(SentReport::AzTdx { hcl, .. })) = &parts.report else {
        return Err(crate::session::malformed("tee-evidence", "no attestation key came with the quote"));
    };
    let claims = HclReport::parse(hcl).and_then(|hcl| hcl.unproven_claims()).map_err(Rejection::Hcl)?;
    PublicKey::from_rsa_numbers(claims.ak().modulus(), claims.ak().exponent()).map_err(Rejection::StockKey)
}
