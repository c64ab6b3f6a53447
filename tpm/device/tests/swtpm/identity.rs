//! Who the TPM is: certificate, endorsement key, attestation key, and what is refused in their places.

use crate::activation::make_credential;
use crate::fixture::{Swtpm, program, run, wait};
use crate::relay::{Meddling, NV_READ, Relay};
use ccnode_evidence::{Code, ExtraData, TpmSource as _};
use ccnode_tpm_device::{AkFault, Device, DeviceError};
use rsa::RsaPublicKey;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use std::fs;

const EK: &str = "0x81010001";
const AK: &str = "0x81010002";

#[test]
fn certificate_is_read_to_its_der_length() {
    let tpm = Swtpm::new();
    let cert = wait(tpm.open().identity()).unwrap().ek_cert().unwrap().to_vec();
    fs::write(tpm.dir().join("ek.der"), &cert).unwrap();
    let text = run(program("openssl")
        .args(["x509", "-inform", "der", "-noout", "-pubkey", "-in"])
        .arg(tpm.dir().join("ek.der")));
    tpm.tool("tpm2_readpublic", &["-c", "0x81010001", "-f", "pem", "-o", "ek.pem"]);
    assert_eq!(text, fs::read(tpm.dir().join("ek.pem")).unwrap());
    tpm.tool("tpm2_nvread", &["0x1c00002", "-o", "nv"]);
    let nv = fs::read(tpm.dir().join("nv")).unwrap();
    assert!(nv.starts_with(&cert));
}

#[test]
fn padding_behind_the_certificate_is_left_out() {
    let tpm = Swtpm::new();
    let cert = wait(tpm.open().identity()).unwrap().ek_cert().unwrap().to_vec();
    replace_certificate(&tpm, &[cert.as_slice(), &[0xff; 300]].concat());
    assert_eq!(wait(tpm.open().identity()).unwrap().ek_cert().unwrap(), cert);
}

/// A SEQUENCE around the certificate and as much again: the certificate of a talkative maker.
fn long_certificate(cert: &[u8]) -> Vec<u8> {
    let content = [cert, &[0x5a; 900]].concat();
    [&[0x30, 0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
}

#[test]
fn long_certificate_is_read_in_parts() {
    let tpm = Swtpm::new();
    let long = long_certificate(wait(tpm.open().identity()).unwrap().ek_cert().unwrap());
    replace_certificate(&tpm, &[long.as_slice(), &[0xff; 20]].concat());
    let relay = Relay::watching(tpm.port());
    assert_eq!(wait(relay.open().identity()).unwrap().ek_cert().unwrap(), long);
    assert_eq!(relay.count(NV_READ), 3, "header, 1024 bytes, the rest");
}

#[test]
fn tpm_with_small_buffers_is_read_in_smaller_parts() {
    let tpm = Swtpm::new();
    let long = long_certificate(wait(tpm.open().identity()).unwrap().ek_cert().unwrap());
    replace_certificate(&tpm, &long);
    let relay = Relay::new(tpm.port(), |code, command| {
        // TPM2_NV_Read ends with size and offset; TPM_RC_VALUE about the first parameter is the answer to a large size.
        let size = u16::from_be_bytes(command[command.len() - 4..][..2].try_into().unwrap());
        if code == NV_READ && size > 512 { Meddling::Refuse(0x1c4) } else { Meddling::Pass }
    });
    assert_eq!(wait(relay.open().identity()).unwrap().ek_cert().unwrap(), long);
}

#[test]
fn attestation_key_is_persisted_and_stays_the_same() {
    let tpm = Swtpm::new();
    let first = wait(tpm.open().identity()).unwrap();
    let seen = tpm.tool("tpm2_readpublic", &["-c", AK, "-f", "der", "-o", "ak.der"]);
    assert!(
        seen.contains("value: fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign\n"),
        "{seen}"
    );
    assert!(seen.contains("rsassa") && seen.contains("sha256"), "{seen}");

    let tpm = tpm.restart();
    let handle = tpm.open();
    let second = wait(handle.identity()).unwrap();
    assert_eq!(first.ak_public, second.ak_public);
    let spki = wait(handle.quote(ExtraData::Short([0; 32]))).unwrap().ak_public;
    drop(handle);
    tpm.tool("tpm2_readpublic", &["-c", AK, "-f", "der", "-o", "ak.der"]);
    let key = RsaPublicKey::from_public_key_der(&fs::read(tpm.dir().join("ak.der")).unwrap()).unwrap();
    assert_eq!(key.to_public_key_der().unwrap().as_bytes(), spki);
    // TPMT_PUBLIC ends with the modulus.
    let modulus = rsa::traits::PublicKeyParts::n(&key).to_bytes_be();
    assert!(first.ak_public.ends_with(&modulus));
    assert_eq!(first.ak_public[..4], [0x00, 0x01, 0x00, 0x0b], "TPM_ALG_RSA, TPM_ALG_SHA256");
}

#[test]
fn without_owner_authorization_the_same_key_stays_transient() {
    let tpm = Swtpm::new();
    let persisted = wait(tpm.open().identity()).unwrap().ak_public;
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", AK]);
    tpm.tool("tpm2_changeauth", &["-c", "owner", "taken"]);
    let handle = tpm.open();
    assert_eq!(wait(handle.identity()).unwrap().ak_public, persisted);
    wait(handle.quote(ExtraData::Short([1; 32]))).unwrap();
    drop(handle);
    assert!(!tpm.tool("tpm2_getcap", &["handles-persistent"]).contains("81010002"));
    assert_eq!(tpm.volatile_handles(), "");
}

#[test]
fn endorsement_key_is_made_from_the_template_where_it_does_not_lie() {
    let restricted = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt";
    let policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
    let others: [&[&str]; 3] = [
        &[],
        &["-C", "o", "-G", "ecc"],
        // The template L-1 in another hierarchy: every attribute is right, and the key is not the certificate's.
        &["-C", "o", "-G", "rsa2048:null:aes128cfb", "-a", restricted, "-L", "policy"],
    ];
    for other in others {
        let tpm = Swtpm::new();
        tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", EK]);
        if !other.is_empty() {
            fs::write(tpm.dir().join("policy"), hex::decode(policy).unwrap()).unwrap();
            tpm.tool("tpm2_createprimary", &[other, &["-c", "other.ctx"]].concat());
            tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "other.ctx", EK]);
            tpm.tool("tpm2_flushcontext", &["-t"]);
        }
        let handle = tpm.open();
        let who = wait(handle.identity()).unwrap();
        let (credential, secret) = make_credential(&tpm, &who, &[7; 32]);
        assert_eq!(wait(handle.activate(credential, secret)).unwrap().expose(), &[7; 32], "{other:?}");
        drop(handle);
        assert_eq!(tpm.volatile_handles(), "");
    }
}

