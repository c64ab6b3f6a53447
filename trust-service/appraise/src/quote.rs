//! The quote: of this session, over exactly sha256:0-15, with the values sent, signed by the activated key.

use crate::composite::PcrDigest;
use crate::sent::SentQuote;
use crate::tpm::{ClockInfo, Quote, QuoteError, Selection, Signature, SigningKey};
use crate::{AkGuarded, Member, Rejection};
use ccnode_evidence::{ExtraData, HashAlg, Nonce, PcrIndex, PcrSet, PcrValues, Sha256Digest};

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

/// Judges a quote; `due` is what the rebuilt transcript says of its extraData.
pub(crate) fn judge(
    quote: &SentQuote,
    key: &SigningKey,
    guarded: &AkGuarded,
    due: &ExtraData,
) -> Result<Quoted, Rejection> {
    if quote.ak_public.as_ref().is_some_and(|sent| *sent != key.key.spki()) {
        return Err(Rejection::TranscriptMismatch { member: Member::AkPublic });
    }
    let attest = Quote::parse(&quote.message).map_err(Rejection::QuoteMalformed)?;
    let signature = quote.signature().map_err(Rejection::QuoteMalformed)?;
    let signature = verify(key, &quote.message, &signature, guarded)?;
    of_session(&attest, due)?;
    let selection = select(&attest, key.scheme.hash, &quote.pcrs)?;
    Ok(Quoted { clock: attest.clock, selection, _signature: signature })
}

/// The signature is of the key's one scheme, and over `message`.
fn verify(
    key: &SigningKey,
    message: &[u8],
    signature: &Signature<'_>,
    _guarded: &AkGuarded,
) -> Result<SignatureValid, Rejection> {
    same_scheme(key, signature).map_err(Rejection::QuoteMalformed)?;
    if key.key.signed(message, signature) { Ok(SignatureValid(())) } else { Err(Rejection::QuoteSignature) }
}

/// A restricted key signs by the scheme in its public area and no other.
pub(crate) fn same_scheme(key: &SigningKey, signature: &Signature<'_>) -> Result<(), QuoteError> {
    if signature.scheme == key.scheme {
        return Ok(());
    }
    Err(QuoteError::SchemeMismatch { signature: signature.scheme, key: key.scheme })
}

fn select(attest: &Quote<'_>, hash: HashAlg, sent: &[Sha256Digest]) -> Result<SelectionExact, Rejection> {
    exactly(attest, PcrSet::CCNODE, |sent| Rejection::QuoteSelection { sent })?;
    values(attest, hash, sent, 16).map(|pcrs| SelectionExact { pcrs })
}

/// The quote selects `due` in one bitmap of the SHA-256 bank, and nothing else.
pub(crate) fn exactly(
    attest: &Quote<'_>,
    due: PcrSet,
    other: impl FnOnce(String) -> Rejection,
) -> Result<(), Rejection> {
    let weak = |s: &Selection| s.alg() == Some(HashAlg::Sha1) && !s.is_empty();
    match attest.selections.as_slice() {
        [one] if one.alg() == Some(HashAlg::Sha256) && one.bitmap.len() == 3 && one.pcrs() == Some(due) => {
            Ok(())
        }
        banks if banks.iter().any(weak) => Err(Rejection::QuoteBankWeak { sent: words(banks) }),
        banks => Err(other(words(banks))),
    }
}

/// The values sent, `due` of them from PCR 0 upwards, are those that the quote covers.
pub(crate) fn values(
    attest: &Quote<'_>,
    hash: HashAlg,
    sent: &[Sha256Digest],
    due: usize,
) -> Result<PcrValues, Rejection> {
    if sent.len() != due {
        return Err(Rejection::QuoteMalformed(QuoteError::Values { sent: sent.len(), due }));
    }
    let composite = PcrDigest::of(hash, sent.iter().map(|value| value.0.as_slice()));
    let quoted = PcrDigest::new(attest.pcr_digest);
    if composite != quoted {
        return Err(Rejection::QuotePcrDigest { sent: composite, quoted });
    }
    Ok(PcrValues(PcrIndex::all().zip(sent.iter().copied()).collect()))
}

/// `extraData` is what this session's transcript gives.
pub(crate) fn of_session(attest: &Quote<'_>, due: &ExtraData) -> Result<(), Rejection> {
    let due = due.bytes();
    if attest.extra == due {
        return Ok(());
    }
    let sent = hex(attest.extra.get(..due.len()).unwrap_or(attest.extra));
    Err(Rejection::QuoteNonce { sent, due: hex(due) })
}

/// Banks and bitmaps, for people.
pub(crate) fn words(selections: &[Selection]) -> String {
    match selections {
        [] => "nothing".to_owned(),
        _ => selections.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_vectors as vectors;

    fn key(public: &[u8]) -> (SigningKey, AkGuarded) {
        let key = SigningKey::parse(public).unwrap();
        let guarded = AkGuarded::check(&key).unwrap();
        (key, guarded)
    }

    #[test]
    fn t10_quote_of_a_cloud_tpm() {
        for bank in ["sha1", "sha256", "sha384"] {
            let read = |file: &str| vectors::read(&format!("tpm-quote/gce-cos-85/{file}"));
            let Some(public) = read("ak.tpmt_public") else { return };
            let message = read(&format!("quote-{bank}.attest")).unwrap();
            let signature = read(&format!("quote-{bank}.sig")).unwrap();
            let (key, guarded) = key(&public);
            assert_eq!(Quote::parse(&message).unwrap().extra, [0x90, 0x09]);
            let signature = Signature::parse(&signature).unwrap();
            assert!(verify(&key, &message, &signature, &guarded).is_ok());
            let mut other = message.clone();
            *other.last_mut().unwrap() ^= 1;
            let got = verify(&key, &other, &signature, &guarded);
            assert!(matches!(got, Err(Rejection::QuoteSignature)));
        }
    }

    #[test]
    fn quotes_survive_no_cut() {
        let read = |file: &str| vectors::read(&format!("tpm-quote/gce-cos-85/{file}"));
        let Some(public) = read("ak.tpmt_public") else { return };
        let (message, signature) = (read("quote-sha256.attest").unwrap(), read("quote-sha256.sig").unwrap());
        for len in 0..message.len() {
            assert!(Quote::parse(&message[..len]).is_err());
        }
        for len in 0..signature.len() {
            assert!(Signature::parse(&signature[..len]).is_err());
        }
        for len in 0..public.len() {
            assert!(SigningKey::parse(&public[..len]).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256)) {
            let _ = Quote::parse(&bytes);
            let _ = Signature::parse(&bytes);
            let _ = SigningKey::parse(&bytes);
            let _ = crate::ek_cert::parse(&bytes);
            let _ = crate::Csr::parse(&bytes);
        }
    }
}
