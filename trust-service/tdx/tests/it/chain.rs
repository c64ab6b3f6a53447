//! Certificate chains: length, root, roles, validity, revocation, and the PCK certificate's SGX extension.

use crate::world::{NOW, platform, prove_with, root, root_of, valid, valid_json};
use ccnode_evidence::{Code, UnixTime};
use ccnode_tdx::{CertRole, ChainError, ChainKind, PckError, Quote, Rejection, Root, TdxProven, verify};
use ccnode_testkit::tdx::{Collateral, FMSPC, Faults, Platform, TdQuote};

/// The good quote of a platform, under that platform's root, without collateral.
fn prove_of(platform: &Platform) -> Result<TdxProven, Rejection> {
    prove_at(platform, NOW)
}

fn prove_at(platform: &Platform, now: UnixTime) -> Result<TdxProven, Rejection> {
    let bytes = TdQuote::v4().sign(platform);
    verify(&Quote::parse(&bytes).unwrap(), &root_of(platform), None, now)
}

fn pck_chain(error: Rejection) -> ChainError {
    assert_eq!(error.code(), Code::TdxChain);
    match error {
        Rejection::Chain { chain: ChainKind::Pck, error } => error,
        other => panic!("{other}"),
    }
}

fn with_chain(chain: &str) -> ChainError {
    pck_chain(prove_with(&TdQuote { pck_chain: Some(chain.to_owned()), ..TdQuote::v4() }, None).unwrap_err())
}

#[test]
fn another_root_is_refused_by_its_key() {
    let bytes = TdQuote::v4().sign(platform());
    let quote = Quote::parse(&bytes).unwrap();
    let error = pck_chain(verify(&quote, &Root::intel(), None, NOW).unwrap_err());
    let ChainError::UntrustedRoot { subject, seen, wanted } = error else { panic!("{error}") };
    assert!(subject.contains("Intel SGX Root CA"));
    assert_eq!((seen, wanted), (root().key(), Root::intel().key()));

    let error = valid_json(&Collateral::default().sign(platform()), &Platform::new()).unwrap_err();
    assert!(matches!(error, Rejection::CollateralSignature(_)), "{error}");
}

#[test]
fn the_copy_of_the_root_may_be_left_out() {
    let chain = platform().pck_chain();
    let end = chain.match_indices("-----BEGIN").nth(2).unwrap().0;
    let quote = TdQuote { pck_chain: Some(chain[..end].to_owned()), ..TdQuote::v4() };
    prove_with(&quote, None).unwrap();
}

