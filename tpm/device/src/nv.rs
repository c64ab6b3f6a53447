//! NV memory: an index that is found, read in bounded parts, or written; none is ever defined here.

use crate::DeviceError;
use crate::error::failed;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::MaxNvBuffer;
use tss_esapi::{Context, WrapperErrorKind};

/// What most TPMs return from one TPM2_NV_Read.
const USUAL_CHUNK: usize = 1024;
/// What every TPM of the PC Client Platform TPM Profile returns from one TPM2_NV_Read.
const LEAST_CHUNK: usize = 512;

const READ: &str = "TPM2_NV_Read";
const WRITE: &str = "TPM2_NV_Write";

/// Whose authorization is tried first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// The index's own, then the owner's.
    Index,
    /// The owner's alone: nothing is guessed about an index of somebody else's.
    Owner,
}

/// An index that is defined.
pub(crate) struct Index {
    handle: NvIndexHandle,
    auth: NvAuth,
    by: By,
}

/// Does `work` on an index and lets go of it; `None` where it is not defined.
pub(crate) fn with<T>(
    ctx: &mut Context,
    index: u32,
    by: By,
    work: impl FnOnce(&mut Context, &mut Index) -> Result<T, DeviceError>,
) -> Result<Option<T>, DeviceError> {
    let public = failed("TPM2_NV_ReadPublic");
    let at = NvIndexTpmHandle::new(index).map_err(&public)?;
    let mut object = match ctx.tr_from_tpm_public(TpmHandle::NvIndex(at)).map_err(&public) {
        Err(e) if e.rc().is_some_and(|rc| rc.is_absent()) => return Ok(None),
        found => found?,
    };
    let handle = NvIndexHandle::from(object);
    let auth = match by {
        By::Index => NvAuth::NvIndex(handle),
        By::Owner => NvAuth::Owner,
    };
    let done = work(ctx, &mut Index { handle, auth, by });
    ctx.tr_close(&mut object).map_err(failed("Esys_TR_Close"))?;
    done.map(Some)
}

impl Index {
    /// Exactly `size` bytes from `offset`, in one command.
    pub(crate) fn part(
        &mut self,
        ctx: &mut Context,
        size: usize,
        offset: usize,
    ) -> Result<Vec<u8>, DeviceError> {
        let part = self.read(ctx, size, offset);
        if self.by == By::Index && part.as_ref().is_err_and(|e| e.rc().is_some_and(|rc| rc.is_nv_access())) {
            (self.by, self.auth) = (By::Owner, NvAuth::Owner);
            return self.read(ctx, size, offset);
        }
        part
    }

    fn read(&self, ctx: &mut Context, size: usize, offset: usize) -> Result<Vec<u8>, DeviceError> {
        let short = DeviceError::TpmAnswer { command: READ, kind: WrapperErrorKind::WrongValueFromTpm };
        let (Ok(size), Ok(offset)) = (u16::try_from(size), u16::try_from(offset)) else { return Err(short) };
        let part = ctx
            .execute_with_session(Some(AuthSession::Password), |ctx| {
                ctx.nv_read(self.auth, self.handle, size, offset)
            })
            .map_err(failed(READ))?;
        if part.len() == usize::from(size) { Ok(part.to_vec()) } else { Err(short) }
    }

    /// The first `len` bytes, in as many commands as the TPM needs.
    pub(crate) fn start(&mut self, ctx: &mut Context, len: usize) -> Result<Vec<u8>, DeviceError> {
        match self.parts(ctx, len, USUAL_CHUNK) {
            Err(e) if e.rc().is_some_and(|rc| rc.is_value()) => self.parts(ctx, len, LEAST_CHUNK),
            read => read,
        }
    }

    fn parts(&mut self, ctx: &mut Context, len: usize, chunk: usize) -> Result<Vec<u8>, DeviceError> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let part = self.part(ctx, chunk.min(len - bytes.len()), bytes.len())?;
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// The size with which the index was defined.
    pub(crate) fn size(&self, ctx: &mut Context) -> Result<usize, DeviceError> {
        let (public, _) = ctx.nv_read_public(self.handle).map_err(failed("TPM2_NV_ReadPublic"))?;
        Ok(public.data_size())
    }

    /// Writes `bytes` from the index's start, in one command.
    pub(crate) fn write(&self, ctx: &mut Context, bytes: &[u8]) -> Result<(), DeviceError> {
        let data = MaxNvBuffer::try_from(bytes.to_vec()).map_err(failed(WRITE))?;
        ctx.execute_with_session(Some(AuthSession::Password), |ctx| {
            ctx.nv_write(self.auth, self.handle, data, 0)
        })
        .map_err(failed(WRITE))
    }
}
