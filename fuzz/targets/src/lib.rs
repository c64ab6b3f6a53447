//! What each fuzz target does with its bytes. cargo-fuzz calls it with a fuzzer behind it, `cargo test` with the corpora.
//!
//! A target panics where a promise is broken: a parser that panics itself, that holds more than it was given, or whose words would
//! steer a terminal. Refusing bytes is never a finding.

mod evidence;
mod headers;
mod host;
mod logs;
mod secrets;
mod stock;
mod tpm;

pub use headers::{BINARY, PASSPHRASE_KEYSLOTS, sealed};
pub use secrets::{CONTENT, SIGNED, Signed, direct_key, session_key};
pub use stock::NONCE;
pub use tpm::unsigned_quote;

/// A target's name, which is its corpus's folder too, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 23] = [
    ("eventlog", logs::firmware),
    ("own_log", logs::own),
    ("ccel", logs::ccel),
    ("tpms_attest", tpm::attest),
    ("tpmt_signature", tpm::signature),
    ("tpmt_public", tpm::public),
    ("ek_certificate", tpm::ek_certificate),
    ("snp_report", evidence::snp_report),
    ("snp_certificates", evidence::snp_certificates),
    ("tdx_quote", evidence::tdx_quote),
    ("tdx_collateral", evidence::tdx_collateral),
    ("hcl_report", evidence::hcl_report),
    ("evidence_json", evidence::json),
    ("resource_uri", secrets::resource_uri),
    ("jwe_session", secrets::jwe_session),
    ("jwe_direct", secrets::jwe_direct),
    ("sealed_secret", secrets::sealed_secret),
    ("key_forms", secrets::key_forms),
    ("luks_header", headers::own),
    ("passphrase_header", headers::by_passphrase),
    ("stock_attestation", stock::attestation),
    ("stock_admin", stock::administration),
    ("init_data", host::init_data),
];

/// Runs the target of this name.
///
/// # Panics
/// Where there is none, and where a promise is broken.
#[expect(clippy::panic, reason = "a finding is a panic")]
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|(target, _)| *target == name) {
        Some((_, target)) => target(bytes),
        None => panic!("no fuzz target {name}"),
    }
}

/// Words that go to terminals hold nothing that these obey.
fn printable(words: &str) {
    assert!(words.chars().all(|c| !ccnode_evidence::is_obeyed(c)), "{words:?}");
}
