//! configfs-tsm: an entry of our own, what is written into it, and reports that nobody else has changed meanwhile.

use crate::error::CvmError;
use crate::report::{self, Provider, Report, ReportData, SVSM_VTPM_GUID, SvsmReport, shown};
use crate::tree::ReportTree;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU32, Ordering};

/// How often a report is asked for before a race is reported.
pub const ATTEMPTS: usize = 5;
/// The largest report, quote or certificate table that is read.
pub const MAX_BLOB: usize = 32 * 1024;
/// The largest manifest: more than any TPMT_PUBLIC of an endorsement key has.
pub const MAX_MANIFEST: usize = 4096;

/// More than any attribute of text has.
const MAX_TEXT: usize = 128;
/// The version of the vTPM's manifest that is asked for.
const MANIFEST_VERSION: u32 = 0;
/// Linux's ENXIO and ENODEV: an entry can't be made without a provider.
const WITHOUT_PROVIDER: [i32; 2] = [6, 19];

const ENTRY: &str = "the entry";

/// The kernel's reports.
#[derive(Debug)]
pub struct Tsm<T> {
    tree: T,
    provider: Provider,
    /// The least privilege level (VMPL) that may be asked for; 0 where there are none.
    floor: u32,
    svsm: bool,
    /// Numbers the entries.
    next: AtomicU32,
}

/// Reports that an SVSM has made for its vTPM.
pub trait SvsmReports: Send + Sync {
    /// A report of VMPL 0 over SHA-512(`nonce` ‖ manifest), with the manifest and the processor's certificates. Blocks.
    fn vtpm_report(&self, nonce: &ReportData) -> Result<SvsmReport, CvmError>;
}

/// What is asked for, and what of the answer is read.
struct Request<'a> {
    options: &'a [(&'static str, &'a str)],
    data: &'a ReportData,
    manifest: bool,
}

struct Answer {
    report: Vec<u8>,
    auxiliary: Vec<u8>,
    manifest: Vec<u8>,
}

impl<T: ReportTree> Tsm<T> {
    /// Looks who provides reports, and what can be asked of them.
    pub fn open(tree: T) -> Result<Self, CvmError> {
        let next = AtomicU32::new(0);
        let entry = Entry::make(&tree, &next)?;
        let provider = Provider::named(&entry.text("provider")?)?;
        let floor = match entry.has("privlevel_floor") {
            true => entry.number("privlevel_floor")?,
            false => 0,
        };
        let svsm = provider == Provider::Snp && entry.has("service_provider") && entry.has("manifestblob");
        entry.remove()?;
        Ok(Self { tree, provider, floor, svsm, next })
    }

    /// Whose reports they are.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// See [`crate::Cvm::report`].
    pub fn report(&self, data: &ReportData) -> Result<Report, CvmError> {
        let floor = self.floor.to_string();
        // The firmware refuses a level above the guest's own, and 0 is what is asked for by default.
        let options: &[_] = if self.floor == 0 { &[] } else { &[("privlevel", floor.as_str())] };
        let answer = self.ask(&Request { options, data, manifest: false })?;
        self.provider.check(&answer.report, data)?;
        Ok(Report { report: answer.report, certificates: answer.auxiliary })
    }

    /// See [`crate::Cvm::supports_svsm`].
    pub fn supports_svsm(&self) -> Option<&dyn SvsmReports> {
        self.svsm.then_some(self as &dyn SvsmReports)
    }

    fn ask(&self, request: &Request<'_>) -> Result<Answer, CvmError> {
        for _ in 0..ATTEMPTS {
            let entry = Entry::make(&self.tree, &self.next)?;
            let answer = match entry.ask(request) {
                Ok(Some(answer)) => answer,
                Ok(None) => continue,
                Err(CvmError::Report { source, .. }) if source.kind() == ErrorKind::ResourceBusy => continue,
                Err(error) => return Err(error),
            };
            entry.remove()?;
            return Ok(answer);
        }
        Err(CvmError::Race { attempts: ATTEMPTS })
    }
}

