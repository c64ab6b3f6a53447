//! The TPM as its thread holds it: the one ESYS context, and the keys and session that are made once.

use crate::error::failed;
use crate::hcl::HCL_USER_DATA;
use crate::keys::{Ak, Ek, Voucher};
use crate::session::{Credential, Salted};
use crate::{DeviceError, Tcti, ek_cert, hcl, keys, pcr, quote};
use ccnode_evidence::{
    Activated, ExtraData, Identity, PcrIndex, PcrSet, PcrValues, QuoteParts, SecretBytes, Sha256Digest,
};
use tss_esapi::Context;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;

/// Owns the context; dropping it flushes every handle that is still in the TPM.
pub(crate) struct Tpm {
    ctx: Context,
    ek: Option<Ek>,
    ak: Option<Ak>,
    session: Option<Salted>,
    /// Who vouches for the endorsement key.
    voucher: Option<Voucher>,
    /// Whether a paravisor keeps reports here.
    hcl: Option<bool>,
    banks: Option<Vec<HashingAlgorithm>>,
}

impl Tpm {
    pub(crate) fn open(tcti: &Tcti) -> Result<Self, DeviceError> {
        let missing = || DeviceError::TpmMissing(tcti.to_string());
        if tcti.device().is_some_and(|path| !path.exists()) {
            return Err(missing());
        }
        let ctx = match Context::new(tcti.conf.clone()).map_err(failed("TCTI")) {
            Err(e) if tcti.device().is_none() && e.rc().is_some_and(|rc| rc.is_io()) => return Err(missing()),
            ctx => ctx?,
        };
        Ok(Self { ctx, ek: None, ak: None, session: None, voucher: None, hcl: None, banks: None })
    }

    /// Everything that needs no credential and no nonce.
    pub(crate) fn prepare(&mut self) -> Result<(), DeviceError> {
        get_or(&mut self.banks, || pcr::banks(&mut self.ctx))?;
        get_or(&mut self.ak, || find_ak(&mut self.ctx, &mut self.hcl))?;
        let ek = find_ek(&mut self.ctx, &mut self.ek, self.voucher.as_ref())?;
        get_or(&mut self.session, || Salted::start(&mut self.ctx, ek))?;
        Ok(())
    }

    pub(crate) fn identity(&mut self) -> Result<Identity, DeviceError> {
        let ek = find_ek(&mut self.ctx, &mut self.ek, self.voucher.as_ref())?;
        let ak = get_or(&mut self.ak, || find_ak(&mut self.ctx, &mut self.hcl))?;
        Ok(Identity { ek: ek.offer.clone(), ak_public: ak.public.clone() })
    }

    pub(crate) fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Activated, DeviceError> {
        let credential = Credential::parse(credential, secret)?;
        let ek = find_ek(&mut self.ctx, &mut self.ek, self.voucher.as_ref())?;
        let ak = get_or(&mut self.ak, || find_ak(&mut self.ctx, &mut self.hcl))?;
        let session = self.session.take().map_or_else(|| Salted::start(&mut self.ctx, ek), Ok)?;
        session.activate(&mut self.ctx, ek, ak, credential)
    }

    /// A quote needs the attestation key alone: no certificate, no endorsement key.
    pub(crate) fn quote(&mut self, set: PcrSet, extra: ExtraData) -> Result<QuoteParts, DeviceError> {
        let ak = get_or(&mut self.ak, || find_ak(&mut self.ctx, &mut self.hcl))?;
        quote::quote(&mut self.ctx, ak, set, extra)
    }

    pub(crate) fn is_hcl(&mut self) -> Result<bool, DeviceError> {
        get_or(&mut self.hcl, || hcl::is_there(&mut self.ctx)).copied()
    }

    pub(crate) fn hcl_report(&mut self) -> Result<Vec<u8>, DeviceError> {
        hcl::report(&mut self.ctx)
    }

    pub(crate) fn write_hcl_user_data(&mut self, data: &[u8; HCL_USER_DATA]) -> Result<bool, DeviceError> {
        hcl::write_user_data(&mut self.ctx, data)
    }

    pub(crate) fn vouch(&mut self, voucher: Voucher) -> Result<(), DeviceError> {
        self.voucher = Some(voucher);
        find_ek(&mut self.ctx, &mut self.ek, self.voucher.as_ref()).map(drop)
    }

    pub(crate) fn read_pcrs(&mut self, set: PcrSet) -> Result<PcrValues, DeviceError> {
        pcr::read(&mut self.ctx, set)
    }

    pub(crate) fn extend(&mut self, pcr: PcrIndex, digest: &Sha256Digest) -> Result<(), DeviceError> {
        let banks = get_or(&mut self.banks, || pcr::banks(&mut self.ctx))?;
        pcr::extend(&mut self.ctx, banks, pcr, digest)
    }

    pub(crate) fn random(&mut self, len: usize) -> Result<SecretBytes, DeviceError> {
        let ek = find_ek(&mut self.ctx, &mut self.ek, self.voucher.as_ref())?;
        let session = self.session.take().map_or_else(|| Salted::start(&mut self.ctx, ek), Ok)?;
        session.random(&mut self.ctx, len)
    }
}

/// The endorsement key. One that was found before somebody vouched for it is looked at again each time.
fn find_ek<'e>(
    ctx: &mut Context,
    slot: &'e mut Option<Ek>,
    voucher: Option<&Voucher>,
) -> Result<&'e Ek, DeviceError> {
    let find = || {
        let cert = match ek_cert::read(ctx) {
            Err(DeviceError::EkCertMissing) => None,
            cert => Some(cert?),
        };
        keys::find_ek(ctx, cert, voucher)
    };
    let ek = get_or(slot, find)?;
    voucher.map_or(Ok(()), |voucher| voucher.check(&ek.public))?;
    Ok(ek)
}

fn find_ak(ctx: &mut Context, hcl: &mut Option<bool>) -> Result<Ak, DeviceError> {
    match *get_or(hcl, || hcl::is_there(ctx))? {
        true => keys::find_hcl_ak(ctx),
        false => keys::find_ak(ctx),
    }
}

fn get_or<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T, DeviceError>) -> Result<&T, DeviceError> {
    match slot {
        Some(made) => Ok(made),
        empty => Ok(empty.insert(make()?)),
    }
}
