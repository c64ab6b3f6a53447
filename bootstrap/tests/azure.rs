//! Azure's evidence from a software TPM with the paravisor's NV indices, and a metadata service on the loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, as it should")]

mod swtpm;

use ccnode_bootstrap::prover::imds::Imds;
use ccnode_bootstrap::prover::{Azure, AzureError, Hardware, Prover};
use ccnode_bootstrap::refusal::Coded as _;
use ccnode_evidence::{Base64Url, Code, Ek, EvidenceKind, EvidenceSource as _, ReportParts, TpmSource as _};
use ccnode_tpm_device::DeviceHandle;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::thread;
use std::time::Duration;
use swtpm::{Swtpm, program};

const SNP: u32 = 2;
const TDX: u32 = 4;

fn tool(tpm: &Swtpm, name: &str, args: &[&str]) {
    let mut command = program(name);
    let output = command.args(args).args(["-T", &tpm.tcti()]).current_dir(tpm.dir()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An HCL report: header, place for the hardware's report, header of the runtime data, runtime data.
fn report(kind: u32, ek: &[u8], user_data: &str) -> Vec<u8> {
    let n = serde_json::to_value(Base64Url(ek.to_vec())).unwrap();
    let json = serde_json::json!({"keys": [{"kid": "HCLEkPub", "n": n}], "user-data": user_data}).to_string();
    let mut bytes = b"HCLA".to_vec();
    bytes.resize(32, 0);
    // A TDREPORT begins with its type.
    bytes.resize(32 + 1184, 0x81);
    let len = u32::try_from(json.len()).unwrap();
    for number in [len + 20, 1, kind, 1, len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(json.as_bytes());
    bytes
}

/// The modulus of the endorsement key that this TPM makes.
fn endorsement_key(tpm: &Swtpm) -> Vec<u8> {
    tool(tpm, "tpm2_createek", &["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub"]);
    tool(tpm, "tpm2_flushcontext", &["-t"]);
    let public = fs::read(tpm.dir().join("ek.pub")).unwrap();
    public.last_chunk::<256>().unwrap().to_vec()
}

/// A vTPM with a report that names `user_data`; one that takes user data has the index for them.
fn azure(kind: u32, user_data: &str, takes: bool) -> Swtpm {
    let tpm = Swtpm::start();
    let report = report(kind, &endorsement_key(&tpm), user_data);
    fs::write(tpm.dir().join("report"), &report).unwrap();
    let define = |index, size: usize| {
        let size = size.to_string();
        tool(&tpm, "tpm2_nvdefine", &[index, "-C", "o", "-s", &size, "-a", "ownerwrite|ownerread"]);
    };
    define("0x1400001", report.len());
    tool(&tpm, "tpm2_nvwrite", &["0x1400001", "-C", "o", "-i", "report"]);
    if takes {
        define("0x1400002", 64);
    }
    let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
    let key = ["-C", "e", "-G", "rsa2048:rsassa-sha256:null", "-a", attributes, "-c", "ak.ctx"];
    tool(&tpm, "tpm2_createprimary", &key);
    tool(&tpm, "tpm2_evictcontrol", &["-C", "o", "-c", "ak.ctx", "0x81000003"]);
    tool(&tpm, "tpm2_flushcontext", &["-t"]);
    tpm
}

/// Answers every request with this JSON.
fn imds(answer: &'static str) -> Imds {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("IPv4") };
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 8192]).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            stream.write_all((head + answer).as_bytes()).unwrap();
        }
    });
    Imds::at(address)
}

fn nowhere() -> Imds {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    Imds::at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

async fn found(device: &DeviceHandle, imds: Imds) -> Azure {
    Azure::find(device, imds).await.unwrap().unwrap()
}

#[tokio::test]
async fn snp_leads_with_the_vtpms_quote() {
    let tpm = azure(SNP, "", false);
    let device = tpm.open();
    let azure = found(&device, imds("{}")).await;
    let prover = Prover::new(Some(device), Some(Hardware::Azure(azure)), String::new());
    assert_eq!(prover.sent().to_string(), "evidence az-snp-vtpm");
    let identity = prover.supports_tpm().unwrap().identity().await.unwrap();
    assert!(matches!(identity.ek, Ek::Public(_)), "the report vouches for it");
}

#[tokio::test]
async fn a_report_comes_without_user_data_where_none_are_taken() {
    let tpm = azure(SNP, "", false);
    let device = tpm.open();
    // No certificate from the host is no reason to stop: the service may have it.
    let ReportParts::AzSnp { hcl_report, vcek } =
        found(&device, nowhere()).await.report([7; 64]).await.unwrap()
    else {
        panic!("SNP")
    };
    assert_eq!(hcl_report, fs::read(tpm.dir().join("report")).unwrap());
    assert!(vcek.is_empty());
}

#[tokio::test]
async fn a_report_that_takes_them_up_is_sent() {
    let tpm = azure(TDX, &"07".repeat(64), true);
    let device = tpm.open();
    let azure = found(&device, imds(r#"{"quote":"AQID"}"#)).await;
    assert_eq!(azure.kind(), EvidenceKind::AzTdxVtpm);
    let parts = azure.report([7; 64]).await.unwrap();
    let hcl_report = fs::read(tpm.dir().join("report")).unwrap();
    assert_eq!(parts, ReportParts::AzTdx { hcl_report, td_quote: vec![1, 2, 3] });
    drop((azure, device));
    tool(&tpm, "tpm2_nvread", &["0x1400002", "-C", "o", "-o", "written"]);
    assert_eq!(fs::read(tpm.dir().join("written")).unwrap(), [7; 64]);
}

#[tokio::test]
async fn t24_one_that_never_does_is_not_sent() {
    let tpm = azure(SNP, &"08".repeat(64), true);
    let device = tpm.open();
    let azure = found(&device, nowhere()).await.patient(Duration::from_secs(1));
    let error = azure.report([7; 64]).await.unwrap_err();
    assert!(matches!(error, AzureError::Stale(_)), "{error}");
    assert_eq!(error.code(), Code::CvmReportForeign);
}

#[tokio::test]
async fn without_a_quote_there_is_no_evidence() {
    let tpm = azure(TDX, "", false);
    let device = tpm.open();
    let error = found(&device, nowhere()).await.report([7; 64]).await.unwrap_err();
    assert_eq!(error.code(), Code::ImdsFailed, "{error}");
}

#[tokio::test]
async fn t06_a_report_that_names_another_endorsement_key() {
    let (tpm, other) = (azure(SNP, "", false), Swtpm::start());
    fs::write(tpm.dir().join("other"), report(SNP, &endorsement_key(&other), "")).unwrap();
    tool(&tpm, "tpm2_nvwrite", &["0x1400001", "-C", "o", "-i", "other"]);
    let error = Azure::find(&tpm.open(), nowhere()).await.unwrap_err();
    assert_eq!(error.code(), Code::HclEkForeign, "{error}");
}

#[tokio::test]
async fn a_tpm_of_another_kind_is_no_paravisors() {
    let tpm = Swtpm::start();
    assert!(Azure::find(&tpm.open(), nowhere()).await.unwrap().is_none());
}
