//! No transient object and no session is left in the TPM, after success and after failure.

use crate::fixture::{Swtpm, wait};
use ccnode_evidence::{ExtraData, TpmSource as _};
use ccnode_tpm_device::DeviceError;

#[test]
fn nothing_is_left_after_success() {
    let tpm = Swtpm::new();
    assert_eq!(tpm.volatile_handles(), "", "before");
    let handle = tpm.open();
    wait(async {
        handle.prepare().await.unwrap();
        handle.identity().await.unwrap();
        handle.quote(ExtraData::Short([0; 32])).await.unwrap();
        handle.random(100).await.unwrap();
        handle.cap().await.unwrap();
        handle.prepare().await.unwrap();
    });
    drop(handle);
    assert_eq!(tpm.volatile_handles(), "");
}

#[test]
fn nothing_is_left_of_transient_keys() {
    let tpm = Swtpm::new();
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "0x81010001"]);
    tpm.tool("tpm2_changeauth", &["-c", "owner", "taken"]);
    let handle = tpm.open();
    wait(handle.prepare()).unwrap();
    wait(handle.quote(ExtraData::Short([0; 32]))).unwrap();
    drop(handle);
    assert_eq!(tpm.volatile_handles(), "");
}

#[test]
fn nothing_is_left_after_failures() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let blob = |len: u8| [vec![0, len], vec![1; usize::from(len)]].concat();
    for _ in 0..8 {
        // More failures than a TPM has slots for sessions: each must have freed its own.
        let error = wait(handle.activate(blob(68), blob(200))).unwrap_err();
        assert!(matches!(error, DeviceError::CredentialRefused(_)), "{error:?}");
    }
    drop(handle);
    assert_eq!(tpm.volatile_handles(), "");
    // An endorsement hierarchy that is not ours: the policy fails after the session was started.
    tpm.tool("tpm2_changeauth", &["-c", "endorsement", "taken"]);
    let handle = tpm.open();
    for _ in 0..8 {
        let error = wait(handle.prepare()).unwrap_err();
        assert!(matches!(error, DeviceError::TpmFailed { command: "TPM2_PolicySecret", .. }), "{error:?}");
    }
    drop(handle);
    assert_eq!(tpm.volatile_handles(), "");
    // And the attestation key can't be made.
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "0x81010002"]);
    let error = wait(tpm.open().identity()).unwrap_err();
    assert!(matches!(error, DeviceError::TpmFailed { command: "TPM2_CreatePrimary", .. }), "{error:?}");
    assert_eq!(tpm.volatile_handles(), "");
}

#[test]
fn last_clone_closes() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let twin = handle.clone();
    wait(handle.prepare()).unwrap();
    drop(handle);
    wait(twin.identity()).unwrap();
    let queued = twin.prepare();
    drop(twin);
    // What was queued is done before the TPM is closed.
    wait(queued).unwrap();
    assert_eq!(tpm.volatile_handles(), "");
}
