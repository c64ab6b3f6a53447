//! What a TPM marshals, and the certificate of its endorsement key.

use crate::printable;
use ccnode_appraise::standalone::{QuoteEvidence, QuoteKey, SignatureForm};
use ccnode_appraise::{EkRoot, TpmIdentity, TrustLevel};

/// TPMS_ATTEST over the first 16 PCRs of a bank, which nothing signs.
pub fn unsigned_quote(bank: u16, digest: usize) -> Vec<u8> {
    let mut out =
        [0xff54_4347u32.to_be_bytes().as_slice(), &[0x80, 0x18], &[0, 34, 0, 0x0b], &[1; 32]].concat();
    out.extend([0, 32]);
    out.extend([7; 32]);
    // Clock, reset and restart count, safe; firmware version.
    out.extend([&[0u8; 8][..], &[0, 0, 0, 3], &[0, 0, 0, 1], &[1], &[9; 8]].concat());
    out.extend([&[0, 0, 0, 1][..], &bank.to_be_bytes(), &[3, 0xff, 0xff, 0]].concat());
    out.extend([0, u8::try_from(digest).unwrap_or(u8::MAX)]);
    out.resize(out.len() + digest, 5);
    out
}

pub(crate) fn attest(bytes: &[u8]) {
    judge(&QuoteEvidence {
        message: bytes,
        nonce: Some(&[7; 32]),
        log: Some(bytes),
        ..QuoteEvidence::default()
    });
}

pub(crate) fn signature(bytes: &[u8]) {
    let quote = unsigned_quote(0x0b, 32);
    for form in [SignatureForm::Tpmt(bytes), SignatureForm::RawRsassaSha256(bytes)] {
        judge(&QuoteEvidence { message: &quote, signature: Some(form), ..QuoteEvidence::default() });
    }
}

/// No quote here is signed, so none is proven by its signature, and nothing that is said steers a terminal.
fn judge(evidence: &QuoteEvidence<'_>) {
    let report = evidence.verify();
    assert!(!report.proven(ccnode_appraise::standalone::Subject::Signature));
    for code in report.codes() {
        printable(code.as_str());
    }
}

pub(crate) fn public(bytes: &[u8]) {
    for read in [QuoteKey::tpmt_public, QuoteKey::tpm2b_public, QuoteKey::detect] {
        match read(bytes) {
            Ok(key) => {
                printable(&key.describe());
                assert!(key.spki_der().len() <= bytes.len() + 1024);
            }
            Err(error) => printable(&error.to_string()),
        }
    }
    if let Err(error) = TpmIdentity::from_ek_public(bytes, bytes) {
        printable(&error.to_string());
    }
}

pub(crate) fn ek_certificate(bytes: &[u8]) {
    if let Err(error) = TpmIdentity::parse(bytes, &[]) {
        drop(error.to_string());
    }
    match EkRoot::parse(bytes.to_vec(), TrustLevel::DiscreteTpm) {
        Ok(root) => drop(root.subject()),
        Err(error) => drop(error.to_string()),
    }
    drop(QuoteKey::certificate(bytes));
}
