//! SEV-SNP attestation reports: read strictly, proven by AMD's keys, bound to a session, judged by a pool's policy.
//!
//! No I/O and no clock: the time is an argument. Each step has a type that it alone makes:
//! [`ReportParsed`] → ([`Endorsement`] →) [`SnpProven`] → [`ReportDataBound`] or [`SvsmEk`], and [`SnpSatisfied`]. The chain above an
//! endorsement key is proven apart from reports, so that a service may keep it.
//!
//! The specifications: SEV-SNP firmware ABI (AMD 56860, revision 1.58), VCEK certificates and KDS (57230), GHCB (56421), SVSM (58019).

mod binding;
mod bits;
mod ca;
mod certificates;
mod crl;
mod crypto;
mod endorse;
mod hex;
mod judge;
mod listed;
mod policy;
mod product;
mod prove;
mod reader;
mod rejection;
mod report;
mod shape;
mod tcb;
mod vek;
mod version;
mod x509;

pub use self::hex::{ChipId, Hex, HexError};
pub use binding::{ReportDataBound, SvsmEk, SvsmManifest, VTPM_SERVICE, report_data};
pub use bits::{GuestPolicy, KeyInfo, KeyKind, PlatformInfo};
pub use ca::{CaCertificate, Roots};
pub use certificates::{Certificates, CertificatesError, MAX_BYTES, MAX_ITEMS};
pub use crl::{Crl, CrlError, MAX_CRL};
pub use endorse::Endorsement;
pub use judge::SnpSatisfied;
pub use listed::Listed;
pub use policy::{DangerRoot, DangerRootError, Flag, GuestPolicyWanted, PlatformWanted, SnpPolicy, TcbFloor};
pub use product::{Cpuid, Product, TcbLayout};
pub use prove::{SnpProven, Tcbs};
pub use rejection::SnpRejection;
pub use report::{REPORT_SIZE, Report, ReportError, ReportParsed, SIGNED_SIZE};
pub use tcb::{Component, RawTcb, TcbKind, TcbVersion};
pub use vek::{Holder, VekCertificate};
pub use version::{AbiVersion, FirmwareVersion, VersionError};
pub use x509::{CertError, MAX_CERTIFICATE};
