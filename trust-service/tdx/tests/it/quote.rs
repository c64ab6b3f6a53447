//! The quote itself: its form, and the signatures from the PCK down to the TD's body.

use crate::world::{forms, platform, prove, prove_bytes, prove_with};
use ccnode_evidence::{Code, ReportData};
use ccnode_tdx::{
    MAX_QUOTE, QeIdentityError, Quote, QuoteError, Rejection, SignatureOf, TcbStatus, TdxPolicy,
};
use ccnode_testkit::tdx::{Platform, QeReport, TdQuote};

fn parsed(quote: &TdQuote) -> QuoteError {
    Quote::parse(&quote.sign(platform())).unwrap_err()
}

#[test]
fn every_form_is_proven_and_satisfies_the_default_policy() {
    for quote in forms() {
        let proven = prove(&quote).unwrap();
        TdxPolicy::default().check(&proven).unwrap();
        assert_eq!(proven.version(), quote.version);
        assert_eq!(proven.body().mr_td.0, quote.td.mr_td);
        assert_eq!(proven.body().report_data, quote.td.report_data);
        assert_eq!(proven.body().rtmr.map(|r| r.0), quote.td.rtmr);
        assert_eq!(proven.tcb().unwrap().status, TcbStatus::UpToDate);
        assert_eq!(proven.body().td15.is_some(), quote.body_type > 2);
        assert_eq!(proven.qe().isv_svn, 6);
        assert_eq!(proven.root(), crate::world::root().key());
    }
}

#[test]
fn header_fields() {
    let v4 = TdQuote::v4();
    for version in [0, 3, 6, 0xffff] {
        assert_eq!(parsed(&TdQuote { version, ..v4.clone() }), QuoteError::Version(version));
    }
    assert_eq!(parsed(&TdQuote { key_type: 3, ..v4.clone() }), QuoteError::AttestationKeyType(3));
    assert_eq!(parsed(&TdQuote { tee: 0, ..v4.clone() }), QuoteError::TeeType(0));
    assert_eq!(parsed(&TdQuote { vendor: [1; 16], ..v4.clone() }), QuoteError::QeVendor([1; 16]));
    let error = Rejection::Malformed(parsed(&TdQuote { tee: 0, ..v4 }));
    assert_eq!(error.code(), Code::TdxQuoteMalformed);
}

#[test]
fn body_descriptor() {
    for body_type in [0, 1, 5, 0xffff] {
        assert_eq!(parsed(&TdQuote::v5(body_type)), QuoteError::BodyType(body_type));
    }
    for (body_type, due) in [(2, 584), (3, 648), (4, 885)] {
        let mut bytes = TdQuote::v5(body_type).sign(platform());
        bytes[50] ^= 1;
        let size = due as u32 ^ 1;
        assert_eq!(Quote::parse(&bytes).unwrap_err(), QuoteError::BodySize { body_type, size, due });
    }
}

#[test]
fn certification_data() {
    let v4 = TdQuote::v4();
    assert_eq!(parsed(&TdQuote { certification_type: 5, ..v4.clone() }), QuoteError::CertificationType(5));
    for pck_type in [1, 2, 3, 4, 6, 7] {
        assert_eq!(parsed(&TdQuote { pck_type, ..v4.clone() }), QuoteError::PckChainType(pck_type));
    }
    let inner = TdQuote { inner_excess: vec![0], ..v4.clone() };
    assert!(matches!(parsed(&inner), QuoteError::Excess { extra: 1, what } if what.contains("QE report")));
    let outer = TdQuote { outer_excess: vec![0, 0], ..v4 };
    assert!(matches!(parsed(&outer), QuoteError::Excess { extra: 2, what } if what == "the signature data"));
}

#[test]
fn zeros_after_the_quote_are_taken_and_nothing_else() {
    for quote in forms() {
        let bytes = quote.sign(platform());
        let end = bytes.len();
        for padded in [end + 1, end + 70, 8000, MAX_QUOTE] {
            let mut padded_bytes = bytes.clone();
            padded_bytes.resize(padded, 0);
            prove_bytes(&padded_bytes, None).unwrap();
            *padded_bytes.last_mut().unwrap() = 1;
            let error = Quote::parse(&padded_bytes).unwrap_err();
            assert_eq!(error, QuoteError::Trailing { end, at: padded - 1 });
        }
        let mut long = bytes;
        long.resize(MAX_QUOTE + 1, 0);
        assert_eq!(Quote::parse(&long).unwrap_err(), QuoteError::TooLong { len: MAX_QUOTE + 1 });
    }
}

