//! Init-data of stock clients: TOML that names the hash of its own text, and where evidence has that hash.

use crate::Rejection;
use crate::hardware::ReportSatisfied;
use crate::quote::hex;
use crate::references::value;
use crate::session::malformed;
use ccnode_evidence::{EvidenceKind, PcrValues, Sha256Digest};
use ccnode_protocol::admin::HardwareClaims;
use ccnode_protocol::{Attestation, limits};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::collections::BTreeMap;

const MEMBER: &str = "init-data";
/// Bytes of HOST_DATA and of MRCONFIGID.
const HOST_DATA: usize = 32;
const CONFIG_ID: usize = 48;

/// Init-data that the evidence was measured with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockInitData {
    /// The digest by the hash that the data name.
    pub digest: Vec<u8>,
    /// What they say, `data` of the TOML: what is TOML or JSON by its name, as that.
    pub claims: Value,
}

/// Init-data as they were sent; [`InitDataBound::judge_pcr_8`] and [`InitDataBound::is_in_report`] ask whether the evidence has them.
pub(super) struct InitDataBound(Option<StockInitData>);

#[derive(Deserialize)]
struct Wire {
    version: String,
    algorithm: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl InitDataBound {
    pub(super) fn read(attestation: &Attestation, allowed: bool) -> Result<Self, Rejection> {
        let Some(sent) = &attestation.init_data else { return Ok(Self(None)) };
        if !allowed {
            return Err(Rejection::InitDataSent);
        }
        if sent.format != "toml" {
            return Err(malformed(MEMBER, "the format is not `toml`"));
        }
        if sent.body.len() > limits::INIT_DATA {
            let text = format_args!("{} bytes, {} at most", sent.body.len(), limits::INIT_DATA);
            return Err(malformed(MEMBER, text));
        }
        let wire: Wire = toml::from_str(&sent.body).map_err(|e| malformed(MEMBER, e.message()))?;
        if wire.version != "0.1.0" {
            return Err(malformed(MEMBER, "the version is not `0.1.0`"));
        }
        let body = sent.body.as_bytes();
        let digest = match wire.algorithm.as_str() {
            "sha256" | "sha-256" => Sha256::digest(body).to_vec(),
            "sha384" | "sha-384" => Sha384::digest(body).to_vec(),
            "sha512" | "sha-512" => Sha512::digest(body).to_vec(),
            _ => return Err(malformed(MEMBER, "the algorithm is none of sha256, sha384 and sha512")),
        };
        let claims = wire.data.into_iter().map(|(name, text)| {
            let read = match name.rsplit_once('.').map(|(_, end)| end) {
                Some("toml") => toml::from_str::<Value>(&text).ok(),
                Some("json") => serde_json::from_str(&text).ok(),
                _ => None,
            };
            (name, read.unwrap_or(Value::String(text)))
        });
        Ok(Self(Some(StockInitData { digest, claims: Value::Object(claims.collect::<Map<_, _>>()) })))
    }

    /// PCR 8 is zero without init-data, and one extension by their digest with them. Beside a report, which has the digest itself, it may
    /// be either.
    pub(super) fn judge_pcr_8(
        &self,
        kind: EvidenceKind,
        pcrs: &PcrValues,
        allowed: bool,
    ) -> Result<(), Rejection> {
        let value = value(pcrs, 8);
        let holds = match &self.0 {
            None => value == Sha256Digest::ZERO,
            Some(data) if kind.takes_additional() => {
                value == Sha256Digest::ZERO || extended(data).is_ok_and(|due| due == value)
            }
            Some(data) => value == extended(data)?,
        };
        if holds { Ok(()) } else { Err(Rejection::InitData { value, allowed }) }
    }

    /// A report has the data's digest, longer ones cut and shorter ones with zeros behind: as the stock attesters fill its fields. Of
    /// evidence that is a quote, PCR 8 has it.
    pub(super) fn is_in_report(
        &self,
        kind: EvidenceKind,
        report: Option<&ReportSatisfied>,
    ) -> Result<(), Rejection> {
        let Some(data) = &self.0 else { return Ok(()) };
        let (place, value, size) = match (kind, report.map(|report| &report.claims)) {
            (EvidenceKind::Snp, Some(HardwareClaims::Snp(snp))) => ("HOST_DATA", &snp.host_data, HOST_DATA),
            (EvidenceKind::Tdx, Some(HardwareClaims::Tdx(tdx))) => {
                ("MRCONFIGID", &tdx.mr_config_id, CONFIG_ID)
            }
            (EvidenceKind::Tpm | EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm, _) => return Ok(()),
            (EvidenceKind::Snp | EvidenceKind::Tdx, _) => {
                return Err(malformed(MEMBER, "nothing of the evidence measures them"));
            }
        };
        let mut due = data.digest.clone();
        due.resize(size, 0);
        let due = hex(&due);
        if *value == due {
            return Ok(());
        }
        Err(Rejection::InitDataOther { place, value: value.clone(), due })
    }

    /// The data.
    pub(super) fn into_data(self) -> Option<StockInitData> {
        self.0
    }

    /// Whether some were sent.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// PCR 8 after one extension by the digest.
fn extended(data: &StockInitData) -> Result<Sha256Digest, Rejection> {
    let digest: [u8; 32] = data.digest.as_slice().try_into().map_err(|_| {
        malformed(MEMBER, "PCR 8 takes digests of 32 bytes alone: name sha256 as their algorithm")
    })?;
    Ok(Sha256Digest::ZERO.extend(&Sha256Digest(digest)))
}
