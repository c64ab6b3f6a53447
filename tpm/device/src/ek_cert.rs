//! The endorsement key certificate in the TPM's NV memory.

use crate::error::failed;
use crate::{DeviceError, der};
use tss_esapi::Context;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::interface_types::session_handles::AuthSession;

/// NV index of the RSA-2048 EK certificate (TCG EK Credential Profile 2.5, 2.2.1.4).
pub const EK_CERT_INDEX: u32 = 0x01c0_0002;

/// More than any certificate of an RSA-2048 key has.
const MAX_CERT: usize = 8192;
/// What most TPMs return from one TPM2_NV_Read.
const USUAL_CHUNK: usize = 1024;
/// What every TPM of the PC Client Platform TPM Profile returns from one TPM2_NV_Read.
const LEAST_CHUNK: usize = 512;

/// Reads the certificate, DER, without the padding that may follow it in the index.
pub(crate) fn read(ctx: &mut Context) -> Result<Vec<u8>, DeviceError> {
    let index = NvIndexTpmHandle::new(EK_CERT_INDEX).map_err(failed("TPM2_NV_ReadPublic"))?;
    let found = ctx.tr_from_tpm_public(TpmHandle::NvIndex(index)).map_err(failed("TPM2_NV_ReadPublic"));
    let mut handle = match found {
        Err(e) if e.rc().is_some_and(|rc| rc.is_absent()) => return Err(DeviceError::EkCertMissing),
        found => found?,
    };
    let cert = read_index(ctx, handle.into());
    ctx.tr_close(&mut handle).map_err(failed("Esys_TR_Close"))?;
    cert
}

fn read_index(ctx: &mut Context, index: NvIndexHandle) -> Result<Vec<u8>, DeviceError> {
    let mut auth = NvAuth::NvIndex(index);
    let mut head = read_part(ctx, auth, index, 4, 0);
    if head.as_ref().is_err_and(|e| e.rc().is_some_and(|rc| rc.is_nv_access())) {
        auth = NvAuth::Owner;
        head = read_part(ctx, auth, index, 4, 0);
    }
    let head = match head {
        Err(e) if e.rc().is_some_and(|rc| rc.is_unwritten()) => return Err(DeviceError::EkCertMissing),
        Err(e) if e.rc().is_some_and(|rc| rc.is_nv_range()) => return Err(DeviceError::EkCertMalformed),
        head => head?,
    };
    let len = head.as_slice().try_into().ok().and_then(der::sequence_len).filter(|len| *len <= MAX_CERT);
    let len = len.ok_or(DeviceError::EkCertMalformed)?;
    let mut cert = read_all(ctx, auth, index, len, USUAL_CHUNK);
    if cert.as_ref().is_err_and(|e| e.rc().is_some_and(|rc| rc.is_value())) {
        cert = read_all(ctx, auth, index, len, LEAST_CHUNK);
    }
    match cert {
        Err(e) if e.rc().is_some_and(|rc| rc.is_nv_range()) => Err(DeviceError::EkCertMalformed),
        cert => cert,
    }
}

fn read_all(
    ctx: &mut Context,
    auth: NvAuth,
    index: NvIndexHandle,
    len: usize,
    chunk: usize,
) -> Result<Vec<u8>, DeviceError> {
    let mut cert = Vec::with_capacity(len);
    while cert.len() < len {
        let part = read_part(ctx, auth, index, chunk.min(len - cert.len()), cert.len())?;
        cert.extend_from_slice(&part);
    }
    Ok(cert)
}

/// Exactly `size` bytes from `offset`.
fn read_part(
    ctx: &mut Context,
    auth: NvAuth,
    index: NvIndexHandle,
    size: usize,
    offset: usize,
) -> Result<Vec<u8>, DeviceError> {
    let short = DeviceError::EkCertMalformed;
    let (Ok(size), Ok(offset)) = (u16::try_from(size), u16::try_from(offset)) else { return Err(short) };
    let part = ctx
        .execute_with_session(Some(AuthSession::Password), |ctx| ctx.nv_read(auth, index, size, offset))
        .map_err(failed("TPM2_NV_Read"))?;
    if part.len() == usize::from(size) { Ok(part.to_vec()) } else { Err(short) }
}
