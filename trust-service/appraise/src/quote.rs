//! The quote: of this session, over exactly sha256:0-15, with the values sent, signed by the activated key.

use crate::tpm_types::{self, ALG_SHA256, ClockInfo, EXPONENT, Quote, QuoteError, SigningKey};
use crate::{AkGuarded, Member, Rejection};
use ccnode_evidence::{Nonce, PcrSet, PcrValues, ReportData, Sha256Digest, TpmEvidence};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use rsa::{BigUint, RsaPublicKey, pkcs1v15};

/// Proof that the nonce is the session's.
#[derive(Debug)]
pub struct NonceFresh(());

impl NonceFresh {
    pub(crate) fn check(sent: &str, due: &Nonce) -> Result<Self, Rejection> {
        let due = due.text();
        if sent == due {
            return Ok(Self(()));
        }
        Err(Rejection::NonceMismatch { sent: sent.chars().take(64).collect(), due })
    }
}

/// Proof that a quote's signature is that of an attestation key whose attributes were checked.
#[derive(Debug)]
pub struct SignatureValid(());

/// Proof that a quote covers exactly sha256:0-15 and that the values at hand are those it covers.
#[derive(Debug)]
pub struct SelectionExact {
    pcrs: PcrValues,
}

impl SelectionExact {
    /// sha256:0-15.
    pub fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }
}

/// A quote that passed all its gates.
#[derive(Debug)]
pub(crate) struct Quoted {
    pub(crate) clock: ClockInfo,
    pub(crate) selection: SelectionExact,
    pub(crate) _signature: SignatureValid,
}

/// Judges a quote; `report_data` is that of the rebuilt transcript.
pub(crate) fn judge(
    evidence: &TpmEvidence,
    key: &SigningKey,
    guarded: &AkGuarded,
    report_data: &ReportData,
) -> Result<Quoted, Rejection> {
    let quote = &evidence.tpm_quote;
    let public = public_key(key)?;
    if RsaPublicKey::from_public_key_der(&evidence.ak_public.0).ok().as_ref() != Some(&public) {
        return Err(Rejection::TranscriptMismatch { member: Member::AkPublic });
    }
    let attest = Quote::parse(&quote.message.0).map_err(Rejection::QuoteMalformed)?;
    let signature = tpm_types::rsassa(&quote.signature.0).map_err(Rejection::QuoteMalformed)?;
    let signature = verify(&public, &quote.message.0, signature, guarded)?;
    let due = report_data.qualifying_data();
    if attest.extra != due {
        let sent = attest.extra.iter().take(32).map(|b| format!("{b:02x}")).collect();
        return Err(Rejection::QuoteNonce { sent, due: Sha256Digest(due).hex() });
    }
    let selection = select(&attest, evidence)?;
    Ok(Quoted { clock: attest.clock, selection, _signature: signature })
}

fn public_key(key: &SigningKey) -> Result<RsaPublicKey, Rejection> {
    RsaPublicKey::new(BigUint::from_bytes_be(&key.modulus), EXPONENT.into())
        .map_err(|_| Rejection::QuoteSignature)
}

fn verify(
    key: &RsaPublicKey,
    message: &[u8],
    signature: &[u8],
    _guarded: &AkGuarded,
) -> Result<SignatureValid, Rejection> {
    let key = pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key.clone());
    let signature = pkcs1v15::Signature::try_from(signature).map_err(|_| Rejection::QuoteSignature)?;
    key.verify(message, &signature).map_err(|_| Rejection::QuoteSignature)?;
    Ok(SignatureValid(()))
}

fn select(attest: &Quote, evidence: &TpmEvidence) -> Result<SelectionExact, Rejection> {
    match attest.selections.as_slice() {
        [(ALG_SHA256, bitmap)]
            if bitmap.len() == 3 && PcrSet::from_bitmap(bitmap) == Some(PcrSet::CCNODE) => {}
        other => return Err(Rejection::QuoteSelection { sent: words(other) }),
    }
    let sent = &evidence.tpm_quote.pcrs;
    let wrong = || Rejection::QuoteMalformed(QuoteError::Values(sent.len()));
    let pcrs = evidence.tpm_quote.values().filter(|_| sent.len() == 16).ok_or_else(wrong)?;
    let composite = pcrs.composite(PcrSet::CCNODE).ok_or_else(wrong)?;
    let quoted = Sha256Digest(attest.pcr_digest);
    if composite != quoted {
        return Err(Rejection::QuotePcrDigest { sent: composite, quoted });
    }
    Ok(SelectionExact { pcrs })
}

fn words(selections: &[(u16, Vec<u8>)]) -> String {
    let one = |(bank, bitmap): &(u16, Vec<u8>)| {
        let bits: String = bitmap.iter().map(|b| format!("{b:02x}")).collect();
        format!("bank {bank:#06x} bitmap {bits}")
    };
    match selections {
        [] => "nothing".to_owned(),
        _ => selections.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}
