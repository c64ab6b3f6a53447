//! Credential activation, against credentials that tpm2_makecredential wrote.

use crate::fixture::{Swtpm, program, run, wait};
use crate::relay::{ACTIVATE, FLUSH, GET_RANDOM, PCR_READ, QUOTE, Relay, START_AUTH_SESSION};
use ccnode_evidence::{Code, Ek, ExtraData, Identity, TpmSource as _};
use ccnode_tpm_device::{CredentialFault, DeviceError, DeviceHandle};
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::{BigUint, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use std::fs;

const SECRET: [u8; 32] = *b"\x01\x02 the activation secret, 32B \xfe\xff";

/// TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET of tpm2_makecredential, which needs no TPM.
pub(crate) fn make_credential(tpm: &Swtpm, who: &Identity, secret: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let dir = tpm.dir();
    fs::write(dir.join("secret"), secret).unwrap();
    let key = match &who.ek {
        Ek::Certificate(der) => {
            fs::write(dir.join("ek.der"), der).unwrap();
            run(program("openssl")
                .args(["x509", "-inform", "der", "-noout", "-pubkey", "-in"])
                .arg(dir.join("ek.der")))
        }
        Ek::Public(public) => pem(public),
    };
    fs::write(dir.join("ek.pem"), key).unwrap();
    let name = format!("000b{}", hex::encode(Sha256::digest(&who.ak_public)));
    run(program("tpm2_makecredential")
        .args(["-T", "none", "-G", "rsa", "-u", "ek.pem", "-s", "secret", "-n", &name, "-o", "credential"])
        .current_dir(dir));
    split(&fs::read(dir.join("credential")).unwrap())
}

/// TPMT_PUBLIC of an RSA-2048 key ends with the modulus.
fn pem(public: &[u8]) -> Vec<u8> {
    let modulus = BigUint::from_bytes_be(&public[public.len() - 256..]);
    let key = RsaPublicKey::new(modulus, BigUint::from(65537u32)).unwrap();
    key.to_public_key_pem(LineEnding::LF).unwrap().into_bytes()
}

/// The tool's file: magic 0xBADCC0DE, version 1, then both structures with their size.
fn split(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(file[..8], [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1]);
    let credential = 2 + usize::from(u16::from_be_bytes(file[8..10].try_into().unwrap()));
    (file[8..8 + credential].to_vec(), file[8 + credential..].to_vec())
}

fn refusal(handle: &DeviceHandle, credential: &[u8], secret: &[u8]) -> CredentialFault {
    let error = wait(handle.activate(credential.to_vec(), secret.to_vec())).unwrap_err();
    assert_eq!(error.code(), Code::CredentialRefused, "{error}");
    match error {
        DeviceError::CredentialRefused(fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn secret_of_tpm2_makecredential_comes_back() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let who = wait(handle.identity()).unwrap();
    let (credential, secret) = make_credential(&tpm, &who, &SECRET);
    assert_eq!(wait(handle.activate(credential.clone(), secret.clone())).unwrap().expose(), &SECRET);
    // Again, and after a warm-up: each session serves one activation.
    wait(handle.prepare()).unwrap();
    assert_eq!(wait(handle.activate(credential.clone(), secret.clone())).unwrap().expose(), &SECRET);
    assert_eq!(wait(handle.activate(credential, secret)).unwrap().expose(), &SECRET);
}

#[test]
fn t06_credential_for_another_key_or_tpm_is_refused() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let who = wait(handle.identity()).unwrap();
    let (credential, secret) = make_credential(&tpm, &who, &SECRET);

    let mut other_ak = who.clone();
    *other_ak.ak_public.last_mut().unwrap() ^= 1;
    let (blob, seed) = make_credential(&tpm, &other_ak, &SECRET);
    assert!(matches!(refusal(&handle, &blob, &seed), CredentialFault::Tpm(_)));

    for at in [2, 40, credential.len() - 1] {
        let mut damaged = credential.clone();
        damaged[at] ^= 1;
        assert!(matches!(refusal(&handle, &damaged, &secret), CredentialFault::Tpm(_)), "byte {at}");
    }
    let mut damaged = secret.clone();
    damaged[100] ^= 1;
    assert!(matches!(refusal(&handle, &credential, &damaged), CredentialFault::Tpm(_)));
    // Nothing of it lasts: the right one still opens.
    assert_eq!(wait(handle.activate(credential, secret)).unwrap().expose(), &SECRET);
}

#[test]
fn t06_credential_for_another_endorsement_key_is_refused() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let who = wait(handle.identity()).unwrap();
    drop(handle);
    // The same TPM with a certificate of nothing: a key pair from elsewhere stands for another TPM's.
    let dir = tpm.dir();
    run(program("openssl").args(["genrsa", "-out", "foreign.key", "2048"]).current_dir(dir));
    run(program("openssl")
        .args(["rsa", "-in", "foreign.key", "-pubout", "-out", "foreign.pem"])
        .current_dir(dir));
    fs::write(dir.join("secret"), SECRET).unwrap();
    let name = format!("000b{}", hex::encode(Sha256::digest(&who.ak_public)));
    run(program("tpm2_makecredential")
        .args([
            "-T",
            "none",
            "-G",
            "rsa",
            "-u",
            "foreign.pem",
            "-s",
            "secret",
            "-n",
            &name,
            "-o",
            "credential",
        ])
        .current_dir(dir));
    let (credential, secret) = split(&fs::read(dir.join("credential")).unwrap());
    assert!(matches!(refusal(&tpm.open(), &credential, &secret), CredentialFault::Tpm(_)));
}

#[test]
fn secret_of_another_length_is_refused() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let who = wait(handle.identity()).unwrap();
    for len in [1, 16, 31] {
        let (credential, secret) = make_credential(&tpm, &who, &SECRET[..len]);
        assert_eq!(refusal(&handle, &credential, &secret), CredentialFault::Length(len));
    }
}

