//! Quoting: read, quote, compare, and again where PCRs moved in between.

use crate::error::failed;
use crate::keys::Ak;
use crate::{DeviceError, pcr};
use ccnode_evidence::{ExtraData, PcrSet, QuoteParts};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Attest, AttestInfo, Data, SignatureScheme};
use tss_esapi::traits::Marshall as _;
use tss_esapi::{Context, WrapperErrorKind};

/// How often PCRs are read and quoted before a race is reported.
pub const QUOTE_ATTEMPTS: usize = 5;

const QUOTE: &str = "TPM2_Quote";

/// TPM2_Quote over exactly `set` of the SHA-256 bank, with the values that its digest is made of.
pub(crate) fn quote(
    ctx: &mut Context,
    ak: &Ak,
    set: PcrSet,
    extra: ExtraData,
) -> Result<QuoteParts, DeviceError> {
    let data = Data::try_from(extra.bytes().to_vec()).map_err(failed(QUOTE))?;
    for _ in 0..QUOTE_ATTEMPTS {
        let pcrs = pcr::read(ctx, set)?;
        let selection = pcr::selection(set.iter())?;
        let (attest, signature) = ctx
            .execute_with_session(Some(AuthSession::Password), |ctx| {
                ctx.quote(ak.handle, data.clone(), SignatureScheme::Null, selection)
            })
            .map_err(failed(QUOTE))?;
        let composite = pcrs.composite(set).ok_or(DeviceError::Sha256BankMissing)?;
        if pcr_digest(&attest)? == composite.0 {
            return Ok(QuoteParts {
                message: attest.marshall().map_err(failed(QUOTE))?,
                signature: signature.marshall().map_err(failed(QUOTE))?,
                pcrs,
                ak_public: ak.spki.clone(),
            });
        }
    }
    Err(DeviceError::QuoteRace { attempts: QUOTE_ATTEMPTS })
}

fn pcr_digest(attest: &Attest) -> Result<&[u8], DeviceError> {
    match attest.attested() {
        AttestInfo::Quote { info } => Ok(info.pcr_digest().value()),
        _ => Err(DeviceError::TpmAnswer { command: QUOTE, kind: WrapperErrorKind::WrongValueFromTpm }),
    }
}
