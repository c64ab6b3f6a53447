//! Forms that paravisors may write and no recording has: lengths, versions, capabilities, absent members; and freshness.

use crate::world::{USER_DATA, ak, believe, claims, ek, honest};
use ccnode_evidence::Code;
use ccnode_hcl::{Field, HclRejection};
use ccnode_testkit::hcl::HclSpec;
use rsa::traits::PublicKeyParts as _;
use serde_json::json;

#[test]
fn every_form_of_the_request_data_reads_alike() {
    for version in [1, 2] {
        for (data_version, extension) in [(1, None), (2, None), (2, Some(3)), (2, Some(u32::MAX))] {
            let spec = HclSpec { version, data_version, extension, ..honest(&claims()) };
            let proven = believe(&spec.bytes()).unwrap();
            assert_eq!(proven.data().ak().modulus(), ak().n().to_bytes_be());
            assert_eq!(proven.data().ek().unwrap().modulus(), ek().n().to_bytes_be());
        }
    }
    // Version 1 has no capabilities.
    let spec = HclSpec { extension: Some(3), ..honest(&claims()) };
    let got = believe(&spec.bytes());
    assert!(matches!(got, Err(HclRejection::Field { field: Field::DataSize, .. })), "{got:?}");
}

#[test]
fn the_length_is_of_the_whole_or_of_the_hardware_report() {
    for (spec, alone, other) in [(honest(&claims()), 1184, 1024), (HclSpec::tdx(&claims()), 1024, 1184)] {
        assert!(believe(&spec.bytes()).is_ok());
        let with = |size| believe(&HclSpec { report_size: Some(size), ..spec.clone() }.bytes());
        assert!(with(alone).is_ok());
        let got = with(other);
        assert!(
            matches!(got, Err(HclRejection::Field { field: Field::ReportSize, seen, .. }) if seen == other)
        );
    }
}

#[test]
fn members_may_be_absent_or_new() {
    let mut bare = claims();
    let members = bare.as_object_mut().unwrap();
    members.remove("vm-configuration");
    members.insert("user-data".into(), "".into());
    members.insert("new".into(), json!({"a": [1]}));
    members["keys"].as_array_mut().unwrap().truncate(1);
    let proven = believe(&honest(&bare).bytes()).unwrap();
    assert_eq!((proven.data().ek(), proven.data().user_data()), (None, None));
    let got = proven.is_fresh(&USER_DATA).unwrap_err();
    assert!(matches!(&got, HclRejection::UserData { seen, .. } if seen == "(none)"));
}

#[test]
fn t09_user_data_of_another_session_are_refused() {
    let proven = believe(&honest(&claims()).bytes()).unwrap();
    assert!(proven.is_fresh(&USER_DATA).is_ok());
    for at in [0, 47, 63] {
        let mut other = USER_DATA;
        other[at] ^= 1;
        let got = proven.is_fresh(&other).unwrap_err();
        assert!(matches!(got, HclRejection::UserData { .. }) && got.code() == Code::HclUserData);
    }
}

#[test]
fn t06_keys_of_another_vtpm_are_refused() {
    let spec = honest(&claims());
    let mut swapped = spec.clone();
    let text = String::from_utf8(spec.runtime).unwrap();
    swapped.runtime = text.replace("HCLEkPub", "HCLEkPuc").into_bytes();
    let got = believe(&swapped.bytes()).unwrap_err();
    assert!(matches!(got, HclRejection::Binding { .. }) && got.code() == Code::HclBinding);
}
