//! Launch measurements that the vectors state, computed by the `sev` crate from their firmware, are what a policy lists.

use crate::world::{vector, verify};
use ccnode_snp::{Hex, SnpPolicy, SnpRejection};
use ccnode_testkit::snp::{ReportSpec, TestChip};
use serde_json::Value;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use std::io::Write as _;
use std::path::PathBuf;

/// A scratch file that is gone with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn stated_launch_measurements_are_taken_and_others_refused() {
    let Some(text) = vector("snp/expected.json") else { return };
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let chip = TestChip::milan();
    let (mut computed, mut others) = (0, 0);
    for file in ["ovmf_AmdSev_suffix.bin", "ovmf_OvmfX64_suffix.bin"] {
        let bytes = vector(&format!("snp/launch-measurement/{file}")).unwrap();
        let name = format!("ccnode-snp-{}-{file}", std::process::id());
        let firmware = Scratch(std::env::temp_dir().join(name));
        std::fs::File::create(&firmware.0).unwrap().write_all(&bytes).unwrap();
        let cases = expected["files"][format!("launch-measurement/{file}")]["cases"].as_object().unwrap();
        for (name, case) in cases {
            // SEV and SEV-ES have launch digests of their own, which no SEV-SNP report holds.
            if case["mode"] != "snp" {
                others += 1;
                continue;
            }
            let stated: Hex<48> = case["expected"].as_str().unwrap().parse().unwrap();
            assert_eq!(digest(&firmware.0, case), stated.to_string(), "{name}");
            computed += 1;
            let raw = chip.sign(&ReportSpec { measurement: stated.0, ..chip.spec([7; 64], 0) });
            let proven = verify(&chip, &raw).unwrap();
            let listing = |listed| SnpPolicy { measurements: Some(vec![listed]), ..SnpPolicy::default() };
            assert!(listing(stated).judge(&proven).is_ok());
            let got = listing(Hex([0; 48])).judge(&proven);
            assert!(matches!(got, Err(SnpRejection::Measurement { .. })));
        }
    }
    assert!(computed >= 8, "{computed} computed, {others} of other modes");
}

fn digest(firmware: &std::path::Path, case: &Value) -> String {
    let path = |name: &str| case[name].as_str().map(PathBuf::from);
    let features = case["guest_features"].as_str().unwrap().trim_start_matches("0x");
    let vmm = match case["vmm"].as_str() {
        Some("QEMU") => Some(VMMType::QEMU),
        Some("EC2") => Some(VMMType::EC2),
        Some(other) => panic!("VMM {other}"),
        None => None,
    };
    let args = SnpMeasurementArgs {
        vcpus: case["vcpus"].as_str().unwrap().parse().unwrap(),
        vcpu_type: cpu(case["vcpu_type"].as_str().unwrap()),
        ovmf_file: firmware.to_owned(),
        guest_features: GuestFeatures(u64::from_str_radix(features, 16).unwrap()),
        kernel_file: path("kernel"),
        initrd_file: path("initrd"),
        append: case["append"].as_str(),
        ovmf_hash_str: case.get("firmware_hash").and_then(Value::as_str),
        vmm_type: vmm,
    };
    let digest: Vec<u8> = snp_calc_launch_digest(args).unwrap().try_into().unwrap();
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn cpu(name: &str) -> CpuType {
    match name {
        "EpycV4" => CpuType::EpycV4,
        other => panic!("processor {other}"),
    }
}
