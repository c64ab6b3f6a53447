//! Who makes the reports: an SNP or a TDX guest's firmware, as a test wants it.

use sha2::{Digest as _, Sha512};
use std::io;

/// What an entry asks for when its report is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// `inblob`, 1 to 64 bytes.
    pub data: Vec<u8>,
    /// `privlevel`; 0 where it was not written.
    pub privlevel: u32,
    /// `service_provider` with what belongs to it.
    pub svsm: Option<Svsm>,
}

/// What is asked of an SVSM.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Svsm {
    /// `service_provider`.
    pub provider: String,
    /// `service_guid`; empty for every service at once.
    pub guid: String,
    /// `service_manifest_version`.
    pub version: u32,
}

/// What a report leaves in an entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blobs {
    /// `outblob`.
    pub report: Vec<u8>,
    /// `auxblob`.
    pub auxiliary: Vec<u8>,
    /// `manifestblob`.
    pub manifest: Vec<u8>,
}

/// A provider of reports.
///
/// An implementer owes the kernel driver's errors: EINVAL for data that are not of 64 bytes and for a service that it does
/// not have.
pub trait Platform: Send + Sync {
    /// The driver's name.
    fn provider(&self) -> &str;

    /// The least privilege level; `None` where the platform has no such thing.
    fn privlevel_floor(&self) -> Option<u32>;

    /// Whether there is something beside the report.
    fn has_auxblob(&self) -> bool;

    /// Whether an SVSM can be asked.
    fn has_svsm(&self) -> bool;

    /// Makes a report.
    fn report(&self, request: &Request) -> io::Result<Blobs>;
}

/// Makes an ATTESTATION_REPORT over data, for a privilege level.
type Sign = Box<dyn Fn(&[u8; 64], u32) -> Vec<u8> + Send + Sync>;

/// Makes a quote over data.
type Quote = Box<dyn Fn(&[u8; 64]) -> Vec<u8> + Send + Sync>;

/// An SEV-SNP guest.
pub struct Snp {
    /// Makes the reports.
    pub sign: Sign,
    /// The certificate table that the host gives.
    pub certificates: Vec<u8>,
    /// The manifest of the SVSM's vTPM, where there is one: TPMT_PUBLIC of an endorsement key.
    pub manifest: Option<Vec<u8>>,
    /// The SVSM passes certificates on.
    pub svsm_has_certificates: bool,
}

impl Platform for Snp {
    fn provider(&self) -> &str {
        "sev_guest"
    }

    fn privlevel_floor(&self) -> Option<u32> {
        // A guest below an SVSM runs at a privilege level of its own.
        Some(if self.manifest.is_some() { 2 } else { 0 })
    }

    fn has_auxblob(&self) -> bool {
        true
    }

    fn has_svsm(&self) -> bool {
        self.manifest.is_some()
    }

    fn report(&self, request: &Request) -> io::Result<Blobs> {
        let data: &[u8; 64] = request.data.as_slice().try_into().map_err(|_| invalid())?;
        let certificates = self.certificates.clone();
        let Some(asked) = &request.svsm else {
            if request.privlevel < self.privlevel_floor().unwrap_or_default() {
                return Err(io::Error::from_raw_os_error(nix::libc::EIO));
            }
            let report = (self.sign)(data, request.privlevel);
            return Ok(Blobs { report, auxiliary: certificates, manifest: Vec::new() });
        };
        let known = asked.provider == "svsm"
            && asked.guid.eq_ignore_ascii_case(ccnode_cvm::SVSM_VTPM_GUID)
            && asked.version == 0;
        let manifest = self.manifest.clone().filter(|_| known).ok_or_else(invalid)?;
        let covered: [u8; 64] = Sha512::new().chain_update(data).chain_update(&manifest).finalize().into();
        let auxiliary = if self.svsm_has_certificates { certificates } else { Vec::new() };
        Ok(Blobs { report: (self.sign)(&covered, 0), auxiliary, manifest })
    }
}

/// A TDX guest.
pub struct Tdx {
    /// Makes the quotes.
    pub quote: Quote,
}

impl Platform for Tdx {
    fn provider(&self) -> &str {
        "tdx_guest"
    }

    fn privlevel_floor(&self) -> Option<u32> {
        None
    }

    fn has_auxblob(&self) -> bool {
        false
    }

    fn has_svsm(&self) -> bool {
        false
    }

    fn report(&self, request: &Request) -> io::Result<Blobs> {
        let data = request.data.as_slice().try_into().map_err(|_| invalid())?;
        Ok(Blobs { report: (self.quote)(data), ..Blobs::default() })
    }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::EINVAL)
}
