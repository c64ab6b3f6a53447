//! A guard that flushes a transient object or session from the TPM unless it is kept.

use crate::DeviceError;
use crate::error::failed;
use tss_esapi::Context;
use tss_esapi::handles::ObjectHandle;

/// Owns a transient handle; dropping it flushes, on the way out of an error too.
pub(crate) struct Flush<'a> {
    pub(crate) ctx: &'a mut Context,
    handle: Option<ObjectHandle>,
}

impl<'a> Flush<'a> {
    pub(crate) fn new(ctx: &'a mut Context, handle: ObjectHandle) -> Self {
        Self { ctx, handle: Some(handle) }
    }

    /// Flushes, and says whether the TPM did so.
    pub(crate) fn flush(mut self) -> Result<(), DeviceError> {
        let handle = self.handle.take();
        handle.map_or(Ok(()), |handle| self.ctx.flush_context(handle)).map_err(failed("TPM2_FlushContext"))
    }

    /// Leaves the handle in the TPM; the context flushes it when the context goes.
    pub(crate) fn keep(mut self) {
        self.handle = None;
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // A handle that can't be flushed now stays with the context, which tries once more when it is closed.
            let _retried_at_close = self.ctx.flush_context(handle);
        }
    }
}
