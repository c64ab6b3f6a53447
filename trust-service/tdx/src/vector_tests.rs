//! Real quotes and collateral, each with the outcome that expected.json states; a file that nothing here handles fails.

use crate::chain::{self, Facts};
use crate::crl::Crl;
use crate::qe::QeIdentity;
use crate::tcb_info::TcbInfo;
use crate::*;
use base64::Engine as _;
use ccnode_evidence::{HashAlg, UnixTime};
use ccnode_tpm_eventlog::EventLog;
pub(crate) use ccnode_vectors::stated as vectors;
use serde_json::Value;

/// 2026-03-01: every PCK certificate of the vectors is valid.
const NOW: UnixTime = UnixTime(1_772_323_200);

fn read(name: &str) -> Vec<u8> {
    std::fs::read(vectors("tdx").unwrap().0.join(name)).unwrap()
}

/// The one quote with a text after it, which is for a parser to refuse; what it says without that text is stated too.
const WITH_TEXT: (&str, usize) = ("google-spr-e4/tdx_prod_quote_SPR_E4.dat", 4935);

/// The quote in whatever form the file has it.
pub(crate) fn quote(name: &str, bytes: &[u8]) -> Vec<u8> {
    let json = || serde_json::from_slice::<Value>(bytes).unwrap();
    if name.ends_with(".hex") {
        let text = std::str::from_utf8(bytes).unwrap().trim();
        hex::decode(text.strip_prefix("0x").unwrap_or(text)).unwrap()
    } else if name == "teekit/tdx-v4-gcp.json" {
        base64::engine::general_purpose::STANDARD.decode(json()["tdx"]["quote"].as_str().unwrap()).unwrap()
    } else if name.ends_with(".json") {
        hex::decode(json()["quote"].as_str().unwrap()).unwrap()
    } else if name == WITH_TEXT.0 {
        let (quote, text) = bytes.split_at(WITH_TEXT.1);
        assert_eq!(text, b"\nextra bytes(only for testing purpose)\n");
        let refused = Quote::parse(bytes).unwrap_err();
        assert_eq!(refused, QuoteError::Trailing { end: WITH_TEXT.1, at: WITH_TEXT.1 });
        quote.to_vec()
    } else {
        bytes.to_vec()
    }
}

#[test]
fn every_file_has_its_stated_outcome() {
    let Some((dir, expected)) = vectors("tdx") else { return };
    for (name, facts) in expected["files"].as_object().unwrap() {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        match name.as_str() {
            name if facts["checked"].is_object() => genuine(name, &quote(name, &bytes), facts),
            "ca/intel_sgx_root_ca.pem" => {
                let certs = chain::read_pem(&bytes).unwrap();
                let root = Root::danger_other_root(&certs[0]).unwrap();
                assert!(root.is_intel() && root == Root::intel(), "{name}");
            }
            "gcp-cos-113/nonce.dat" => {
                let quote = read("gcp-cos-113/quote.dat");
                let proven = prove(&Quote::parse(&quote).unwrap());
                proven.carries(bytes.as_slice().try_into().unwrap()).unwrap();
                let bound = proven.carries(&[1; 64]).unwrap_err();
                assert_eq!(bound.code().as_str(), "tdx-report-data");
            }
            "phala/tdx_quote_collateral.json" | "phala/tdx_quote_outdated_collateral.json" => {
                Collateral::from_json(&bytes)
                    .unwrap()
                    .verify(&Root::intel(), time(name), &lenient())
                    .unwrap();
            }
            "tdreport/tdx_report_1.bin" => {
                assert_eq!(Quote::parse(&bytes).unwrap_err(), QuoteError::LocalReport, "{name}");
                TdReport::parse(&bytes).unwrap();
            }
            // Its bytes are those of no report that a TDX module makes.
            "tdreport/google-report.dat" => {
                assert_eq!(Quote::parse(&bytes).unwrap_err(), QuoteError::Version(0xd70f), "{name}");
                assert!(matches!(TdReport::parse(&bytes), Err(TdReportError::Type(_))), "{name}");
            }
            "google-v5/sample_tcbinfo_response_v5"
            | "google-spr-e4/sample_tcbInfo_response"
            | "google-spr-e4/sample_qeIdentity_response"
            | "google-spr-e4/pckcrl"
            | "google-spr-e4/rootcrl.der" => google_collateral(name, &bytes),
            name if name.starts_with("untrusted-root-sgx/") => untrusted(name, &bytes),
            other => panic!("{other} is not handled"),
        }
    }
}

