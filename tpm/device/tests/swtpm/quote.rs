//! The quote: what it covers, who signed it, and what happens when PCRs move meanwhile.

use crate::fixture::{Swtpm, program, run, wait};
use crate::relay::{Meddling, QUOTE, Relay, extend_command};
use ccnode_evidence::{Code, ExtraData, PcrIndex, PcrSet, QuoteParts, Sha256Digest, TpmSource as _};
use ccnode_tpm_device::{DeviceError, QUOTE_ATTEMPTS};
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use rsa::{RsaPublicKey, sha2::Sha256};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

const QUALIFYING: [u8; 32] = [0x5a; 32];

fn before_each_quote(pcr: u32) -> impl FnMut(u32, &[u8]) -> Meddling + Send + 'static {
    move |code, _| match code {
        QUOTE => Meddling::After(extend_command(pcr, [7; 32])),
        _ => Meddling::Pass,
    }
}

/// The signature verifies over the message, and the message ends with selection and digest of the values.
fn assert_quote_is_sound(quote: &QuoteParts) {
    let key = RsaPublicKey::from_public_key_der(&quote.ak_public).unwrap();
    // TPMT_SIGNATURE: TPM_ALG_RSASSA, TPM_ALG_SHA256, TPM2B of 256 bytes.
    assert_eq!(quote.signature[..6], [0x00, 0x14, 0x00, 0x0b, 0x01, 0x00]);
    let signature = Signature::try_from(&quote.signature[6..]).unwrap();
    VerifyingKey::<Sha256>::new(key).verify(&quote.message, &signature).unwrap();

    // TPMS_ATTEST: TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE, …, one selection sha256:0-15, digest.
    assert_eq!(quote.message[..6], [0xff, 0x54, 0x43, 0x47, 0x80, 0x18]);
    let digest = quote.pcrs.composite(PcrSet::CCNODE).unwrap();
    let tail = [&[0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0xff, 0x00, 0, 32][..], &digest.0].concat();
    assert!(quote.message.ends_with(&tail), "{}", hex::encode(&quote.message));
    assert_eq!(quote.pcrs.0.len(), 16);
    assert!(quote.message.windows(34).any(|w| w == [&[0, 32][..], &QUALIFYING].concat()));
}

#[test]
fn digest_is_of_the_values_and_the_signature_verifies() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    for pcr in [0, 7, 8, 14, 15] {
        let pcr = PcrIndex::new(pcr).unwrap();
        wait(handle.extend(pcr, Sha256Digest::of(&[pcr.get()]), "an event")).unwrap();
    }
    let quote = wait(handle.quote(ExtraData::Short(QUALIFYING))).unwrap();
    assert_quote_is_sound(&quote);
    assert_eq!(wait(handle.read_pcrs(PcrSet::CCNODE)).unwrap(), quote.pcrs);
    let other = wait(handle.quote(ExtraData::Short([1; 32]))).unwrap();
    assert_ne!(other.message, quote.message);
}

#[test]
fn quote_is_accepted_by_tpm2_checkquote() {
    let tpm = Swtpm::new();
    let quote = wait(tpm.open().quote(ExtraData::Short(QUALIFYING))).unwrap();
    let dir = tpm.dir();
    fs::write(dir.join("message"), &quote.message).unwrap();
    fs::write(dir.join("signature"), &quote.signature).unwrap();
    fs::write(dir.join("ak.der"), &quote.ak_public).unwrap();
    run(program("openssl")
        .args(["pkey", "-pubin", "-inform", "der", "-in", "ak.der", "-out", "ak.pem"])
        .current_dir(dir));
    run(program("tpm2_checkquote")
        .args([
            "-u",
            "ak.pem",
            "-m",
            "message",
            "-s",
            "signature",
            "-g",
            "sha256",
            "-q",
            &hex::encode(QUALIFYING),
        ])
        .current_dir(dir));
}

#[test]
fn t24_extend_between_read_and_quote_is_read_again() {
    let tpm = Swtpm::new();
    let quotes = AtomicUsize::new(0);
    let relay = Relay::new(tpm.port(), move |code, _| {
        let first = code == QUOTE && quotes.fetch_add(1, Ordering::Relaxed) == 0;
        if first { Meddling::After(extend_command(3, [7; 32])) } else { Meddling::Pass }
    });
    let handle = relay.open();
    let quote = wait(handle.quote(ExtraData::Short(QUALIFYING))).unwrap();
    assert_quote_is_sound(&quote);
    let slipped_in = Sha256Digest::ZERO.extend(&Sha256Digest([7; 32]));
    assert_eq!(quote.pcrs.get(PcrIndex::new(3).unwrap()), Some(&slipped_in));
    assert_eq!(relay.count(QUOTE), 2);
}

#[test]
fn t24_extends_without_end_are_a_race() {
    let tpm = Swtpm::new();
    let relay = Relay::new(tpm.port(), before_each_quote(3));
    let error = wait(relay.open().quote(ExtraData::Short(QUALIFYING))).unwrap_err();
    assert_eq!(error, DeviceError::QuoteRace { attempts: QUOTE_ATTEMPTS });
    assert_eq!(error.code(), Code::QuoteRace);
    assert_eq!(relay.count(QUOTE), QUOTE_ATTEMPTS);
}

#[test]
fn t24_extend_outside_the_selection_is_no_race() {
    let tpm = Swtpm::new();
    let relay = Relay::new(tpm.port(), before_each_quote(16));
    assert_quote_is_sound(&wait(relay.open().quote(ExtraData::Short(QUALIFYING))).unwrap());
    assert_eq!(relay.count(QUOTE), 1);
}

#[test]
fn a_stock_quote_is_over_all_24_pcrs_by_the_same_key() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    wait(handle.extend(PcrIndex::new(8).unwrap(), Sha256Digest::of(b"init-data"), "an event")).unwrap();
    let quote = wait(handle.quote_pcrs(PcrSet::STOCK, ExtraData::Short(QUALIFYING))).unwrap();
    let digest = quote.pcrs.composite(PcrSet::STOCK).unwrap();
    let tail = [&[0, 0, 0, 1, 0x00, 0x0b, 3, 0xff, 0xff, 0xff, 0, 32][..], &digest.0].concat();
    assert!(quote.message.ends_with(&tail) && quote.pcrs.0.len() == 24, "{}", hex::encode(&quote.message));
    assert_eq!(wait(handle.read_pcrs(PcrSet::STOCK)).unwrap(), quote.pcrs);
    assert_eq!(quote.ak_public, wait(handle.quote(ExtraData::Short(QUALIFYING))).unwrap().ak_public);
}
