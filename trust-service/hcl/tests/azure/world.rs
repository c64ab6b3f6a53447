//! What the tests share: the vectors, keys, and an honest report.

use ccnode_hcl::{HardwareReport, HclRejection, HclReport, RuntimeProven};
use ccnode_testkit::hcl::{HclSpec, runtime_data};
use ccnode_testkit::snp::TestChip;
pub(crate) use ccnode_vectors::read as vector;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use serde_json::Value;

fn key(der: &[u8]) -> RsaPublicKey {
    rsa::RsaPrivateKey::from_pkcs1_der(der).unwrap().to_public_key()
}

pub(crate) fn ak() -> RsaPublicKey {
    key(include_bytes!("../../../testkit/keys/ak-a.der"))
}

pub(crate) fn ek() -> RsaPublicKey {
    key(include_bytes!("../../../testkit/keys/ek-a.der"))
}

pub(crate) const USER_DATA: [u8; 64] = [0xa7; 64];

/// Honest runtime data.
pub(crate) fn claims() -> Value {
    runtime_data(&ak(), &ek(), &USER_DATA)
}

/// An honest report over these runtime data.
pub(crate) fn honest(claims: &Value) -> HclSpec {
    HclSpec::snp(&TestChip::milan(), claims)
}

/// REPORT_DATA of the hardware report inside, not proven.
pub(crate) fn report_data(report: &HclReport<'_>) -> [u8; 64] {
    match report.hardware() {
        HardwareReport::Snp(bytes) => bytes[0x50..0x90].try_into().unwrap(),
        HardwareReport::Tdx(bytes) => bytes[128..192].try_into().unwrap(),
    }
}

/// Reads the report and believes its hardware report.
pub(crate) fn believe(bytes: &[u8]) -> Result<RuntimeProven, HclRejection> {
    let report = HclReport::parse(bytes)?;
    report.bound_to(&report_data(&report))
}