impl<T: ReportTree> SvsmReports for Tsm<T> {
    fn vtpm_report(&self, nonce: &ReportData) -> Result<SvsmReport, CvmError> {
        let version = MANIFEST_VERSION.to_string();
        let options = [
            ("service_provider", "svsm"),
            ("service_guid", SVSM_VTPM_GUID),
            ("service_manifest_version", version.as_str()),
        ];
        let answer = self.ask(&Request { options: &options, data: nonce, manifest: true })?;
        self.provider.check(&answer.report, &report::svsm_data(nonce, &answer.manifest))?;
        // An SVSM need not pass certificates on; the chip is the same, so a report of the guest's own level has them.
        let certificates = match answer.auxiliary.is_empty() {
            true => self.report(nonce)?.certificates,
            false => answer.auxiliary,
        };
        let report = Report { report: answer.report, certificates };
        Ok(SvsmReport {
            report,
            service: SVSM_VTPM_GUID,
            version: MANIFEST_VERSION,
            manifest: answer.manifest,
        })
    }
}

/// An entry of ours; it is removed on the way out of an error too.
struct Entry<'t, T: ReportTree> {
    tree: &'t T,
    name: Option<String>,
}

impl<'t, T: ReportTree> Entry<'t, T> {
    /// Makes an entry under a name that is not taken.
    fn make(tree: &'t T, next: &AtomicU32) -> Result<Self, CvmError> {
        let mut taken = None;
        for _ in 0..ATTEMPTS {
            let name = format!("ccnode-{}", next.fetch_add(1, Ordering::Relaxed));
            match tree.make(&name) {
                Ok(()) => return Ok(Self { tree, name: Some(name) }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => taken = Some(e),
                Err(e)
                    if e.kind() == ErrorKind::NotFound
                        || e.raw_os_error().is_some_and(|errno| WITHOUT_PROVIDER.contains(&errno)) =>
                {
                    return Err(CvmError::ProviderMissing);
                }
                Err(e) => return Err(failed("making", ENTRY)(e)),
            }
        }
        Err(failed("making", ENTRY)(taken.unwrap_or_else(|| ErrorKind::AlreadyExists.into())))
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn has(&self, attribute: &str) -> bool {
        self.tree.has(self.name(), attribute)
    }

    /// Writes the request and reads the answer; `None` where somebody else wrote in between.
    fn ask(&self, request: &Request<'_>) -> Result<Option<Answer>, CvmError> {
        let before = self.generation()?;
        let mut due = before;
        for (attribute, value) in request.options {
            self.write(attribute, value.as_bytes())?;
            due = due.wrapping_add(1);
        }
        self.write("inblob", request.data)?;
        due = due.wrapping_add(1);
        let report = self.blob("outblob", MAX_BLOB)?;
        let auxiliary = if self.has("auxblob") { self.blob("auxblob", MAX_BLOB)? } else { Vec::new() };
        let manifest = if request.manifest { self.blob("manifestblob", MAX_MANIFEST)? } else { Vec::new() };
        // Each write counts one, ours and others': where it is not ours alone, the parts may be of different reports.
        Ok((self.generation()? == due).then_some(Answer { report, auxiliary, manifest }))
    }

    fn generation(&self) -> Result<u64, CvmError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| CvmError::Attribute { attribute: "generation", text: shown(&text) })
    }

    fn number(&self, attribute: &'static str) -> Result<u32, CvmError> {
        let text = self.text(attribute)?;
        text.parse().map_err(|_| CvmError::Attribute { attribute, text: shown(&text) })
    }

    fn write(&self, attribute: &'static str, bytes: &[u8]) -> Result<(), CvmError> {
        self.tree.write(self.name(), attribute, bytes).map_err(failed("writing", attribute))
    }

    fn text(&self, attribute: &'static str) -> Result<String, CvmError> {
        let bytes = self.blob(attribute, MAX_TEXT)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
    }

    fn blob(&self, attribute: &'static str, limit: usize) -> Result<Vec<u8>, CvmError> {
        let bytes =
            self.tree.read(self.name(), attribute, limit + 1).map_err(failed("reading", attribute))?;
        match bytes.len() > limit {
            true => Err(CvmError::Oversized { attribute, limit }),
            false => Ok(bytes),
        }
    }

    /// Removes the entry, and says where that fails.
    fn remove(mut self) -> Result<(), CvmError> {
        let name = self.name.take();
        name.map_or(Ok(()), |name| self.tree.remove(&name)).map_err(failed("removing", ENTRY))
    }
}

impl<T: ReportTree> Drop for Entry<'_, T> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // There is an error already, and that one is told.
            let _ = self.tree.remove(&name);
        }
    }
}

fn failed(operation: &'static str, attribute: &'static str) -> impl Fn(io::Error) -> CvmError {
    move |source| CvmError::Report { operation, attribute, source }
}
