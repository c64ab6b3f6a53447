//! Revocation lists: whose they are, whom they name, how long they hold, what limits them.

use crate::world::{NOW, roots, sent};
use ccnode_evidence::{Code, UnixTime};
use ccnode_snp::{Crl, CrlError, Endorsement, SnpRejection};
use ccnode_testkit::snp::{TestChip, any_extension};

const ASK: u64 = 0x10001;
const ASVK: u64 = 0x10101;
const ARK: u64 = 0x10000;

fn with(chip: &TestChip, crls: &[Vec<u8>], now: UnixTime) -> Result<Endorsement, SnpRejection> {
    let mut certs = sent(chip);
    certs.crls.extend(crls.iter().map(|der| Crl::parse(der).unwrap()));
    Endorsement::verify(&certs.veks[0], &certs, &roots(chip), now)
}

#[test]
fn t19_a_revoked_ca_ends_the_chain() {
    let (vcek, vlek) = (TestChip::milan(), TestChip::milan().with_vlek("CN=x"));
    assert!(with(&vcek, &[vcek.crl(&[])], NOW).unwrap().crl_checked());
    assert!(with(&vcek, &[vcek.crl(&[ASVK, 7, 0])], NOW).unwrap().crl_checked());
    let got = with(&vcek, &[vcek.crl(&[7, ASK])], NOW).unwrap_err();
    assert_eq!(got, SnpRejection::Revoked { subject: "SEV-Milan".into() });
    assert_eq!(got.code(), Code::SnpRevoked);
    let got = with(&vlek, &[vcek.crl(&[ASVK])], NOW).unwrap_err();
    assert_eq!(got, SnpRejection::Revoked { subject: "SEV-VLEK-Milan".into() });
    let got = with(&vcek, &[vcek.crl(&[ARK])], NOW).unwrap_err();
    assert_eq!(got, SnpRejection::Revoked { subject: "ARK-Milan".into() });
    // Any list that names it counts, be there others that don't, and be it old.
    let old = vcek.crl_with(&[ASK], |spec| spec.years = (2020, 2021));
    let got = with(&vcek, &[vcek.crl(&[]), old], NOW).unwrap_err();
    assert_eq!(got, SnpRejection::Revoked { subject: "SEV-Milan".into() });
}

#[test]
fn a_list_counts_for_its_issuer_only() {
    let (milan, genoa) = (TestChip::milan(), TestChip::genoa());
    assert!(!with(&milan, &[genoa.crl(&[ASK])], NOW).unwrap().crl_checked());
    let got = with(&milan, &[milan.crl_by_ask(&[], |_| {})], NOW).unwrap_err();
    assert_eq!(got, SnpRejection::CrlSignature { issuer: "ARK-Milan".into() });
    assert_eq!(got.code(), Code::SnpCrl);
    // An ASK may not sign lists: its key usage does not say so, though name and signature are its own.
    let ask = milan.crl_by_ask(&[], |spec| spec.issuer = "SEV-Milan".into());
    let got = with(&milan, &[ask], NOW).unwrap_err();
    assert_eq!(got, SnpRejection::CrlSignature { issuer: "SEV-Milan".into() });
}

#[test]
fn a_list_has_its_time() {
    let chip = TestChip::milan();
    for years in [(2020, 2021), (2035, 2040)] {
        let off = chip.crl_with(&[], |spec| spec.years = years);
        let got = with(&chip, std::slice::from_ref(&off), NOW).unwrap_err();
        assert!(matches!(&got, SnpRejection::CrlExpired { issuer, .. } if issuer == "ARK-Milan"), "{got:?}");
        assert!(with(&chip, &[off, chip.crl(&[])], NOW).unwrap().crl_checked());
    }
}

#[test]
fn what_no_list_may_be() {
    let chip = TestChip::milan();
    let der = chip.crl(&[ASK]);
    assert_eq!(Crl::parse(&[der.as_slice(), &[0]].concat()), Err(CrlError::Trailing(1)));
    assert_eq!(Crl::parse(&der[..der.len() - 1]), Err(CrlError::Der));
    assert_eq!(Crl::parse(&chip.ask_der()), Err(CrlError::Der));
    assert_eq!(Crl::parse(&vec![0x30; 300_000]), Err(CrlError::Size(300_000)));
    let limited = |id: u8, value: &[u8]| {
        Crl::parse(
            &chip.crl_with(&[], |spec| spec.extensions = vec![any_extension(&[0x55, 0x1d, id], true, value)]),
        )
    };
    // A delta list; a distribution point that is indirect, or for user certificates only; and one that is neither.
    assert_eq!(limited(27, &[2, 1, 1]).map(|_| ()), Err(CrlError::Critical));
    assert_eq!(limited(28, &[0x30, 3, 0x84, 1, 0xff]).map(|_| ()), Err(CrlError::Critical));
    assert_eq!(limited(28, &[0x30, 3, 0x81, 1, 0xff]).map(|_| ()), Err(CrlError::Critical));
    assert!(limited(28, &[0x30, 3, 0x82, 1, 0xff]).is_ok());
}
