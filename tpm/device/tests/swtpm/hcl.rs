//! A vTPM as Azure's paravisor leaves it: the report's NV indices, defined here, and an attestation key of its own.

use crate::activation::make_credential;
use crate::fixture::{Swtpm, wait};
use ccnode_evidence::{Code, Ek, ExtraData, TpmSource as _};
use ccnode_tpm_device::{AkFault, DeviceError, DeviceHandle, HCL_USER_DATA, Hcl, NvFault, Voucher};
use std::fs;

const REPORT: &str = "0x1400001";
const USER_DATA: &str = "0x1400002";
const AK: &str = "0x81000003";
const RESTRICTED: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";

fn define(tpm: &Swtpm, index: &str, size: usize) {
    // The owner's authorization and no other, as the paravisor defines them.
    tpm.tool("tpm2_nvdefine", &[index, "-C", "o", "-s", &size.to_string(), "-a", "ownerwrite|ownerread"]);
}

fn write(tpm: &Swtpm, index: &str, bytes: &[u8]) {
    fs::write(tpm.dir().join("nv-in"), bytes).unwrap();
    tpm.tool("tpm2_nvwrite", &[index, "-C", "o", "-i", "nv-in"]);
}

/// Puts a key at the handle of the paravisor's.
fn attestation_key(tpm: &Swtpm, algorithm: &str, attributes: &str) {
    let args = ["-C", "e", "-G", algorithm, "-a", attributes, "-c", "hcl.ctx"];
    tpm.tool("tpm2_createprimary", &args);
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "hcl.ctx", AK]);
    tpm.tool("tpm2_flushcontext", &["-t"]);
}

/// With a report of 2000 bytes, which takes two commands to read.
fn azure() -> (Swtpm, Vec<u8>) {
    let tpm = Swtpm::bare();
    let report: Vec<u8> = (0..2000u32).map(|i| (i / 7) as u8).collect();
    define(&tpm, REPORT, report.len());
    write(&tpm, REPORT, &report);
    attestation_key(&tpm, "rsa2048:rsassa-sha256:null", RESTRICTED);
    (tpm, report)
}

fn hcl(handle: &DeviceHandle) -> Hcl {
    wait(handle.supports_hcl()).unwrap().expect("a paravisor")
}

#[test]
fn a_tpm_of_another_kind_has_no_reports() {
    assert!(wait(Swtpm::new().open().supports_hcl()).unwrap().is_none());
}

#[test]
fn the_report_is_read_whole() {
    let (tpm, report) = azure();
    let handle = tpm.open();
    assert_eq!(wait(hcl(&handle).report()).unwrap(), report);
}

#[test]
fn user_data_are_written_where_they_are_taken() {
    let (tpm, _) = azure();
    let data: [u8; HCL_USER_DATA] = std::array::from_fn(|i| i as u8);
    let handle = tpm.open();
    assert!(!wait(hcl(&handle).write_user_data(data)).unwrap(), "nothing is defined for the sake of it");
    drop(handle);
    assert!(!tpm.tool("tpm2_getcap", &["handles-nv-index"]).contains("1400002"));

    define(&tpm, USER_DATA, HCL_USER_DATA);
    let handle = tpm.open();
    assert!(wait(hcl(&handle).write_user_data(data)).unwrap());
    drop(handle);
    tpm.tool("tpm2_nvread", &[USER_DATA, "-C", "o", "-o", "nv-out"]);
    assert_eq!(fs::read(tpm.dir().join("nv-out")).unwrap(), data);
}

#[test]
fn indices_that_do_not_serve() {
    let tpm = Swtpm::bare();
    define(&tpm, REPORT, 1200);
    define(&tpm, USER_DATA, HCL_USER_DATA - 1);
    let handle = tpm.open();
    let error = wait(hcl(&handle).report()).unwrap_err();
    assert_eq!(error, DeviceError::Nv { index: 0x0140_0001, fault: NvFault::Unwritten });
    assert_eq!(error.code(), Code::HclReportMalformed);
    let error = wait(hcl(&handle).write_user_data([0; HCL_USER_DATA])).unwrap_err();
    let fault = NvFault::Undersized { size: HCL_USER_DATA - 1, least: HCL_USER_DATA };
    assert_eq!(error, DeviceError::Nv { index: 0x0140_0002, fault });
    assert_eq!(error.to_string(), "NV index 0x01400002 has 63 bytes where 64 are due");
}

#[test]
fn the_paravisors_key_quotes_and_activates() {
    let (tpm, _) = azure();
    let handle = tpm.open();
    // Before anybody vouches for the endorsement key there is none.
    assert_eq!(wait(handle.identity()).unwrap_err(), DeviceError::EkCertMissing);
    wait(handle.prepare()).unwrap_err();
    drop(handle);
    let modulus = endorsement_modulus(&tpm);
    let handle = tpm.open();
    wait(handle.vouch(Voucher::Modulus(modulus.clone()))).unwrap();
    let who = wait(handle.identity()).unwrap();
    let Ek::Public(public) = &who.ek else { panic!("{who:?}") };
    assert!(public.ends_with(&modulus));
    let (credential, secret) = make_credential(&tpm, &who, &[7; 32]);
    assert_eq!(wait(handle.activate(credential, secret)).unwrap().expose(), &[7; 32]);
    let extra = ExtraData::Whole([9; 48]);
    let quote = wait(handle.quote(extra)).unwrap();
    assert!(quote.message.windows(48).any(|w| w == [9; 48]), "all 48 bytes are quoted");
    drop(handle);
    tpm.tool("tpm2_readpublic", &["-c", AK, "-f", "der", "-o", "ak.der"]);
    assert_eq!(fs::read(tpm.dir().join("ak.der")).unwrap(), quote.ak_public);
    let persistent = tpm.tool("tpm2_getcap", &["handles-persistent"]);
    assert!(!persistent.contains("81010002"), "no key of ours beside it: {persistent}");
}

/// The modulus of the endorsement key that this TPM makes.
fn endorsement_modulus(tpm: &Swtpm) -> Vec<u8> {
    tpm.tool("tpm2_createek", &["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub"]);
    tpm.tool("tpm2_flushcontext", &["-t"]);
    let public = fs::read(tpm.dir().join("ek.pub")).unwrap();
    public[public.len() - 256..].to_vec()
}

#[test]
fn t06_another_key_in_the_place_of_the_paravisors() {
    let cases = [
        ("rsa2048:rsassa-sha256:null", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign"),
        ("rsa2048:rsapss-sha256:null", RESTRICTED),
        ("rsa2048:rsassa-sha384:null", RESTRICTED),
        ("ecc256:ecdsa-sha256:null", RESTRICTED),
    ];
    for (algorithm, attributes) in cases {
        let tpm = Swtpm::new();
        define(&tpm, REPORT, 100);
        assert_eq!(wait(tpm.open().identity()).unwrap_err(), DeviceError::HclAk(AkFault::Missing));
        attestation_key(&tpm, algorithm, attributes);
        let error = wait(tpm.open().identity()).unwrap_err();
        assert_eq!(error.code(), Code::AkAttributes);
        assert_eq!(error, DeviceError::HclAk(AkFault::Public), "{algorithm} {attributes}");
    }
}
