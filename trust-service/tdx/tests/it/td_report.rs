//! TDREPORTs: their form, and each field that must be the quote's.

use crate::world::prove;
use ccnode_evidence::Code;
use ccnode_tdx::{QuoteError, Rejection, TD_REPORT_LEN, TdReport, TdReportError};
use ccnode_testkit::tdx::{TdFields, TdQuote};

#[test]
fn a_quotes_own_report_is_proven() {
    for quote in [TdQuote::v4(), TdQuote::v5(2), TdQuote::v5(3), TdQuote::v5(4)] {
        let report = TdReport::parse(&quote.td.report()).unwrap();
        assert_eq!(report.unproven_report_data(), &quote.td.report_data);
        let proven = prove(&quote).unwrap();
        assert_eq!(proven.was_made_from(&report).unwrap().report_data(), &quote.td.report_data);
    }
}

type Change = fn(&mut TdFields);

#[test]
fn every_field_must_be_the_quotes() {
    let cases: [(&str, Change); 17] = [
        ("REPORTDATA", |t| t.report_data[63] ^= 1),
        ("SEAMATTRIBUTES", |t| t.seam_attributes ^= 1 << 63),
        ("ATTRIBUTES", |t| t.td_attributes ^= 1),
        ("XFAM", |t| t.xfam ^= 1 << 17),
        ("TEE_TCB_SVN", |t| t.tee_tcb_svn[15] ^= 1),
        ("MRSEAM", |t| t.mr_seam[0] ^= 1),
        ("MRSIGNERSEAM", |t| t.mr_signer_seam[47] ^= 1),
        ("MRTD", |t| t.mr_td[0] ^= 1),
        ("MRCONFIGID", |t| t.mr_config_id[0] ^= 1),
        ("MROWNER", |t| t.mr_owner[0] ^= 1),
        ("MROWNERCONFIG", |t| t.mr_owner_config[0] ^= 1),
        ("RTMR0", |t| t.rtmr[0][0] ^= 1),
        ("RTMR1", |t| t.rtmr[1][0] ^= 1),
        ("RTMR2", |t| t.rtmr[2][0] ^= 1),
        ("RTMR3", |t| t.rtmr[3][47] ^= 1),
        ("TEE_TCB_SVN2", |t| t.tee_tcb_svn2[3] ^= 1),
        ("SERVTD_HASH", |t| t.mr_service_td[5] ^= 1),
    ];
    let quote = TdQuote::v5(3);
    let proven = prove(&quote).unwrap();
    for (due, change) in cases {
        let mut td = quote.td.clone();
        change(&mut td);
        let error = proven.was_made_from(&TdReport::parse(&td.report()).unwrap()).unwrap_err();
        assert_eq!(error.code(), Code::TdxReport);
        let Rejection::TdReport(TdReportError::Differs { field, report, quote }) = error else {
            panic!("{error}")
        };
        assert_eq!(field, due);
        assert_ne!(report, quote);
    }
}

#[test]
fn forms_that_are_none() {
    let good = TdFields::default().report();
    for len in [0, 1, 584, TD_REPORT_LEN - 1] {
        assert_eq!(TdReport::parse(&good[..len]).unwrap_err(), TdReportError::Length(len));
    }
    let long = [good.clone(), vec![0]].concat();
    assert_eq!(TdReport::parse(&long).unwrap_err(), TdReportError::Length(TD_REPORT_LEN + 1));
    for at in [0, 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(matches!(TdReport::parse(&bytes), Err(TdReportError::Type(_))));
    }
    // What the hashes cover can't be changed under them, used or not.
    for at in (256..256 + 239).chain(32..80) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(TdReport::parse(&bytes).unwrap_err(), TdReportError::TcbInfoHash);
    }
    for at in (512..1024).chain(80..128) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(TdReport::parse(&bytes).unwrap_err(), TdReportError::TdInfoHash);
    }
}

#[test]
fn a_report_is_no_quote() {
    let bytes = TdFields::default().report();
    assert_eq!(ccnode_tdx::Quote::parse(&bytes).unwrap_err(), QuoteError::LocalReport);
}
