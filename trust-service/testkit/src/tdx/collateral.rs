//! Intel's collateral for the platform, with a TCB status of one's choice.

use super::{FMSPC, NOW, Platform, SGX_SVN};
use serde_json::{Value, json};

const DAY: u64 = 24 * 60 * 60;

/// The collateral before it is signed.
#[derive(Clone, Debug)]
pub struct Collateral {
    /// The object that becomes the TCB info's text.
    pub tcb_info: Value,
    /// The object that becomes the QE identity's text.
    pub qe_identity: Value,
    /// Serial numbers that the root revoked: 2 is the PCK CA, 3 the TCB signer.
    pub revoked_by_root: Vec<u64>,
    /// Serial numbers that the PCK CA revoked: 4 is the PCK certificate.
    pub revoked_by_ca: Vec<u64>,
    /// thisUpdate and nextUpdate of the root's list.
    pub root_crl_dates: (u64, u64),
    /// thisUpdate and nextUpdate of the PCK CA's list.
    pub pck_crl_dates: (u64, u64),
}

impl Default for Collateral {
    fn default() -> Self {
        Self::with_status("UpToDate")
    }
}

impl Collateral {
    /// Issued ten days before [`NOW`], for thirty days, by which the platform has this status.
    pub fn with_status(status: &str) -> Self {
        Self::with_status_at(status, NOW)
    }

    /// The same around another time, seconds since 1970.
    pub fn with_status_at(status: &str, now: u64) -> Self {
        let dates = (now - 10 * DAY, now + 20 * DAY);
        let advisories = if status == "UpToDate" { vec![] } else { vec!["INTEL-SA-00001"] };
        let tcb_info = json!({
            "id": "TDX",
            "version": 3,
            "issueDate": date(dates.0),
            "nextUpdate": date(dates.1),
            "fmspc": data_encoding::HEXUPPER.encode(&FMSPC),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            "tdxModule": module(),
            "tdxModuleIdentities": [
                identity("TDX_03", &[svn_level(3, "UpToDate", &[])]),
                identity("TDX_01", &[
                    svn_level(5, "UpToDate", &[]),
                    svn_level(4, "OutOfDate", &["INTEL-SA-00002"]),
                    svn_level(2, "Revoked", &["INTEL-SA-00003"]),
                ]),
            ],
            "tcbLevels": [
                level(SGX_SVN + 1, "UpToDate", &[]),
                level(SGX_SVN, status, &advisories),
                level(SGX_SVN - 1, "OutOfDate", &["INTEL-SA-00004"]),
            ],
        });
        let qe_identity = json!({
            "id": "TD_QE",
            "version": 2,
            "issueDate": date(dates.0),
            "nextUpdate": date(dates.1),
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5",
            "isvprodid": 2,
            "tcbLevels": [
                svn_level(6, "UpToDate", &[]),
                svn_level(5, "OutOfDate", &["INTEL-SA-00005"]),
                svn_level(4, "Revoked", &["INTEL-SA-00006"]),
            ],
        });
        Self {
            tcb_info,
            qe_identity,
            revoked_by_root: vec![],
            revoked_by_ca: vec![],
            root_crl_dates: dates,
            pck_crl_dates: dates,
        }
    }

    /// Signed: an object in the form of dcap-qvl's `QuoteCollateralV3`.
    pub fn sign(&self, platform: &Platform) -> Value {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let (tcb_info, qe_identity) = (self.tcb_info.to_string(), self.qe_identity.to_string());
        json!({
            "pck_crl_issuer_chain": platform.ca_chain(),
            "root_ca_crl": hex(&platform.root_crl(&self.revoked_by_root, self.root_crl_dates)),
            "pck_crl": hex(&platform.pck_crl(&self.revoked_by_ca, self.pck_crl_dates)),
            "tcb_info_issuer_chain": platform.signer_chain(),
            "tcb_info_signature": hex(&platform.sign_collateral(&tcb_info)),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": platform.signer_chain(),
            "qe_identity_signature": hex(&platform.sign_collateral(&qe_identity)),
            "qe_identity": qe_identity,
        })
    }
}

/// A level of the platform: every SGX component at `svn`, PCESVN 11, TDX components 0 but the third, 2.
pub(super) fn level(svn: u8, status: &str, advisories: &[&str]) -> Value {
    let component = |svn: u8| json!({"svn": svn, "category": "BIOS", "type": "test"});
    let tdx: Vec<Value> = (0..16).map(|n| component(if n == 2 { 2 } else { 0 })).collect();
    json!({
        "tcb": {
            "sgxtcbcomponents": vec![component(svn); 16],
            "pcesvn": 11,
            "tdxtcbcomponents": tdx,
        },
        "tcbDate": "2024-03-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

fn svn_level(svn: u16, status: &str, advisories: &[&str]) -> Value {
    json!({
        "tcb": {"isvsvn": svn},
        "tcbDate": "2024-03-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

fn module() -> Value {
    json!({"mrsigner": "0".repeat(96), "attributes": "0".repeat(16), "attributesMask": "F".repeat(16)})
}

fn identity(id: &str, levels: &[Value]) -> Value {
    let mut identity = module();
    if let Some(members) = identity.as_object_mut() {
        members.insert("id".to_owned(), json!(id));
        members.insert("tcbLevels".to_owned(), json!(levels));
    }
    identity
}

fn date(unix: u64) -> String {
    let time =
        time::OffsetDateTime::from_unix_timestamp(i64::try_from(unix).expect("a time")).expect("a time");
    time.format(&time::format_description::well_known::Rfc3339).expect("a time")
}
