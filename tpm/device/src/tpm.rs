//! The TPM as its thread holds it: the one ESYS context, and the keys and session that are made once.

use crate::error::failed;
use crate::keys::{Ak, Ek};
use crate::session::{Credential, Salted};
use crate::{DeviceError, Tcti, ek_cert, keys, pcr, quote};
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
        Ok(Self { ctx, ek: None, ak: None, session: None, banks: None })
    }

    /// Everything that needs no credential and no nonce.
    pub(crate) fn prepare(&mut self) -> Result<(), DeviceError> {
        get_or(&mut self.banks, || pcr::banks(&mut self.ctx))?;
        get_or(&mut self.ak, || keys::find_ak(&mut self.ctx))?;
        let ek = get_or(&mut self.ek, || find_ek(&mut self.ctx))?;
        get_or(&mut self.session, || Salted::start(&mut self.ctx, ek))?;
        Ok(())
    }

    pub(crate) fn identity(&mut self) -> Result<Identity, DeviceError> {
        let ek = get_or(&mut self.ek, || find_ek(&mut self.ctx))?;
        let ak = get_or(&mut self.ak, || keys::find_ak(&mut self.ctx))?;
        Ok(Identity { ek: ccnode_evidence::Ek::Certificate(ek.cert.clone()), ak_public: ak.public.clone() })
    }

    pub(crate) fn activate(&mut self, credential: &[u8], secret: &[u8]) -> Result<Activated, DeviceError> {
        let credential = Credential::parse(credential, secret)?;
        let ek = get_or(&mut self.ek, || find_ek(&mut self.ctx))?;
        let ak = get_or(&mut self.ak, || keys::find_ak(&mut self.ctx))?;
        let session = self.session.take().map_or_else(|| Salted::start(&mut self.ctx, ek), Ok)?;
        session.activate(&mut self.ctx, ek, ak, credential)
    }

    /// A quote needs the attestation key alone: no certificate, no endorsement key.
    pub(crate) fn quote(&mut self, extra: ExtraData) -> Result<QuoteParts, DeviceError> {
        let ak = get_or(&mut self.ak, || keys::find_ak(&mut self.ctx))?;
        quote::quote(&mut self.ctx, ak, extra)
    }

    pub(crate) fn read_pcrs(&mut self, set: PcrSet) -> Result<PcrValues, DeviceError> {
        pcr::read(&mut self.ctx, set)
    }

    pub(crate) fn extend(&mut self, pcr: PcrIndex, digest: &Sha256Digest) -> Result<(), DeviceError> {
        let banks = get_or(&mut self.banks, || pcr::banks(&mut self.ctx))?;
        pcr::extend(&mut self.ctx, banks, pcr, digest)
    }

    pub(crate) fn random(&mut self, len: usize) -> Result<SecretBytes, DeviceError> {
        let ek = get_or(&mut self.ek, || find_ek(&mut self.ctx))?;
        let session = self.session.take().map_or_else(|| Salted::start(&mut self.ctx, ek), Ok)?;
        session.random(&mut self.ctx, len)
    }
}

fn find_ek(ctx: &mut Context) -> Result<Ek, DeviceError> {
    let cert = ek_cert::read(ctx)?;
    keys::find_ek(ctx, cert)
}

fn get_or<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T, DeviceError>) -> Result<&T, DeviceError> {
    match slot {
        Some(made) => Ok(made),
        empty => Ok(empty.insert(make()?)),
    }
}