fn prove(quote: &Quote<'_>) -> TdxProven {
    verify(quote, &Root::intel(), None, NOW).unwrap()
}

/// A quote of a genuine platform: all values, and the signature chain without collateral.
fn genuine(name: &str, bytes: &[u8], facts: &Value) {
    let quote = Quote::parse(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let proven = verify(&quote, &Root::intel(), None, NOW).unwrap_or_else(|e| panic!("{name}: {e}"));
    let body = serde_json::to_value(proven.body()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (field, member) in [
        ("tee_tcb_svn", "tee-tcb-svn"),
        ("mrseam", "mr-seam"),
        ("mrsignerseam", "mr-signer-seam"),
        ("mrtd", "mr-td"),
        ("mrconfigid", "mr-config-id"),
        ("mrowner", "mr-owner"),
        ("mrownerconfig", "mr-owner-config"),
        ("report_data", "report-data"),
    ] {
        assert_eq!(body[member], facts[field], "{name} {field}");
    }
    for n in 0..4 {
        assert_eq!(body["rtmr"][n], facts[format!("rtmr{n}")], "{name} RTMR{n}");
    }
    for (seen, field) in [(proven.body().td_attributes, "tdattr"), (proven.body().xfam, "xfam")] {
        assert_eq!(hex::encode(seen.0.to_le_bytes()), text(&facts[field]), "{name} {field}");
    }
    assert_eq!(u64::from(proven.version()), facts["version"].as_u64().unwrap(), "{name}");
    assert_eq!(proven.body().td15.is_some(), facts["body"] == "td1.5", "{name}");
    if let Some(td15) = &proven.body().td15 {
        assert_eq!(td15.tee_tcb_svn2.to_string(), text(&facts["tee_tcb_svn2"]), "{name}");
        assert_eq!(td15.mr_service_td.to_string(), text(&facts["mrservicetd"]), "{name}");
    }
    let checked = &facts["checked"];
    assert_eq!(hex::encode(proven.pck().fmspc), text(&checked["fmspc"]), "{name}");
    assert_eq!(quote.unproven_platform(), Some((proven.pck().fmspc, proven.pck().pce_id)), "{name}");
    let pck = proven.pck();
    let tcb: Vec<u16> = pck.sgx_components.iter().map(|n| u16::from(*n)).chain([pck.pce_svn]).collect();
    assert_eq!(serde_json::json!(tcb), checked["pck_tcb"], "{name}");
    assert_eq!(u64::from(proven.qe().isv_svn), checked["qe_isvsvn"].as_u64().unwrap(), "{name}");

    let len = usize::try_from(facts["quote_len"].as_u64().unwrap()).unwrap();
    let trailing = usize::try_from(facts["trailing_bytes"].as_u64().unwrap()).unwrap();
    assert_eq!(bytes.len(), if name == WITH_TEXT.0 { len } else { len + trailing }, "{name}");
    assert!(Quote::parse(&bytes[..len]).is_ok() && Quote::parse(&bytes[..len - 1]).is_err(), "{name}");

    // Without collateral a policy refuses at the end; before, the TD itself is judged.
    let code = TdxPolicy::default().check(&proven).unwrap_err().code().as_str();
    let due = match name {
        "trustee/tdx_quote_4.dat" => "tdx-debug",
        // A service TD is bound to it.
        "trustee/tdx_quote_5.dat" => "tdx-service-td",
        "google-spr-e4/tdx_prod_quote_SPR_E4.dat" | "teekit/tdx-v4-moemahhouk.dat" => "tdx-attributes",
        _ => "tdx-collateral-missing",
    };
    assert_eq!(code, due, "{name}");
    assert_eq!(facts["debug"].as_bool().unwrap(), code == "tdx-debug", "{name}");
    if facts["collateral_check"].is_object() {
        with_collateral(name, bytes, &quote, &proven, &facts["collateral_check"]);
    }
    if facts["json_log_replay_equals_rtmr"].is_array() {
        json_log(&proven);
    }
    let logs: &[(&str, &[Rtmr])] = match name {
        "gcp-cos-113/quote.dat" => &[("cos-113-intel-tdx.bin", &Rtmr::ALL)],
        "phala/quote-from-tappd.hex" => &[("dstack-ccel.bin", &[Rtmr::Rtmr0])],
        _ => &[],
    };
    for (log, set) in logs {
        let log = ccel(log);
        let matched = proven.matches_log(&log, set).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(matched.set().len(), set.len(), "{name}");
    }
}

fn ccel(name: &str) -> EventLog<'static> {
    let (dir, _) = vectors("tcg-eventlog").unwrap();
    EventLog::parse_ccel(std::fs::read(dir.join("ccel").join(name)).unwrap().leak()).unwrap()
}

/// A log of events as JSON, replayed by hand: RTMR = SHA-384(RTMR ‖ digest).
fn json_log(proven: &TdxProven) {
    let report: Value = serde_json::from_slice(&read("dstack/quote-report.json")).unwrap();
    let events: Value = serde_json::from_str(report["event_log"].as_str().unwrap()).unwrap();
    let mut rtmr = [Measurement::ZERO; 4];
    for event in events.as_array().unwrap() {
        let digest = hex::decode(event["digest"].as_str().unwrap()).unwrap();
        let slot = &mut rtmr[usize::try_from(event["imr"].as_u64().unwrap()).unwrap()];
        use sha2::Digest as _;
        *slot = Measurement(sha2::Sha384::new().chain_update(slot.0).chain_update(digest).finalize().into());
    }
    assert_eq!(rtmr, proven.body().rtmr);
}

fn lenient() -> CollateralAge {
    CollateralAge::default()
}

/// A time within the validity of all items of one collateral.
fn time(name: &str) -> UnixTime {
    match name {
        "phala/tdx_quote_collateral.json" | "phala/tdx_quote" => UnixTime(1_750_400_000),
        _ => UnixTime(1_772_000_000),
    }
}

/// TCB status as stated, by the levels alone; and with every signature where the set has all items.
fn with_collateral(name: &str, bytes: &[u8], quote: &Quote<'_>, proven: &TdxProven, check: &Value) {
    let (info, identity) = match name {
        "google-spr-e4/tdx_prod_quote_SPR_E4.dat" => (
            response("google-spr-e4/sample_tcbInfo_response"),
            response("google-spr-e4/sample_qeIdentity_response"),
        ),
        "google-v5/quote_v5_sample.dat" => (
            response("google-v5/sample_tcbinfo_response_v5"),
            response("google-spr-e4/sample_qeIdentity_response"),
        ),
        name => {
            let collateral: Value =
                serde_json::from_slice(&read(&format!("{name}_collateral.json"))).unwrap();
            let text = |member: &str| collateral[member].as_str().unwrap().to_owned();
            (text("tcb_info"), text("qe_identity"))
        }
    };
    let mut info: TcbInfo = serde_json::from_str(&info).unwrap();
    info.tcb_levels.sort_by_key(|level| std::cmp::Reverse(level.tcb));
    let identity: QeIdentity = serde_json::from_str(&identity).unwrap();
    assert_eq!(info.fmspc.0 == proven.pck().fmspc, check["fmspc_match"].as_bool().unwrap(), "{name}");
    let tcb = Tcb::judge(&info, &identity, proven.pck(), proven.body(), proven.qe()).unwrap();
    assert_eq!(tcb.platform.to_string(), check["platform_tcb_status"].as_str().unwrap(), "{name}");
    assert_eq!(tcb.qe.to_string(), check["qe_status"].as_str().unwrap(), "{name}");
    assert_eq!(tcb.status, tcb.platform, "{name}");
    assert_eq!(tcb.module.map(|m| m.to_string()).as_deref(), check["tdx_module"][1].as_str(), "{name}");
    assert_eq!(tcb.shortfall.is_some(), tcb.status == TcbStatus::NoMatchingLevel, "{name}");
    assert!(tcb.advisories.is_empty(), "{name}");

    let (root, now) = (Root::intel(), time(name));
    let collateral = match name {
        "google-spr-e4/tdx_prod_quote_SPR_E4.dat" => return,
        "google-v5/quote_v5_sample.dat" => google_v5(),
        name => Collateral::from_json(&read(&format!("{name}_collateral.json"))).unwrap(),
    };
    let stored = serde_json::to_value(&collateral).unwrap();
    let theirs = dcap_qvl::verify::ring::verify(bytes, &serde_json::from_value(stored).unwrap(), now.0);
    match tcb.status {
        TcbStatus::NoMatchingLevel => assert!(theirs.is_err(), "{name}"),
        status => assert_eq!(theirs.unwrap().status, status.to_string(), "{name}"),
    }
    let valid = collateral.verify(&root, now, &lenient()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let proven = verify(quote, &root, Some(&valid), now).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(proven.tcb().unwrap().platform, tcb.platform, "{name}");
    let mut policy = TdxPolicy::default();
    match tcb.status {
        TcbStatus::UpToDate => drop(policy.check(&proven).unwrap()),
        status => {
            let rejection = policy.check(&proven).unwrap_err();
            assert_eq!(rejection.code().as_str(), "tdx-tcb-status", "{name}");
            assert!(
                rejection.to_string().contains("SGX component 8 is 3, and the lowest level asks for 5"),
                "{rejection}"
            );
            policy.tcb_statuses.insert(status);
            policy.check(&proven).unwrap();
        }
    }
    for now in [UnixTime(now.0 - 2_000_000), UnixTime(now.0 + 5_000_000)] {
        let late = verify(quote, &root, Some(&valid), now).unwrap_err();
        assert_eq!(late.code().as_str(), "tdx-collateral-expired", "{name}");
        let late = collateral.verify(&root, now, &lenient()).unwrap_err();
        assert_eq!(late.code().as_str(), "tdx-collateral-expired", "{name}");
    }
    // Collateral of another platform model, in date, is of no use for this one.
    let (other, at) = match name {
        "phala/tdx_quote" => ("phala/tdx_quote_outdated", UnixTime(1_772_000_000)),
        _ => ("phala/tdx_quote", UnixTime(1_750_400_000)),
    };
    let other = Collateral::from_json(&read(&format!("{other}_collateral.json"))).unwrap();
    let other = other.verify(&root, at, &lenient()).unwrap();
    let mismatch = verify(quote, &root, Some(&other), at).unwrap_err();
    match mismatch {
        // The PCK certificates of these two quotes are of later than that collateral.
        Rejection::Chain { error: ChainError::Validity { .. }, .. } => assert_ne!(name, "phala/tdx_quote"),
        Rejection::CollateralPlatform { .. } => {}
        other => panic!("{name}: {other}"),
    }
}

/// The signed object of an answer of Intel's service.
fn response(name: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Response<'a> {
        #[serde(borrow, alias = "enclaveIdentity", rename = "tcbInfo")]
        object: &'a serde_json::value::RawValue,
    }
    let bytes = read(name);
    serde_json::from_slice::<Response<'_>>(&bytes).unwrap().object.get().to_owned()
}

/// The TCB info of 2026-02 with the other items of that month.
fn google_v5() -> Collateral {
    let beside: Value = serde_json::from_slice(&read("phala/tdx_quote_outdated_collateral.json")).unwrap();
    let text = |member: &str| beside[member].as_str().unwrap();
    let signature = text("qe_identity_signature");
    let qe = format!(r#"{{"enclaveIdentity":{},"signature":"{signature}"}}"#, text("qe_identity"));
    let url = text("tcb_info_issuer_chain").replace('\n', "%0A").replace(' ', "%20");
    Collateral::from_pcs(&PcsResponses {
        tcb_info: &read("google-v5/sample_tcbinfo_response_v5"),
        tcb_info_issuer_chain: url.as_bytes(),
        qe_identity: qe.as_bytes(),
        qe_identity_issuer_chain: text("qe_identity_issuer_chain").as_bytes(),
        pck_crl: text("pck_crl").as_bytes(),
        pck_crl_issuer_chain: text("pck_crl_issuer_chain").as_bytes(),
        root_ca_crl: &hex::decode(text("root_ca_crl")).unwrap(),
    })
    .unwrap()
}

/// Items of Intel's service that came without their issuer chains: what can be read and checked without those.
fn google_collateral(name: &str, bytes: &[u8]) {
    match name {
        "google-v5/sample_tcbinfo_response_v5" => {
            google_v5().verify(&Root::intel(), time(name), &lenient()).unwrap();
        }
        "google-spr-e4/sample_tcbInfo_response" => {
            let info: TcbInfo = serde_json::from_str(&response(name)).unwrap();
            assert_eq!((info.id.as_str(), hex::encode(info.fmspc.0)), ("TDX", "50806f000000".to_owned()));
            expired(CollateralItem::TcbInfo, info.issue_date, info.next_update);
        }
        "google-spr-e4/sample_qeIdentity_response" => {
            let identity: QeIdentity = serde_json::from_str(&response(name)).unwrap();
            assert_eq!(identity.id, "TD_QE");
            expired(CollateralItem::QeIdentity, identity.issue_date, identity.next_update);
        }
        "google-spr-e4/rootcrl.der" => {
            let crl = Crl::verify(CollateralItem::RootCrl, bytes, &Root::intel().facts).unwrap();
            assert!(lenient().check(&crl.dates, NOW).is_err());
        }
        _ => {
            let quote = quote(WITH_TEXT.0, &read(WITH_TEXT.0));
            let certs = chain::read_pem(Quote::parse(&quote).unwrap().pck_chain).unwrap();
            let issuer = Facts::read(&certs[1]).unwrap();
            let crl = Crl::verify(CollateralItem::PckCrl, bytes, &issuer).unwrap();
            assert!(lenient().check(&crl.dates, NOW).is_err());
        }
    }
}

fn expired(item: CollateralItem, issued: crate::json::Date, next: crate::json::Date) {
    let dates = Dates { item, issued: issued.0, next_update: next.0 };
    let late = lenient().check(&dates, NOW).unwrap_err();
    assert!(matches!(late, Rejection::CollateralExpired { .. }));
    lenient().check(&dates, UnixTime(next.0.0)).unwrap();
}

/// Everything under a root that has the name of Intel's and another key: refused by the key, and taken under that key alone.
fn untrusted(name: &str, bytes: &[u8]) {
    let pem = |file: &str| chain::read_pem(&read(&format!("untrusted-root-sgx/{file}"))).unwrap();
    let theirs = Root::danger_other_root(&pem("trustedRootCaCert.pem")[0]).unwrap();
    assert!(theirs.subject().contains("Intel SGX Root CA") && !theirs.is_intel());
    // 2019-09-06.
    let now = UnixTime(1_567_760_000);
    let refused = |kind, certs: &[_]| {
        let error = chain::check(kind, certs, &Root::intel(), None, now).unwrap_err();
        let ChainError::UntrustedRoot { seen, wanted, .. } = error else { panic!("{name}: {error}") };
        assert_eq!((seen, wanted), (theirs.key(), Root::intel().key()), "{name}");
        let _ = chain::check(kind, certs, &theirs, None, now).unwrap();
        // Left out, the root is missed by signature, although the names agree.
        let error = chain::check(kind, &certs[..certs.len() - 1], &Root::intel(), None, now).unwrap_err();
        assert!(matches!(error, ChainError::NotIssued { .. }), "{name}: {error}");
    };
    match name {
        "untrusted-root-sgx/quote.dat" => {
            assert_eq!(Quote::parse(bytes).unwrap_err(), QuoteError::Version(3))
        }
        "untrusted-root-sgx/pckCert.pem" | "untrusted-root-sgx/pckSignChain.pem" => {
            let certs = [pem("pckCert.pem"), pem("pckSignChain.pem")].concat();
            refused(ChainKind::Pck, &certs);
        }
        "untrusted-root-sgx/trustedRootCaCert.pem" => assert_ne!(theirs, Root::intel()),
        "untrusted-root-sgx/tcbSignChain.pem" => refused(ChainKind::TcbInfo, &pem("tcbSignChain.pem")),
        "untrusted-root-sgx/tcbInfo.json" | "untrusted-root-sgx/qeIdentity.json" => sgx_collateral(name),
        other => panic!("{other} is not handled"),
    }
}

/// SGX collateral of version 2 is of another TEE, and its signer leads elsewhere.
fn sgx_collateral(name: &str) {
    let beside: Value = serde_json::from_slice(&read("phala/tdx_quote_collateral.json")).unwrap();
    let text = |member: &str| beside[member].as_str().unwrap();
    let chain = read("untrusted-root-sgx/tcbSignChain.pem");
    let collateral = Collateral::from_pcs(&PcsResponses {
        tcb_info: &read("untrusted-root-sgx/tcbInfo.json"),
        tcb_info_issuer_chain: &chain,
        qe_identity: &read("untrusted-root-sgx/qeIdentity.json"),
        qe_identity_issuer_chain: &chain,
        pck_crl: text("pck_crl").as_bytes(),
        pck_crl_issuer_chain: text("pck_crl_issuer_chain").as_bytes(),
        root_ca_crl: text("root_ca_crl").as_bytes(),
    });
    let error = collateral.unwrap().verify(&Root::intel(), time(""), &lenient()).unwrap_err();
    assert!(
        matches!(error, Rejection::Chain { error: ChainError::UntrustedRoot { .. }, .. }),
        "{name}: {error}"
    );
}

#[test]
fn t11_doubled_separators_do_not_match_the_quote() {
    if vectors("tdx").is_none() {
        return;
    }
    let quote = read("gcp-cos-113/quote.dat");
    let proven = prove(&Quote::parse(&quote).unwrap());
    let log = ccel("cos-113-intel-tdx-dupe-separator-unpadded.bin");
    for rtmr in [Rtmr::Rtmr0, Rtmr::Rtmr1] {
        let error = proven.matches_log(&log, &[rtmr]).unwrap_err();
        assert!(matches!(error, RtmrError::Mismatch { rtmr: seen, .. } if seen == rtmr), "{error}");
        assert_eq!(error.code().as_str(), "event-log-mismatch");
    }
    proven.matches_log(&log, &[Rtmr::Rtmr2]).unwrap();
    assert!(matches!(
        proven.matches_log(&log, &Rtmr::ALL),
        Err(RtmrError::Mismatch { rtmr: Rtmr::Rtmr0, .. })
    ));
    assert_eq!(log.replay(HashAlg::Sha384).unwrap().value(3), Some(&proven.body().rtmr[2].0[..]));
}

#[test]
fn azures_report_is_the_one_that_its_quote_was_made_from() {
    let Some((dir, _)) = vectors("azure-hcl") else { return };
    let read = |name: &str| std::fs::read(dir.join("tdx").join(name)).unwrap();
    let quote = read("td-quote.bin");
    let proven = prove(&Quote::parse(&quote).unwrap());
    // An HCL report's header has 32 bytes.
    let report = |name: &str| TdReport::parse(&read(name)[32..32 + TD_REPORT_LEN]).unwrap();
    let matched = proven.was_made_from(&report("hcl-report.bin")).unwrap();
    assert_eq!(matched.report_data(), &proven.body().report_data);
    let other = proven.was_made_from(&report("kinvolk-hcl-report-tdx.bin")).unwrap_err();
    assert_eq!(other.code().as_str(), "tdx-report");
    assert!(matches!(other, Rejection::TdReport(TdReportError::Differs { field: "REPORTDATA", .. })));
}
