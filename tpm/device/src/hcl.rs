//! The report that Azure's paravisor (HCL) keeps in the NV memory of its vTPM, and the place for what it is to cover.

use crate::DeviceError;
use crate::error::NvFault;
use crate::nv::{self, By};
use crate::thread::TpmThread;
use std::sync::Arc;
use tss_esapi::Context;

/// NV index of the report.
pub const HCL_REPORT_INDEX: u32 = 0x0140_0001;
/// NV index of the user data that the next report names; not every paravisor has it.
pub const HCL_USER_DATA_INDEX: u32 = 0x0140_0002;
/// Length of the user data.
pub const HCL_USER_DATA: usize = 64;
/// The largest report that is read.
pub const MAX_HCL_REPORT: usize = 16 * 1024;

/// The reports of a paravisor below this TPM.
#[derive(Clone)]
pub struct Hcl {
    thread: Arc<TpmThread>,
}

impl Hcl {
    pub(crate) fn new(thread: Arc<TpmThread>) -> Self {
        Self { thread }
    }

    /// The report as it lies there, whole; at most [`MAX_HCL_REPORT`] bytes. The paravisor may make it anew for a reader.
    pub fn report(&self) -> impl Future<Output = Result<Vec<u8>, DeviceError>> + Send + use<> {
        self.thread.call(|tpm| tpm.hcl_report())
    }

    /// Asks for a report that names `user_data`; `false` where this paravisor takes none. The report follows in its own time.
    pub fn write_user_data(
        &self,
        user_data: [u8; HCL_USER_DATA],
    ) -> impl Future<Output = Result<bool, DeviceError>> + Send + use<> {
        self.thread.call(move |tpm| tpm.write_hcl_user_data(&user_data))
    }
}

impl std::fmt::Debug for Hcl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hcl")
    }
}

/// Whether there is a report; it is not read.
pub(crate) fn is_there(ctx: &mut Context) -> Result<bool, DeviceError> {
    Ok(nv::with(ctx, HCL_REPORT_INDEX, By::Owner, |_, _| Ok(()))?.is_some())
}

pub(crate) fn report(ctx: &mut Context) -> Result<Vec<u8>, DeviceError> {
    let fault = |fault| DeviceError::Nv { index: HCL_REPORT_INDEX, fault };
    let read = nv::with(ctx, HCL_REPORT_INDEX, By::Owner, |ctx, index| {
        let size = bounded(index.size(ctx)?).map_err(fault)?;
        match index.start(ctx, size) {
            Err(e) if e.rc().is_some_and(|rc| rc.is_unwritten()) => Err(fault(NvFault::Unwritten)),
            report => report,
        }
    });
    read?.ok_or(fault(NvFault::Missing))
}

fn bounded(size: usize) -> Result<usize, NvFault> {
    match size > MAX_HCL_REPORT {
        true => Err(NvFault::Oversized { size, limit: MAX_HCL_REPORT }),
        false => Ok(size),
    }
}

pub(crate) fn write_user_data(
    ctx: &mut Context,
    user_data: &[u8; HCL_USER_DATA],
) -> Result<bool, DeviceError> {
    let written = nv::with(ctx, HCL_USER_DATA_INDEX, By::Owner, |ctx, index| {
        let size = index.size(ctx)?;
        if size < HCL_USER_DATA {
            let fault = NvFault::Undersized { size, least: HCL_USER_DATA };
            return Err(DeviceError::Nv { index: HCL_USER_DATA_INDEX, fault });
        }
        index.write(ctx, user_data)
    });
    Ok(written?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_end_is_not_read() {
        assert_eq!(bounded(MAX_HCL_REPORT), Ok(MAX_HCL_REPORT));
        let oversized = NvFault::Oversized { size: MAX_HCL_REPORT + 1, limit: MAX_HCL_REPORT };
        assert_eq!(bounded(MAX_HCL_REPORT + 1), Err(oversized));
    }
}