#[test]
fn length_order_and_form() {
    let chain = platform().pck_chain();
    let begins: Vec<usize> = chain.match_indices("-----BEGIN").map(|(at, _)| at).collect();
    let (pck, ca, anchor) = (&chain[..begins[1]], &chain[begins[1]..begins[2]], &chain[begins[2]..]);
    assert_eq!(with_chain(""), ChainError::Length { seen: 0, due: 2 });
    assert_eq!(with_chain(pck), ChainError::Length { seen: 1, due: 2 });
    assert_eq!(with_chain(&[pck, ca, anchor, anchor].concat()), ChainError::Length { seen: 4, due: 2 });
    assert_eq!(with_chain("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), ChainError::Pem);
    let junk = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(with_chain(&[pck, junk].concat()), ChainError::Certificate { position: 1 });
    assert!(matches!(with_chain(&[ca, pck].concat()), ChainError::Role { wanted: CertRole::Pck, .. }));
    assert!(matches!(with_chain(&[pck, pck].concat()), ChainError::Role { wanted: CertRole::PckCa, .. }));
    // A CA of the same name and another key.
    let other = Platform::new().ca_chain();
    let foreign = with_chain(&[pck, &other[..other.match_indices("-----BEGIN").nth(1).unwrap().0]].concat());
    assert!(matches!(foreign, ChainError::NotIssued { .. }), "{foreign}");
}

#[test]
fn a_pck_certificate_that_the_known_ca_did_not_issue() {
    let collateral = valid(&Collateral::default(), platform()).unwrap();
    let other = Platform::new().pck_chain();
    let pck = &other[..other.match_indices("-----BEGIN").nth(1).unwrap().0];
    let quote = TdQuote { pck_chain: Some([pck, &platform().ca_chain()].concat()), ..TdQuote::v4() };
    for collateral in [None, Some(&collateral)] {
        let error = pck_chain(prove_with(&quote, collateral).unwrap_err());
        assert!(matches!(error, ChainError::NotIssued { .. }), "{error}");
    }
}

#[test]
fn roles_are_in_the_names() {
    let cases = [
        (Faults { pck_name: Some("Intel SGX TCB Signing"), ..Default::default() }, CertRole::Pck),
        (Faults { ca_name: Some("Intel SGX TCB Signing"), ..Default::default() }, CertRole::PckCa),
    ];
    for (faults, role) in cases {
        let error = pck_chain(prove_of(&Platform::with(&faults)).unwrap_err());
        assert!(matches!(error, ChainError::Role { wanted, .. } if wanted == role), "{error}");
    }
    let platform =
        Platform::with(&Faults { signer_name: Some("Intel SGX PCK Certificate"), ..Default::default() });
    let error = valid(&Collateral::default(), &platform).unwrap_err();
    assert_eq!(error.code(), Code::TdxChain);
    let Rejection::Chain { chain: ChainKind::TcbInfo, error } = error else { panic!("{error}") };
    assert!(matches!(error, ChainError::Role { wanted: CertRole::TcbSigner, .. }));
    prove_of(&Platform::with(&Faults { ca_name: Some("Intel SGX PCK Processor CA"), ..Default::default() }))
        .unwrap();
}

#[test]
fn validity_of_every_certificate() {
    let years = Some((2020, 2021));
    let cases = [
        (Faults { pck_years: years, ..Default::default() }, "PCK Certificate"),
        (Faults { ca_years: years, ..Default::default() }, "PCK Platform CA"),
        (Faults { root_years: years, ..Default::default() }, "Root CA"),
    ];
    for (faults, name) in cases {
        let platform = Platform::with(&faults);
        let error = pck_chain(prove_of(&platform).unwrap_err());
        let ChainError::Validity { subject, not_after, now, .. } = error else { panic!("{error}") };
        assert!(subject.contains(name), "{subject}");
        assert_eq!((not_after, now), (UnixTime(1_609_459_200), NOW));
        prove_at(&platform, not_after).unwrap();
        assert!(prove_at(&platform, UnixTime(not_after.0 + 1)).is_err());
        // 2020-01-01.
        prove_at(&platform, UnixTime(1_577_836_800)).unwrap();
        assert!(prove_at(&platform, UnixTime(1_577_836_799)).is_err());
    }
    let platform = Platform::with(&Faults { signer_years: years, ..Default::default() });
    let error = valid(&Collateral::default(), &platform).unwrap_err();
    assert!(matches!(
        error,
        Rejection::Chain { chain: ChainKind::TcbInfo, error: ChainError::Validity { .. } }
    ));
}

#[test]
fn what_the_chain_verifier_does_not_take() {
    for faults in
        [Faults { strange: true, ..Default::default() }, Faults { no_ca: true, ..Default::default() }]
    {
        let error = pck_chain(prove_of(&Platform::with(&faults)).unwrap_err());
        assert!(matches!(error, ChainError::Unacceptable(_)), "{error}");
    }
    let faults =
        [Faults { no_ca: true, ..Default::default() }, Faults { strange_ca: true, ..Default::default() }];
    for faults in faults {
        let error = valid(&Collateral::default(), &Platform::with(&faults)).unwrap_err();
        assert!(matches!(
            error,
            Rejection::Chain { chain: ChainKind::PckCrl, error: ChainError::Unacceptable(_) }
        ));
    }
}

#[test]
fn t19_revoked_certificates() {
    let collateral = Collateral { revoked_by_ca: vec![9, 4], ..Default::default() };
    let valid_one = valid(&collateral, platform()).unwrap();
    let error = prove_with(&TdQuote::v4(), Some(&valid_one)).unwrap_err();
    assert_eq!(error.code(), Code::TdxPckRevoked);
    let Rejection::Revoked { chain: ChainKind::Pck, subject, serial } = error else { panic!("{error}") };
    assert!(subject.contains("PCK Certificate") && serial == "04", "{subject} {serial}");

    for (serial, chain) in [(2, ChainKind::PckCrl), (3, ChainKind::TcbInfo)] {
        let collateral = Collateral { revoked_by_root: vec![serial], ..Default::default() };
        let error = valid(&collateral, platform()).unwrap_err();
        assert!(matches!(error, Rejection::Revoked { chain: seen, .. } if seen == chain), "{error}");
    }
    // Other serial numbers are no matter.
    let collateral = Collateral { revoked_by_ca: vec![2, 3], revoked_by_root: vec![4], ..Default::default() };
    prove_with(&TdQuote::v4(), Some(&valid(&collateral, platform()).unwrap())).unwrap();
}

#[test]
fn sgx_extension() {
    let prove = |extension: Vec<u8>| {
        prove_of(&Platform::with(&Faults { extension: Some(extension), ..Default::default() }))
    };
    let refused = |extension: Vec<u8>| {
        let error = prove(extension).unwrap_err();
        assert_eq!(error.code(), Code::TdxChain);
        match error {
            Rejection::Pck(error) => error,
            other => panic!("{other}"),
        }
    };
    let components: [u8; 16] = std::array::from_fn(|n| 250 - n as u8);
    let proven = prove(Platform::sgx_extension(FMSPC, components, 200)).unwrap();
    assert_eq!((proven.pck().sgx_components, proven.pck().pce_svn), (components, 200));

    assert_eq!(refused(vec![]), PckError::NoExtension);
    assert!(matches!(refused(vec![5, 0]), PckError::Malformed(_)));
    let good = Platform::sgx_extension(FMSPC, components, 11);
    assert!(matches!(refused([good.clone(), vec![0]].concat()), PckError::Malformed(_)));
    let (fmspc, pce_id) = (vec![4, 6, 1, 2, 3, 4, 5, 6], vec![4, 2, 0, 0]);
    let members = |n: u8| (1..=n).flat_map(|n| Platform::tcb_member(n, 1)).collect::<Vec<u8>>();
    let tcb = |content: Vec<u8>| {
        [vec![0x30, 0x82], (content.len() as u16).to_be_bytes().to_vec(), content].concat()
    };
    let of = Platform::sgx_extension_of;
    let whole = tcb(members(17));
    prove(of(&[(&[2], whole.clone()), (&[3], pce_id.clone()), (&[4], fmspc.clone())])).unwrap();
    let cases: [(Vec<u8>, PckError); 9] = [
        (of(&[(&[3], pce_id.clone()), (&[4], fmspc.clone())]), PckError::Missing("TCB")),
        (of(&[(&[2], whole.clone()), (&[4], fmspc.clone())]), PckError::Missing("PCEID")),
        (of(&[(&[2], whole.clone()), (&[3], pce_id.clone())]), PckError::Missing("FMSPC")),
        (of(&[(&[4], fmspc.clone()), (&[4], fmspc.clone())]), PckError::Twice("FMSPC")),
        (of(&[(&[4], vec![4, 1, 0])]), PckError::Malformed("FMSPC")),
        (of(&[(&[3], vec![2, 1, 0])]), PckError::Malformed("PCEID")),
        (of(&[(&[2], tcb(members(16)))]), PckError::Missing("PCESVN")),
        (
            of(&[(&[2], tcb([members(15), Platform::tcb_member(17, 1)].concat()))]),
            PckError::Missing("component"),
        ),
        (
            of(&[(&[2], tcb([members(17), Platform::tcb_member(3, 1)].concat()))]),
            PckError::Twice("a component"),
        ),
    ];
    for (extension, due) in cases {
        assert_eq!(refused(extension), due);
    }
}
