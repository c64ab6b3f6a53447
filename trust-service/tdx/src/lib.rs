//! Intel TDX evidence: what a TD quote proves, what Intel's collateral says of its platform, and whether a policy takes it.
//!
//! No I/O, no clock. [`Quote::parse`] reads bytes and believes nothing; [`verify`] checks signatures, the PCK chain to a
//! pinned root, the quoting enclave and the TCB, and alone makes [`TdxProven`]; [`TdxPolicy::check`] alone makes
//! [`PolicySatisfied`]. From a [`TdxProven`] follow [`ReportDataBound`], [`TdReportProven`] and [`LogMatchesRtmrs`].

mod body;
mod bytes;
mod chain;
mod collateral;
mod crl;
mod ecdsa;
mod json;
mod pck;
mod policy;
mod qe;
mod quote;
mod rejection;
mod report_data;
mod root;
mod rtmr;
mod tcb;
mod tcb_info;
mod td_report;
mod valid;
#[cfg(test)]
mod vector_tests;
mod verify;

pub use body::{ServiceTds, Td15, TdBody, attributes};
pub use bytes::{Flags, HexParseError, Measurement, TcbSvn};
pub use chain::{CertRole, ChainError, ChainKind};
pub use collateral::{Collateral, CollateralError, CollateralItem, PcsResponses};
pub use pck::{Pck, PckError};
pub use policy::{CollateralAge, MeasurementField, PolicySatisfied, TdxPolicy};
pub use qe::{QeFacts, QeIdentityError};
pub use quote::{MAX_QUOTE, Quote, QuoteError};
pub use rejection::{Rejection, SignatureOf};
pub use report_data::ReportDataBound;
pub use root::{Root, RootError};
pub use rtmr::{LogMatchesRtmrs, Rtmr, RtmrError};
pub use tcb::{ModuleError, Shortfall, Svn, Tcb, TcbStatus};
pub use td_report::{TD_REPORT_LEN, TdReport, TdReportError, TdReportProven};
pub use valid::{CollateralValid, Dates};
pub use verify::{TdxProven, verify};
