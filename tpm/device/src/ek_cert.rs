//! The endorsement key certificate in the TPM's NV memory.

use crate::nv::{self, By, Index};
use crate::{DeviceError, der};
use tss_esapi::Context;

/// NV index of the RSA-2048 EK certificate (TCG EK Credential Profile 2.5, 2.2.1.4).
pub const EK_CERT_INDEX: u32 = 0x01c0_0002;

/// More than any certificate of an RSA-2048 key has.
const MAX_CERT: usize = 8192;

/// Reads the certificate, DER, without the padding that may follow it in the index.
pub(crate) fn read(ctx: &mut Context) -> Result<Vec<u8>, DeviceError> {
    nv::with(ctx, EK_CERT_INDEX, By::Index, read_index)?.ok_or(DeviceError::EkCertMissing)
}

fn read_index(ctx: &mut Context, index: &mut Index) -> Result<Vec<u8>, DeviceError> {
    let head = match index.part(ctx, 4, 0) {
        Err(e) if e.rc().is_some_and(|rc| rc.is_unwritten()) => return Err(DeviceError::EkCertMissing),
        Err(e) if e.rc().is_some_and(|rc| rc.is_nv_range()) => return Err(DeviceError::EkCertMalformed),
        head => head?,
    };
    let len = head.as_slice().try_into().ok().and_then(der::sequence_len).filter(|len| *len <= MAX_CERT);
    match index.start(ctx, len.ok_or(DeviceError::EkCertMalformed)?) {
        Err(e) if e.rc().is_some_and(|rc| rc.is_nv_range()) => Err(DeviceError::EkCertMalformed),
        cert => cert,
    }
}
