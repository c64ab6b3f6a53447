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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    /// Attestation, signature (TPMT_SIGNATURE) and TPMT_PUBLIC of quotes that TPMs made.
    fn real(dir: &str, files: [&str; 3]) -> Option<[Vec<u8>; 3]> {
        let [message, signature, public] =
            files.map(|file| vectors::read(&format!("tpm-quote/{dir}/{file}")));
        Some([message?, signature?, public?])
    }

    fn guarded(public: &[u8]) -> (RsaPublicKey, AkGuarded) {
        let key = SigningKey::parse(public).unwrap();
        (public_key(&key).unwrap(), AkGuarded::check(&key).unwrap())
    }

    #[test]
    fn t10_quote_of_a_cloud_tpm() {
        let files = ["quote-sha256.attest", "quote-sha256.sig", "ak.tpmt_public"];
        let Some([message, signature, public]) = real("gce-cos-85", files) else { return };
        let (key, guarded) = guarded(&public);
        let quote = Quote::parse(&message).unwrap();
        assert_eq!(quote.extra, [0x90, 0x09]);
        let bytes = tpm_types::rsassa(&signature).unwrap();
        assert!(verify(&key, &message, bytes, &guarded).is_ok());
        let mut other = message.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(matches!(verify(&key, &other, bytes, &guarded), Err(Rejection::QuoteSignature)));
        // It selects sha256:0-23, which is the stock protocol's.
        assert_eq!(words(&quote.selections), "bank 0x000b bitmap ffffff");
    }

    #[test]
    fn t10_quote_of_the_sha1_bank() {
        let files = ["quote-sha1.attest", "quote-sha1.sig", "ak.tpmt_public"];
        let Some([message, signature, public]) = real("gce-cos-85", files) else { return };
        let (key, guarded) = guarded(&public);
        let quote = Quote::parse(&message).unwrap();
        // The bank is SHA-1, the signature is not: only the selection says so.
        assert!(verify(&key, &message, tpm_types::rsassa(&signature).unwrap(), &guarded).is_ok());
        assert_eq!(words(&quote.selections), "bank 0x0004 bitmap ffffff");
    }

    #[test]
    fn quotes_survive_no_cut() {
        let files = ["quote-sha256.attest", "quote-sha256.sig", "ak.tpmt_public"];
        let Some([message, signature, public]) = real("gce-cos-85", files) else { return };
        for len in 0..message.len() {
            assert!(Quote::parse(&message[..len]).is_err());
        }
        for len in 0..signature.len() {
            assert!(tpm_types::rsassa(&signature[..len]).is_err());
        }
        for len in 0..public.len() {
            assert!(SigningKey::parse(&public[..len]).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256)) {
            let _ = Quote::parse(&bytes);
            let _ = tpm_types::rsassa(&bytes);
            let _ = SigningKey::parse(&bytes);
            let _ = crate::ek::parse(&bytes);
            let _ = crate::Csr::parse(&bytes);
        }
    }
}