#[test]
fn certificate_of_another_key_is_refused() {
    let tpm = Swtpm::new();
    // A new endorsement seed: the certificate is for a key that this TPM can't make any more.
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "0x81010001"]);
    tpm.tool("tpm2_changeeps", &[]);
    let handle = tpm.open();
    for _ in 0..8 {
        // More often than a TPM has slots for objects: each key made in vain must be gone.
        let error = wait(handle.identity()).unwrap_err();
        assert_eq!(error, DeviceError::EkCertForeign);
        assert_eq!(error.code(), Code::TpmFailed);
    }
    drop(handle);
    assert_eq!(tpm.volatile_handles(), "");
}

#[test]
fn certificate_of_a_key_of_another_template_is_refused() {
    let tpm = Swtpm::new();
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", EK]);
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt";
    tpm.tool(
        "tpm2_createprimary",
        &["-C", "e", "-G", "rsa2048:null:aes128cfb", "-a", attributes, "-c", "other.ctx"],
    );
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "other.ctx", EK]);
    tpm.tool("tpm2_flushcontext", &["-t"]);
    tpm.tool("tpm2_readpublic", &["-c", EK, "-f", "der", "-o", "other.der"]);
    // Its SubjectPublicKeyInfo is certificate enough: it holds the key.
    replace_certificate(&tpm, &fs::read(tpm.dir().join("other.der")).unwrap());
    assert_eq!(wait(tpm.open().identity()).unwrap_err(), DeviceError::EkCertForeign);
}

/// A TPM counts a failed guess where it loses power after a key that guesses could wear out was used.
#[test]
fn power_cuts_do_not_lock_the_attestation_key() {
    let mut tpm = Swtpm::new();
    for boot in 0..6 {
        let handle = tpm.open();
        wait(handle.quote(ExtraData::Short([boot; 32]))).unwrap_or_else(|e| panic!("boot {boot}: {e}"));
        std::mem::forget(handle);
        tpm = tpm.cut();
    }
}