#[test]
fn every_truncation_is_refused() {
    for quote in forms() {
        let bytes = quote.sign(platform());
        for len in 0..bytes.len() {
            assert!(matches!(Quote::parse(&bytes[..len]), Err(QuoteError::Truncated(_))), "{len}");
        }
    }
}

#[test]
fn signatures_and_keys() {
    let bytes = TdQuote::v4().sign(platform());
    let data = 48 + 584 + 4;
    let changed = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        prove_bytes(&changed, None).unwrap_err()
    };
    // Signature over the body, attestation key, QE report, its signature, authentication data.
    assert_eq!(changed(data), Rejection::Signature(SignatureOf::Quote));
    assert!(matches!(changed(data + 64), Rejection::AttestationKey { .. }));
    let qe = data + 134;
    for at in [qe, qe + 100, qe + 383] {
        assert_eq!(changed(at), Rejection::Signature(SignatureOf::QeReport));
    }
    assert_eq!(changed(qe + 384), Rejection::Signature(SignatureOf::QeReport));
    assert!(matches!(changed(qe + 384 + 64 + 2), Rejection::AttestationKey { .. }));
    assert_eq!(changed(data).code(), Code::TdxSignature);
    assert_eq!(changed(data + 64).code(), Code::TdxSignature);
}

#[test]
fn authentication_data_may_have_any_length() {
    for len in [0, 1, 31, 33, 1000] {
        prove(&TdQuote { auth_data: vec![7; len], ..TdQuote::v4() }).unwrap();
    }
}

#[test]
fn qe_report_binds_the_key_in_its_first_half_and_nothing_in_its_second() {
    let mut data = [0; 64];
    data[40] = 1;
    for report_data in [[0; 64], data] {
        let qe = QeReport { report_data: Some(report_data), ..Default::default() };
        let error = prove(&TdQuote { qe, ..TdQuote::v4() }).unwrap_err();
        let Rejection::AttestationKey { reported, computed } = error else { panic!("{error}") };
        assert_eq!(*reported, report_data);
        assert_ne!(*computed, report_data);
    }
}

#[test]
fn another_platforms_chain_does_not_sign_this_qe_report() {
    let other = Platform::new();
    // The root is this test's, the PCK another's: a chain of its own, under the other root.
    let quote = TdQuote { pck_chain: Some(other.pck_chain()), ..TdQuote::v4() };
    assert_eq!(prove_with(&quote, None).unwrap_err().code(), Code::TdxChain);
}

#[test]
fn an_enclave_of_the_hosts_own_making_is_refused_without_collateral_too() {
    let good = QeReport::default();
    let mut debug = good.attributes;
    debug[0] |= 2;
    let cases = [
        QeReport { mr_signer: [1; 32], ..good.clone() },
        QeReport { isv_prod_id: 1, ..good.clone() },
        QeReport { attributes: debug, ..good },
    ];
    let errors = cases.map(|qe| {
        let quote = TdQuote { qe, ..TdQuote::v4() };
        let without = prove_with(&quote, None).unwrap_err();
        assert_eq!(prove(&quote).unwrap_err(), without);
        assert_eq!(without.code(), Code::TdxQeIdentity);
        without
    });
    assert!(
        matches!(errors[0], Rejection::QeIdentity(QeIdentityError::MrSigner { seen, .. }) if seen == [1; 32])
    );
    assert!(matches!(errors[1], Rejection::QeIdentity(QeIdentityError::IsvProdId { seen: 1, wanted: 2 })));
    assert!(matches!(errors[2], Rejection::QeIdentity(QeIdentityError::Debug { seen }) if seen == debug));
}

#[test]
fn t08_report_data_are_the_transcripts_and_zeros() {
    let transcript = ReportData([9; 48]);
    let mut quote = TdQuote::v4();
    quote.td.report_data = [0; 64];
    quote.td.report_data[..48].copy_from_slice(&transcript.0);
    prove(&quote).unwrap().is_bound_to(&transcript).unwrap();
    for at in [0, 31, 47, 48, 63] {
        let mut changed = quote.clone();
        changed.td.report_data[at] ^= 1;
        let error = prove(&changed).unwrap().is_bound_to(&transcript).unwrap_err();
        assert_eq!(error.code(), Code::TdxReportData);
        let Rejection::ReportData { seen, wanted } = error else { panic!("{error}") };
        assert_eq!((*seen, *wanted), (changed.td.report_data, quote.td.report_data));
    }
}