#[test]
fn malformed_blobs_are_refused_without_the_tpm() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let who = wait(handle.identity()).unwrap();
    let (credential, secret) = make_credential(&tpm, &who, &SECRET);
    let long = |bytes: &[u8]| [bytes, &[0]].concat();
    for blob in [&[][..], &credential[2..], &credential[..credential.len() - 1], &long(&credential)] {
        assert_eq!(refusal(&handle, blob, &secret), CredentialFault::Blob);
    }
    for blob in [&[][..], &secret[2..], &secret[..secret.len() - 1], &long(&secret)] {
        assert_eq!(refusal(&handle, &credential, blob), CredentialFault::Secret);
    }
}

#[test]
fn t21_secret_does_not_cross_the_wire_in_clear() {
    let tpm = Swtpm::new();
    let relay = Relay::watching(tpm.port());
    let handle = relay.open();
    let who = wait(handle.identity()).unwrap();
    let (credential, secret) = make_credential(&tpm, &who, &SECRET);
    let activated = wait(handle.activate(credential, secret)).unwrap();
    assert_eq!(activated.expose(), &SECRET);
    let random = wait(handle.random(80)).unwrap();
    assert_eq!(random.expose().len(), 80);

    let seen = relay.seen();
    // Encryption is worth nothing without a salt that the bus can't read: each session is salted to the endorsement key.
    let sessions: Vec<_> = seen.iter().filter(|e| e.code == START_AUTH_SESSION).collect();
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        assert_eq!(session.command[10..14], [0x81, 0x01, 0x00, 0x01], "tpmKey");
        let nonce = usize::from(u16::from_be_bytes(session.command[18..20].try_into().unwrap()));
        assert_eq!(session.command[20 + nonce..][..2], [0x01, 0x00], "size of encryptedSalt");
    }
    let answer = &seen.iter().find(|e| e.code == ACTIVATE).unwrap().answer;
    assert_eq!(answer[6..10], [0; 4]);
    // The answer's first parameter is the TPM2B_DIGEST, 32 bytes long and encrypted.
    assert_eq!(answer[14..16], [0, 32]);
    assert_ne!(answer[16..48], SECRET);
    assert_eq!(relay.count(GET_RANDOM), 3);
    for exchange in &seen {
        for bytes in [&exchange.command, &exchange.answer] {
            for (what, clear) in [("secret", &SECRET[..]), ("random", random.expose())] {
                let found = clear.chunks_exact(8).any(|part| bytes.windows(8).any(|w| w == part));
                assert!(!found, "{what} in command {:#x}", exchange.code);
            }
        }
    }
}

#[test]
fn prepared_activation_is_one_command_and_a_flush() {
    let tpm = Swtpm::new();
    let relay = Relay::watching(tpm.port());
    let handle = relay.open();
    let who = wait(handle.identity()).unwrap();
    let (credential, secret) = make_credential(&tpm, &who, &SECRET);
    wait(handle.prepare()).unwrap();
    let before = relay.seen().len();
    wait(handle.activate(credential, secret)).unwrap();
    let codes: Vec<u32> = relay.seen()[before..].iter().map(|e| e.code).collect();
    assert_eq!(codes, [ACTIVATE, FLUSH]);
    let before = relay.seen().len();
    wait(handle.quote(ExtraData::Short([0; 32]))).unwrap();
    let codes: Vec<u32> = relay.seen()[before..].iter().map(|e| e.code).collect();
    assert_eq!(codes, [PCR_READ, PCR_READ, QUOTE]);
}