#[test]
fn missing_certificate() {
    let tpm = Swtpm::bare();
    let error = wait(tpm.open().identity()).unwrap_err();
    assert_eq!(error, DeviceError::EkCertMissing);
    assert_eq!(error.code(), Code::EkCertMissing);
    // Defined and never written is missing, too.
    tpm.tool("tpm2_nvdefine", &["0x1c00002", "-C", "o", "-s", "1200", "-a", "ownerwrite|ownerread|authread"]);
    assert_eq!(wait(tpm.open().identity()).unwrap_err(), DeviceError::EkCertMissing);
}

#[test]
fn malformed_certificate() {
    let tpm = Swtpm::bare();
    for bytes in
        [&[0xffu8; 1200][..], &[0x30, 0x82, 0x05], &[&[0x30, 0x82, 0x05, 0x00][..], &[7; 900]].concat()]
    {
        define_certificate(&tpm, bytes);
        let error = wait(tpm.open().identity()).unwrap_err();
        assert_eq!(error, DeviceError::EkCertMalformed, "{} bytes", bytes.len());
        assert_eq!(error.code(), Code::EkCertMalformed);
        tpm.tool("tpm2_nvundefine", &["0x1c00002", "-C", "o"]);
    }
}

#[test]
fn t06_foreign_object_at_the_attestation_keys_handle() {
    let unrestricted = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign";
    let restricted = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
    let guessable = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign";
    let cases = [
        ("e", "rsa2048:rsassa-sha256:null", unrestricted, AkFault::Public),
        ("e", "rsa2048:rsassa-sha256:null", guessable, AkFault::Public),
        ("e", "rsa2048:rsapss-sha256:null", restricted, AkFault::Public),
        ("e", "rsa2048:rsassa-sha1:null", restricted, AkFault::Public),
        ("e", "ecc256:ecdsa-sha256:null", restricted, AkFault::Public),
        ("o", "rsa2048:rsassa-sha256:null", restricted, AkFault::Hierarchy),
    ];
    for (hierarchy, algorithm, attributes, fault) in cases {
        let tpm = Swtpm::new();
        let args = ["-C", hierarchy, "-G", algorithm, "-a", attributes, "-c", "other.ctx"];
        tpm.tool("tpm2_createprimary", &args);
        tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "other.ctx", AK]);
        tpm.tool("tpm2_flushcontext", &["-t"]);
        let error = wait(tpm.open().identity()).unwrap_err();
        assert_eq!(error, DeviceError::AkForeign(fault), "{hierarchy} {algorithm} {attributes}");
        assert_eq!(error.code(), Code::AkAttributes);
        assert!(error.to_string().contains("remove what lies at 0x81010002"));
        assert_eq!(
            wait(tpm.open().quote(ExtraData::Short([0; 32]))).unwrap_err(),
            error,
            "no quote by a foreign key"
        );
    }
}

#[test]
fn no_tpm() {
    let nowhere = format!("swtpm:host=127.0.0.1,port={}", crate::fixture::free_pair());
    for text in [nowhere.as_str(), "device:/dev/no-such-tpm"] {
        let error = Device::open(text.parse().unwrap()).unwrap_err();
        assert_eq!(error, DeviceError::TpmMissing(text.to_owned()));
        assert_eq!(error.code(), Code::TpmMissing);
    }
}

#[test]
fn device_that_is_no_tpm() {
    let error = Device::open("device:/dev/null".parse().unwrap()).unwrap_err();
    assert!(matches!(error, DeviceError::TpmFailed { .. }), "{error:?}");
    assert_eq!(error.code(), Code::TpmFailed);
}

fn define_certificate(tpm: &Swtpm, bytes: &[u8]) {
    let size = bytes.len().to_string();
    tpm.tool("tpm2_nvdefine", &["0x1c00002", "-C", "o", "-s", &size, "-a", "ownerwrite|ownerread|authread"]);
    fs::write(tpm.dir().join("cert"), bytes).unwrap();
    tpm.tool("tpm2_nvwrite", &["0x1c00002", "-C", "o", "-i", "cert"]);
}

/// swtpm_setup's index can't be undefined without the platform's authorization, which it leaves empty.
fn replace_certificate(tpm: &Swtpm, bytes: &[u8]) {
    tpm.tool("tpm2_nvundefine", &["0x1c00002", "-C", "p"]);
    define_certificate(tpm, bytes);
}
