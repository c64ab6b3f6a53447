//! Collateral: forms, signatures, dates, and whether it is the platform's.

use crate::world::{DAY, NOW, platform, prove_with, root, root_of, valid, valid_json};
use ccnode_evidence::{Code, UnixTime};
use ccnode_tdx::{
    ChainError, ChainKind, Collateral, CollateralAge, CollateralError, CollateralItem, PcsResponses, Quote,
    Rejection, Root, TdxPolicy, verify,
};
use ccnode_testkit::tdx::{self, FMSPC, Faults, Platform, TdQuote};
use serde_json::{Value, json};

fn refused(change: impl FnOnce(&mut tdx::Collateral)) -> Rejection {
    let mut collateral = tdx::Collateral::default();
    change(&mut collateral);
    valid(&collateral, platform()).unwrap_err()
}

fn refused_json(change: impl FnOnce(&mut Value)) -> Rejection {
    let mut json = tdx::Collateral::default().sign(platform());
    change(&mut json);
    valid_json(&json, platform()).unwrap_err()
}

/// Changes one character of a text in place.
fn tweak(value: &mut Value, at: usize) {
    let mut text = value.as_str().unwrap().to_owned().into_bytes();
    text[at] = if text[at] == b'0' { b'1' } else { b'0' };
    *value = json!(String::from_utf8(text).unwrap());
}

#[test]
fn the_stored_form_reads_back() {
    let json = tdx::Collateral::default().sign(platform());
    let collateral = Collateral::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&collateral).unwrap(), json);
    let valid = collateral.verify(&root(), NOW, &CollateralAge::default()).unwrap();
    assert_eq!((valid.fmspc(), valid.pce_id()), (FMSPC, [0, 0]));
    assert!(
        valid.dates().iter().all(|d| d.issued.0 == NOW.0 - 10 * DAY && d.next_update.0 == NOW.0 + 20 * DAY)
    );
}

