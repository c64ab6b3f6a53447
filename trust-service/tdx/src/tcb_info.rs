//! The TCB info of one platform model, as Intel signs it (PCS API v4, "Get TDX TCB Info", version 3).

use crate::json::{Date, Hex, status};
use crate::{Flags, Measurement, TcbStatus};
use serde::Deserialize;

/// The signed object. Members that are not judged (categories, types) are left out.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: Date,
    pub(crate) next_update: Date,
    pub(crate) fmspc: Hex<6>,
    pub(crate) pce_id: Hex<2>,
    pub(crate) tcb_type: u32,
    pub(crate) tcb_evaluation_data_number: u32,
    pub(crate) tdx_module: Module,
    #[serde(default)]
    pub(crate) tdx_module_identities: Vec<ModuleIdentity>,
    pub(crate) tcb_levels: Vec<TcbLevel>,
}

/// What a signed text of any TEE and version says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Kind {
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) version: u32,
}

/// What a TDX module must be signed with and look like.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Module {
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
}

impl Module {
    pub(crate) fn mr_signer(&self) -> Measurement {
        Measurement(self.mrsigner.0)
    }

    /// Value and mask of SEAMATTRIBUTES.
    pub(crate) fn attributes(&self) -> (Flags, Flags) {
        let number = |hex: &Hex<8>| Flags(u64::from_le_bytes(hex.0));
        (number(&self.attributes), number(&self.attributes_mask))
    }
}

/// A generation of TDX modules.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModuleIdentity {
    /// `TDX_` and the module's version as two hexadecimal digits.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) module: Module,
    pub(crate) tcb_levels: Vec<SvnLevel>,
}

/// A level of something that has one SVN: a TDX module, a quoting enclave.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SvnLevel {
    pub(crate) tcb: IsvSvn,
    pub(crate) tcb_date: Date,
    #[serde(deserialize_with = "status")]
    pub(crate) tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    pub(crate) advisory_ids: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct IsvSvn {
    pub(crate) isvsvn: u16,
}

/// A level of the platform.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbLevel {
    pub(crate) tcb: Components,
    pub(crate) tcb_date: Date,
    #[serde(deserialize_with = "status")]
    pub(crate) tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    pub(crate) advisory_ids: Vec<String>,
}

/// SVNs that a level asks for. The order of comparison is Intel's: SGX components, PCESVN, TDX components.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub(crate) struct Components {
    #[serde(rename = "sgxtcbcomponents")]
    pub(crate) sgx: [Component; 16],
    #[serde(rename = "pcesvn")]
    pub(crate) pce_svn: u16,
    #[serde(rename = "tdxtcbcomponents")]
    pub(crate) tdx: [Component; 16],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub(crate) struct Component {
    pub(crate) svn: u8,
}

/// The first level that `svn` reaches; Intel lists the highest first, and so does this, whatever the list's order is.
pub(crate) fn svn_level(levels: &[SvnLevel], svn: u16) -> Option<&SvnLevel> {
    levels.iter().filter(|level| level.tcb.isvsvn <= svn).max_by_key(|level| level.tcb.isvsvn)
}
