//! A panic on a node with a TPM: PCR 15 is closed before anything is said, and nothing ends the boot before that.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, as it should")]

mod swtpm;

use ccnode_bootstrap::config::Action;
use ccnode_bootstrap::last;
use ccnode_evidence::{Code, PcrIndex, Sha256Digest};
use ccnode_tpm_device::DeviceHandle;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use swtpm::Swtpm;

fn pcr_15(device: &DeviceHandle) -> Sha256Digest {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let values = runtime.block_on(device.read_pcrs([PcrIndex::CAP].into_iter().collect())).unwrap();
    *values.get(PcrIndex::CAP).unwrap()
}

// One test: what is told of TPM and action belongs to the process.
#[test]
fn a_panic_caps_then_says_then_ends() {
    let tpm = Swtpm::start();
    let device = tpm.open();
    assert_eq!(pcr_15(&device), Sha256Digest::ZERO);
    last::set_tpm(device.clone());
    last::set_action(Action::Reboot);
    let (tell, told) = channel();
    let (said, ended) = (tell.clone(), tell.clone());
    // On a thread of its own: what a second panic does is wait.
    let first = device.clone();
    let hook = thread::spawn(move || {
        last::panicked(
            "src/x.rs:7",
            |refusal, closed| {
                assert_eq!(
                    (refusal.code, refusal.detail.as_str()),
                    (Code::NodeInternal, "panic at src/x.rs:7")
                );
                said.send(("said", closed, pcr_15(&first), Action::Reboot)).unwrap();
            },
            |action| ended.send(("ended", true, Sha256Digest::ZERO, action)).unwrap(),
        );
    });
    let (what, closed, value, _) = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((what, closed), ("said", true));
    assert_ne!(value, Sha256Digest::ZERO, "said before the cap");
    let (what, _, _, action) = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((what, action), ("ended", Action::Reboot));
    hook.join().unwrap();

    let second = tell.clone();
    thread::spawn(move || {
        last::panicked(
            "src/y.rs:8",
            |_, _| (),
            |action| {
                second.send(("ended again", true, Sha256Digest::ZERO, action)).unwrap();
            },
        );
    });
    assert!(told.recv_timeout(Duration::from_secs(1)).is_err(), "a second panic ends the boot");

    // Closed is closed: it is not extended again.
    assert!(last::close_pcr());
    assert_eq!(pcr_15(&device), value);
}
