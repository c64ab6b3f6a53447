//! Endorsement keys for which a manifest or a report vouches, in a certificate's place or beside it.

use crate::activation::make_credential;
use crate::fixture::{Swtpm, wait};
use ccnode_evidence::{Code, Ek, TpmSource as _};
use ccnode_tpm_device::{DeviceError, Voucher, Vouches};
use std::fs;

/// TPMT_PUBLIC of the endorsement key that this TPM makes, as tpm2-tools say.
fn manifest(tpm: &Swtpm) -> Vec<u8> {
    tpm.tool("tpm2_createek", &["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub"]);
    tpm.tool("tpm2_flushcontext", &["-t"]);
    // TPM2B_PUBLIC: the size comes first.
    fs::read(tpm.dir().join("ek.pub")).unwrap()[2..].to_vec()
}

#[test]
fn a_manifest_stands_for_the_certificate() {
    let tpm = Swtpm::bare();
    let manifest = manifest(&tpm);
    let handle = tpm.open();
    assert_eq!(wait(handle.identity()).unwrap_err(), DeviceError::EkCertMissing);
    wait(handle.vouch(Voucher::Manifest(manifest.clone()))).unwrap();
    let who = wait(handle.identity()).unwrap();
    assert_eq!(who.ek, Ek::Public(manifest));
    let (credential, secret) = make_credential(&tpm, &who, &[7; 32]);
    assert_eq!(wait(handle.activate(credential, secret)).unwrap().expose(), &[7; 32]);
    drop(handle);
    assert_eq!(tpm.volatile_handles(), "");
}

#[test]
fn a_certificate_is_still_offered_where_there_is_one() {
    let tpm = Swtpm::new();
    let manifest = manifest(&tpm);
    let handle = tpm.open();
    let before = wait(handle.identity()).unwrap();
    wait(handle.vouch(Voucher::Manifest(manifest.clone()))).unwrap();
    assert_eq!(wait(handle.identity()).unwrap(), before);
    let modulus = manifest[manifest.len() - 256..].to_vec();
    wait(handle.vouch(Voucher::Modulus(modulus))).unwrap();
    assert!(matches!(wait(handle.identity()).unwrap().ek, Ek::Certificate(_)));
}

#[test]
fn t06_a_key_that_nobody_vouches_for_is_not_used() {
    let (certified, bare, other) = (Swtpm::new(), Swtpm::bare(), Swtpm::bare());
    other.tool("tpm2_changeeps", &[]);
    let foreign = manifest(&other);
    let modulus = foreign[foreign.len() - 256..].to_vec();
    for tpm in [certified, bare] {
        for (voucher, by, code) in [
            (Voucher::Manifest(foreign.clone()), Vouches::Manifest, Code::SvsmManifestForeign),
            (Voucher::Manifest(Vec::new()), Vouches::Manifest, Code::SvsmManifestForeign),
            (Voucher::Modulus(modulus.clone()), Vouches::Hcl, Code::HclEkForeign),
        ] {
            let handle = tpm.open();
            // Found before, by its certificate or not at all: it is looked at again.
            let _ = wait(handle.identity());
            let error = wait(handle.vouch(voucher)).unwrap_err();
            assert_eq!((&error, error.code()), (&DeviceError::EkForeign { by }, code));
            assert_eq!(wait(handle.identity()).unwrap_err(), error);
            assert_eq!(wait(handle.random(32)).unwrap_err(), error);
            drop(handle);
            assert_eq!(tpm.volatile_handles(), "");
        }
    }
}