#[test]
fn answers_of_intels_service_in_all_their_forms() {
    let json = tdx::Collateral::default().sign(platform());
    let text = |member: &str| json[member].as_str().unwrap().to_owned();
    let tcb_info = format!(
        "{{ \"tcbInfo\" : {} , \"signature\":\"{}\"}}\n",
        text("tcb_info"),
        text("tcb_info_signature")
    );
    let qe = format!(
        r#"{{"signature":"{}","enclaveIdentity":{}}}"#,
        text("qe_identity_signature"),
        text("qe_identity")
    );
    let encoded = text("tcb_info_issuer_chain").replace('\n', "%0A").replace(' ', "%20").replace('=', "%3D");
    let der = unhex(&text("pck_crl"));
    let pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        base64(&unhex(&text("root_ca_crl")))
    );
    let (signers, cas) = (text("qe_identity_issuer_chain"), text("pck_crl_issuer_chain"));
    let answers = PcsResponses {
        tcb_info: tcb_info.as_bytes(),
        tcb_info_issuer_chain: encoded.as_bytes(),
        qe_identity: qe.as_bytes(),
        qe_identity_issuer_chain: signers.as_bytes(),
        pck_crl: &der,
        pck_crl_issuer_chain: cas.as_bytes(),
        root_ca_crl: pem.as_bytes(),
    };
    let collateral = Collateral::from_pcs(&answers).unwrap();
    assert_eq!(serde_json::to_value(&collateral).unwrap(), json);
    let text_of_crl = text("pck_crl");
    let from_hex = PcsResponses { pck_crl: text_of_crl.as_bytes(), ..answers };
    let from_hex = Collateral::from_pcs(&from_hex).unwrap();
    assert_eq!(from_hex, collateral);

    let cases: [(PcsResponses<'_>, CollateralItem); 6] = [
        (PcsResponses { pck_crl: b"crl", ..answers }, CollateralItem::PckCrl),
        (PcsResponses { root_ca_crl: b"30x", ..answers }, CollateralItem::RootCrl),
        (PcsResponses { tcb_info: b"{}", ..answers }, CollateralItem::TcbInfo),
        (PcsResponses { qe_identity: tcb_info.as_bytes(), ..answers }, CollateralItem::QeIdentity),
        (PcsResponses { tcb_info_issuer_chain: b"%zz", ..answers }, CollateralItem::TcbInfoChain),
        (PcsResponses { pck_crl_issuer_chain: b"", ..answers }, CollateralItem::PckCrlChain),
    ];
    for (answers, due) in cases {
        let error = Collateral::from_pcs(&answers).unwrap_err();
        assert_eq!(error.code(), Code::TdxCollateralMalformed);
        assert!(matches!(error, Rejection::CollateralMalformed { item, .. } if item == due), "{error}");
    }
    let short = tcb_info.replace(&text("tcb_info_signature"), "00");
    let error = Collateral::from_pcs(&PcsResponses { tcb_info: short.as_bytes(), ..answers }).unwrap_err();
    assert!(matches!(error, Rejection::CollateralMalformed { error: CollateralError::Signature, .. }));
    let long = vec![b' '; 4 * 1024 * 1024 + 1];
    let error = Collateral::from_pcs(&PcsResponses { tcb_info: &long, ..answers }).unwrap_err();
    assert!(matches!(error, Rejection::CollateralMalformed { error: CollateralError::TooLong(_), .. }));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn every_signature_counts() {
    let signatures = [
        ("tcb_info_signature", CollateralItem::TcbInfo),
        ("qe_identity_signature", CollateralItem::QeIdentity),
    ];
    for (member, due) in signatures {
        let error = refused_json(|json| tweak(&mut json[member], 10));
        assert_eq!(error, Rejection::CollateralSignature(due));
        assert_eq!(error.code(), Code::TdxCollateralSignature);
        let error = refused_json(|json| json[member] = json!("00"));
        assert!(matches!(
            error,
            Rejection::CollateralMalformed { item, error: CollateralError::Signature } if item == due
        ));
    }
    // A text that says the same in other bytes.
    for (member, due) in [("tcb_info", CollateralItem::TcbInfo), ("qe_identity", CollateralItem::QeIdentity)]
    {
        let error = refused_json(|json| json[member] = json!(format!("{} ", json[member].as_str().unwrap())));
        assert_eq!(error, Rejection::CollateralSignature(due));
    }
    for (member, due) in [("root_ca_crl", CollateralItem::RootCrl), ("pck_crl", CollateralItem::PckCrl)] {
        let error = refused_json(|json| {
            let last = json[member].as_str().unwrap().len() - 1;
            tweak(&mut json[member], last);
        });
        assert_eq!(error, Rejection::CollateralSignature(due));
    }
}

#[test]
fn lists_are_their_issuers() {
    let error = refused_json(|json| json["root_ca_crl"] = json["pck_crl"].clone());
    assert_eq!(error.code(), Code::TdxCollateralMismatch);
    let Rejection::CrlIssuer { item: CollateralItem::RootCrl, seen, wanted } = error else {
        panic!("{error}")
    };
    assert!(seen.contains("PCK Platform CA") && wanted.contains("Root CA"));
    let error = refused_json(|json| json["pck_crl"] = json["root_ca_crl"].clone());
    assert!(matches!(error, Rejection::CrlIssuer { item: CollateralItem::PckCrl, .. }));
    for text in ["", "3000", "00"] {
        let error = refused_json(|json| json["pck_crl"] = json!(text));
        assert!(matches!(
            error,
            Rejection::CollateralMalformed { item: CollateralItem::PckCrl, error: CollateralError::Crl }
        ));
    }
    let error = refused_json(|json| {
        json["pck_crl"] = json!(format!("{}00", json["pck_crl"].as_str().unwrap()));
    });
    assert!(matches!(error, Rejection::CollateralMalformed { item: CollateralItem::PckCrl, .. }));
}

#[test]
fn lists_of_forms_that_would_say_too_little() {
    let malformed = |der: &[u8]| {
        let text = hex(der);
        match refused_json(|json| json["pck_crl"] = json!(text)) {
            Rejection::CollateralMalformed { item: CollateralItem::PckCrl, error } => error,
            other => panic!("{other}"),
        }
    };
    let dates = (NOW.0 - DAY, NOW.0 + DAY);
    assert_eq!(malformed(&platform().scoped_pck_crl(dates)), CollateralError::CrlScope);
    // The CRL number's OID becomes that of a delta CRL's base.
    let mut delta = platform().pck_crl(&[], dates);
    let at = delta.windows(3).position(|w| w == [0x55, 0x1d, 20]).unwrap();
    delta[at + 2] = 27;
    assert!(matches!(malformed(&delta), CollateralError::CrlForm(_)));
}

#[test]
fn a_ca_below_another_root_issues_no_list() {
    let other = Platform::new();
    let mut json = tdx::Collateral::default().sign(platform());
    // Without the copy of its root, the signature alone tells: all names are the same.
    let chain = other.ca_chain();
    let ca = &chain[..chain.match_indices("-----BEGIN").nth(1).unwrap().0];
    json["pck_crl_issuer_chain"] = json!(ca);
    json["pck_crl"] = tdx::Collateral::default().sign(&other)["pck_crl"].clone();
    let not_issued = |json: &Value| {
        let error = valid_json(json, platform()).unwrap_err();
        assert!(
            matches!(
                error,
                Rejection::Chain { chain: ChainKind::PckCrl, error: ChainError::NotIssued { .. } }
            ),
            "{error}"
        );
    };
    not_issued(&json);
    // The root's own key, under a name that is not the root's.
    let misnamed = platform().misnamed_ca((NOW.0 - DAY, NOW.0 + DAY));
    json["pck_crl_issuer_chain"] = json!(misnamed.0);
    json["pck_crl"] = json!(misnamed.1);
    not_issued(&json);
}

#[test]
fn a_list_of_another_ca_says_nothing_of_this_pck() {
    let processor =
        Platform::with(&Faults { ca_name: Some("Intel SGX PCK Processor CA"), ..Default::default() });
    let bytes = TdQuote::v4().sign(platform());
    let mut json = tdx::Collateral::default().sign(platform());
    // Another CA below the same root: its key is not the one that issued the PCK certificate.
    let second = platform().second_ca("Intel SGX PCK Processor CA", (NOW.0 - DAY, NOW.0 + DAY));
    json["pck_crl_issuer_chain"] = json!(second.0);
    json["pck_crl"] = json!(second.1);
    let collateral = valid_json(&json, platform()).unwrap();
    let error = verify(&Quote::parse(&bytes).unwrap(), &root(), Some(&collateral), NOW).unwrap_err();
    assert_eq!(error.code(), Code::TdxCollateralMismatch);
    assert!(matches!(error, Rejection::NoCrl { chain: ChainKind::Pck, .. }), "{error}");

    let own = valid(&tdx::Collateral::default(), &processor).unwrap();
    let error = verify(&Quote::parse(&bytes).unwrap(), &root(), Some(&own), NOW).unwrap_err();
    let Rejection::CollateralRoot { seen, wanted } = error else { panic!("{error}") };
    assert_eq!((seen, wanted), (root_of(&processor).key(), root().key()));
}

#[test]
fn every_item_has_its_dates() {
    let late = NOW.0 - 1;
    let early = (NOW.0 + 1, NOW.0 + DAY);
    let ended = (NOW.0 - DAY, late);
    let date = |unix: u64| {
        let day = (unix - 1_749_945_600) as i64;
        assert!((0..86_400 * 15).contains(&day), "a day of the fixture's month");
        let (d, s) = (15 + day / 86_400, day % 86_400);
        json!(format!("2025-06-{d:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60))
    };
    let expired = [
        refused(|c| c.tcb_info["nextUpdate"] = date(late)),
        refused(|c| c.qe_identity["nextUpdate"] = date(late)),
        refused(|c| c.root_crl_dates = ended),
        refused(|c| c.pck_crl_dates = ended),
    ];
    let future = [
        refused(|c| c.tcb_info["issueDate"] = date(NOW.0 + 1)),
        refused(|c| c.qe_identity["issueDate"] = date(NOW.0 + 1)),
        refused(|c| c.root_crl_dates = early),
        refused(|c| c.pck_crl_dates = early),
    ];
    use CollateralItem as Item;
    let items = [Item::TcbInfo, Item::QeIdentity, Item::RootCrl, Item::PckCrl];
    for ((expired, future), item) in expired.into_iter().zip(future).zip(items) {
        assert_eq!(expired.code(), Code::TdxCollateralExpired);
        assert_eq!(expired, Rejection::CollateralExpired { item, next_update: UnixTime(late), now: NOW });
        assert_eq!(future, Rejection::CollateralNotYetValid { item, issued: UnixTime(NOW.0 + 1), now: NOW });
    }
}

#[test]
fn age_is_the_policys() {
    let collateral =
        Collateral::from_json(tdx::Collateral::default().sign(platform()).to_string().as_bytes()).unwrap();
    let at = |day: u64, age: &CollateralAge| collateral.verify(&root(), UnixTime(NOW.0 + day * DAY), age);
    let strict = CollateralAge { max_age_days: Some(15), ..Default::default() };
    at(5, &strict).unwrap();
    let error = at(6, &strict).unwrap_err();
    assert!(matches!(
        error,
        Rejection::CollateralTooOld { max_age_days: 15, item: CollateralItem::TcbInfo, .. }
    ));
    assert_eq!(error.code(), Code::TdxCollateralExpired);
    let lenient = CollateralAge { danger_grace_days: 10, ..Default::default() };
    assert!(at(21, &CollateralAge::default()).is_err());
    let valid = at(30, &lenient).unwrap();
    assert!(at(31, &lenient).is_err());

    // Kept collateral is looked at again with each quote.
    let bytes = TdQuote::v4().sign(platform());
    let quote = Quote::parse(&bytes).unwrap();
    verify(&quote, &root(), Some(&valid), UnixTime(NOW.0 + 30 * DAY)).unwrap();
    let error = verify(&quote, &root(), Some(&valid), UnixTime(NOW.0 + 31 * DAY)).unwrap_err();
    assert!(matches!(error, Rejection::CollateralExpired { .. }));
    // 2046: past the certificates too, whatever grace there is.
    let grace = CollateralAge { danger_grace_days: u32::MAX, ..Default::default() };
    let kept = at(0, &grace).unwrap();
    let error = verify(&quote, &root(), Some(&kept), UnixTime(2_400_000_000)).unwrap_err();
    assert!(matches!(error, Rejection::Chain { chain: ChainKind::TcbInfo, .. }), "{error}");
}

#[test]
fn kept_collateral_ends_with_the_ca_of_its_list() {
    let grace = CollateralAge { danger_grace_days: u32::MAX, ..Default::default() };
    // To the end of 2025.
    let platform = Platform::with(&Faults { ca_years: Some((2020, 2026)), ..Default::default() });
    let text = tdx::Collateral::default().sign(&platform).to_string();
    let kept =
        Collateral::from_json(text.as_bytes()).unwrap().verify(&root_of(&platform), NOW, &grace).unwrap();
    let bytes = TdQuote::v4().sign(&platform);
    let quote = Quote::parse(&bytes).unwrap();
    verify(&quote, &root_of(&platform), Some(&kept), NOW).unwrap();
    let error = verify(&quote, &root_of(&platform), Some(&kept), UnixTime(1_770_000_000)).unwrap_err();
    assert!(matches!(
        error,
        Rejection::Chain { chain: ChainKind::PckCrl, error: ChainError::Validity { .. } }
    ));
}

#[test]
fn kind_version_and_form_of_the_signed_texts() {
    let kind = |error: Rejection, item, wanted| {
        assert_eq!(error.code(), Code::TdxCollateralMismatch);
        assert!(
            matches!(&error, Rejection::CollateralKind { item: i, wanted: w, .. } if (*i, *w) == (item, wanted)),
            "{error}"
        );
    };
    kind(refused(|c| c.tcb_info["id"] = json!("SGX")), CollateralItem::TcbInfo, "TDX");
    kind(refused(|c| drop(c.tcb_info.as_object_mut().unwrap().remove("id"))), CollateralItem::TcbInfo, "TDX");
    kind(refused(|c| c.qe_identity["id"] = json!("QE")), CollateralItem::QeIdentity, "TD_QE");
    let malformed = |error: Rejection| {
        assert_eq!(error.code(), Code::TdxCollateralMalformed);
        match error {
            Rejection::CollateralMalformed { error, .. } => error,
            other => panic!("{other}"),
        }
    };
    let version =
        |error, seen| assert!(matches!(error, CollateralError::Version { seen: s, .. } if s == seen));
    version(malformed(refused(|c| c.tcb_info["version"] = json!(4))), 4);
    version(malformed(refused(|c| c.qe_identity["version"] = json!(1))), 1);
    assert_eq!(malformed(refused(|c| c.tcb_info["tcbType"] = json!(1))), CollateralError::TcbType(1));
    let cases: [fn(&mut tdx::Collateral); 8] = [
        |c| c.tcb_info["tcbLevels"][0]["tcbStatus"] = json!("Fine"),
        |c| c.tcb_info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"] = json!([]),
        |c| c.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][0]["svn"] = json!(256),
        |c| c.tcb_info["tdxModule"]["mrsigner"] = json!("00"),
        |c| c.tcb_info["nextUpdate"] = json!("soon"),
        |c| c.tcb_info["fmspc"] = json!("B0C06F00000"),
        |c| c.qe_identity["mrsigner"] = json!(""),
        |c| drop(c.qe_identity.as_object_mut().unwrap().remove("isvprodid")),
    ];
    for change in cases {
        let error = malformed(refused(change));
        assert!(matches!(error, CollateralError::Json(_)), "{error}");
    }
    let error = valid_json(&json!({"tcb_info": 1}), platform()).unwrap_err();
    assert!(matches!(error, Rejection::CollateralMalformed { item: CollateralItem::Whole, .. }));
}

#[test]
fn another_models_collateral_is_refused() {
    for (member, value) in [("fmspc", json!("00806F050000")), ("pceId", json!("0001"))] {
        let mut collateral = tdx::Collateral::default();
        collateral.tcb_info[member] = value;
        let valid = valid(&collateral, platform()).unwrap();
        let error = prove_with(&TdQuote::v4(), Some(&valid)).unwrap_err();
        assert_eq!(error.code(), Code::TdxCollateralMismatch);
        let Rejection::CollateralPlatform { seen, wanted } = error else { panic!("{error}") };
        assert_eq!(wanted, (FMSPC, [0, 0]));
        assert_ne!(seen, wanted);
    }
}

#[test]
fn a_quote_without_collateral_is_refused_by_the_policy() {
    let proven = prove_with(&TdQuote::v4(), None).unwrap();
    assert!(proven.tcb().is_none());
    let error = TdxPolicy::default().check(&proven).unwrap_err();
    assert_eq!(error, Rejection::CollateralMissing { fmspc: FMSPC });
    assert_eq!(error.code(), Code::TdxCollateralMissing);
    assert!(error.to_string().contains("b0c06f000000"));
}

#[test]
fn signers_of_two_texts_may_differ() {
    let mut json = tdx::Collateral::default().sign(platform());
    // The same certificates with a line's end more: another text, the same chain.
    json["qe_identity_issuer_chain"] =
        json!(format!("\n{}", json["qe_identity_issuer_chain"].as_str().unwrap()));
    valid_json(&json, platform()).unwrap();
    json["qe_identity_issuer_chain"] = json!(Platform::new().signer_chain());
    let error = valid_json(&json, platform()).unwrap_err();
    assert!(matches!(error, Rejection::Chain { chain: ChainKind::QeIdentity, .. }), "{error}");
    assert!(!Root::intel().subject().is_empty());
}
