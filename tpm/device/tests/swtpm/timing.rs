//! Prints how long the steps take, for people: `cargo test -p ccnode-tpm-device timing -- --nocapture --ignored`.

use crate::fixture::{Swtpm, wait};
use ccnode_evidence::EvidenceSource as _;
use std::time::Instant;

#[test]
#[ignore = "prints figures, checks nothing"]
fn timing() {
    let tpm = Swtpm::new();
    for boot in ["first boot", "second boot", "third boot"] {
        let mut at = Instant::now();
        let mut lap = |what: &str| {
            println!("{boot}: {what}: {:.1} ms", at.elapsed().as_secs_f64() * 1000.0);
            at = Instant::now();
        };
        let handle = tpm.open();
        lap("open");
        let who = wait(handle.identity()).unwrap();
        lap("identity");
        wait(handle.prepare()).unwrap();
        lap("prepare after it (banks, session, policy)");
        let (credential, secret) = crate::activation::make_credential(&tpm, &who, &[7; 32]);
        lap("(tpm2_makecredential)");
        wait(handle.activate(credential, secret)).unwrap();
        lap("activate");
        wait(handle.quote([0; 32])).unwrap();
        lap("quote");
        wait(handle.cap()).unwrap();
        lap("cap");
        wait(handle.random(32)).unwrap();
        lap("random with a new session");
        drop(handle);
        lap("close");
    }
}
