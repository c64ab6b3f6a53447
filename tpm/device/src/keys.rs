//! Endorsement key and attestation key: templates, and what is accepted at their persistent handles.

use crate::error::{AkFault, Vouches, failed};
use crate::flush::Flush;
use crate::{DeviceError, der};
use ccnode_evidence::Ek as Offer;
use sha2::{Digest as _, Sha256};
use tss_esapi::Context;
use tss_esapi::abstraction::ek::create_ek_public_from_default_template;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::handles::{KeyHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{AsymmetricAlgorithm, HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    HashScheme, Name, Public, PublicBuilder, PublicKeyRsa, PublicRsaParametersBuilder, RsaExponent, RsaScheme,
};
use tss_esapi::traits::Marshall as _;

/// Persistent handle of the RSA-2048 endorsement key (TCG EK Credential Profile 2.5, 2.2.1.2).
pub const EK_HANDLE: u32 = 0x8101_0001;
/// Persistent handle of the attestation key, where stock attesters look for theirs.
pub const AK_HANDLE: u32 = 0x8101_0002;
/// Persistent handle of the attestation key that Azure's paravisor makes and names in its reports.
pub const HCL_AK_HANDLE: u32 = 0x8100_0003;

const MODULUS: usize = 256;
const DEFAULT_EXPONENT: u32 = 65537;
const TPM_RH_ENDORSEMENT: u32 = 0x4000_000b;
const TPM_ALG_SHA256: [u8; 2] = [0x00, 0x0b];

/// The endorsement key in use.
pub(crate) struct Ek {
    pub(crate) handle: KeyHandle,
    /// What is offered of it: the certificate of exactly this key, or where there is none its public area.
    pub(crate) offer: Offer,
    pub(crate) public: Public,
}

/// Who says, in a certificate's place, which endorsement key this machine's TPM has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Voucher {
    /// The manifest of an SVSM: TPMT_PUBLIC.
    Manifest(Vec<u8>),
    /// An HCL report: the modulus of `HCLEkPub`, big-endian.
    Modulus(Vec<u8>),
}

impl Voucher {
    pub(crate) fn check(&self, public: &Public) -> Result<(), DeviceError> {
        let (by, same) = match self {
            Self::Manifest(manifest) => {
                let marshalled = public.marshall().map_err(failed("TPM2_ReadPublic"))?;
                (Vouches::Manifest, *manifest == marshalled)
            }
            Self::Modulus(named) => (Vouches::Hcl, modulus(public).is_some_and(|own| own.value() == named)),
        };
        if same { Ok(()) } else { Err(DeviceError::EkForeign { by }) }
    }
}

/// The attestation key in use.
pub(crate) struct Ak {
    pub(crate) handle: KeyHandle,
    /// TPMT_PUBLIC, marshalled.
    pub(crate) public: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
}

/// Finds the endorsement key that `cert` certifies and `voucher` means, of which there must be one: at [`EK_HANDLE`], else
/// made from the template L-1.
///
/// A key that neither names is never used: the session's salt is encrypted to this key, so one that somebody on the TPM's
/// bus slipped in would read the secret.
pub(crate) fn find_ek(
    ctx: &mut Context,
    cert: Option<Vec<u8>>,
    voucher: Option<&Voucher>,
) -> Result<Ek, DeviceError> {
    if cert.is_none() && voucher.is_none() {
        return Err(DeviceError::EkCertMissing);
    }
    let template = create_ek_public_from_default_template(AsymmetricAlgorithm::Rsa, None)
        .map_err(failed("TPM2_CreatePrimary"))?;
    let check = |public: &Public| {
        voucher.map_or(Ok(()), |voucher| voucher.check(public))?;
        match &cert {
            Some(cert) if !certifies(cert, public) => Err(DeviceError::EkCertForeign),
            _ => Ok(()),
        }
    };
    if let Some(at) = at_handle(ctx, EK_HANDLE)?
        && let Some((public, _)) = at.key()
        && is_made_from(public, &template)
        && check(public).is_ok()
    {
        return ek(at.handle, cert, public.clone());
    }
    let (handle, public) = create_primary(ctx, template)?;
    let made = Flush::new(ctx, handle.into());
    check(&public)?;
    made.keep();
    ek(handle, cert, public)
}

fn ek(handle: KeyHandle, cert: Option<Vec<u8>>, public: Public) -> Result<Ek, DeviceError> {
    let offer = match cert {
        Some(cert) => Offer::Certificate(cert),
        None => Offer::Public(public.marshall().map_err(failed("TPM2_ReadPublic"))?),
    };
    Ok(Ek { handle, offer, public })
}

/// The attestation key that a paravisor made, as it lies there: another one would be named by no report.
pub(crate) fn find_hcl_ak(ctx: &mut Context) -> Result<Ak, DeviceError> {
    let at = at_handle(ctx, HCL_AK_HANDLE)?.ok_or(DeviceError::HclAk(AkFault::Missing))?;
    let (public, _) =
        at.key().filter(|(public, _)| attests(public)).ok_or(DeviceError::HclAk(AkFault::Public))?;
    ak(at.handle, public)
}

/// Whether the key is a restricted RSASSA-SHA256 signing key of 2048 bits that was made in this TPM and can't leave it.
fn attests(public: &Public) -> bool {
    let Public::Rsa { object_attributes: has, name_hashing_algorithm, parameters, .. } = public else {
        return false;
    };
    has.fixed_tpm()
        && has.fixed_parent()
        && has.sensitive_data_origin()
        && has.restricted()
        && has.sign_encrypt()
        && !has.decrypt()
        && *name_hashing_algorithm == HashingAlgorithm::Sha256
        && parameters.rsa_scheme() == RsaScheme::RsaSsa(HashScheme::new(HashingAlgorithm::Sha256))
        && parameters.key_bits() == RsaKeyBits::Rsa2048
        && modulus(public).is_some()
}

/// Finds the attestation key at [`AK_HANDLE`], or makes it there. Where the TPM does not let us persist it (owner
/// authorization, disabled hierarchy, full NV) it stays transient: as a primary it is the same key at each boot.
pub(crate) fn find_ak(ctx: &mut Context) -> Result<Ak, DeviceError> {
    let template = ak_template().map_err(failed("TPM2_CreatePrimary"))?;
    if let Some(at) = at_handle(ctx, AK_HANDLE)? {
        let (public, qualified) = at.key().ok_or(DeviceError::AkForeign(AkFault::Public))?;
        if !is_made_from(public, &template) {
            return Err(DeviceError::AkForeign(AkFault::Public));
        }
        if !is_endorsement_primary(public, qualified)? {
            return Err(DeviceError::AkForeign(AkFault::Hierarchy));
        }
        return ak(at.handle, public);
    }
    let (handle, public) = create_primary(ctx, template)?;
    let transient = Flush::new(ctx, handle.into());
    let persistent = PersistentTpmHandle::new(AK_HANDLE).map_err(failed("TPM2_EvictControl"))?;
    let persisted = transient.ctx.execute_with_session(Some(AuthSession::Password), |ctx| {
        ctx.evict_control(Provision::Owner, handle.into(), Persistent::Persistent(persistent))
    });
    match persisted.map_err(failed("TPM2_EvictControl")) {
        Ok(object) => ak(object.into(), &public),
        Err(e) if e.rc().is_some_and(|rc| rc.forbids_persisting()) => {
            transient.keep();
            ak(handle, &public)
        }
        Err(e) => Err(e),
    }
}

/// What lies at a persistent handle.
struct AtHandle {
    handle: KeyHandle,
    /// Public area and qualified name; `None` for an object that can't be read as a public area at all.
    read: Option<(Public, Name)>,
}

impl AtHandle {
    fn key(&self) -> Option<(&Public, &Name)> {
        self.read.as_ref().map(|(public, qualified)| (public, qualified))
    }
}

fn at_handle(ctx: &mut Context, handle: u32) -> Result<Option<AtHandle>, DeviceError> {
    let read_public = failed("TPM2_ReadPublic");
    let handle = PersistentTpmHandle::new(handle).map_err(&read_public)?;
    let object = match ctx.tr_from_tpm_public(TpmHandle::Persistent(handle)).map_err(&read_public) {
        Err(e) if e.rc().is_some_and(|rc| rc.is_absent()) => return Ok(None),
        object => object?,
    };
    let handle = KeyHandle::from(object);
    match ctx.read_public(handle).map_err(&read_public) {
        Ok((public, _, qualified)) => Ok(Some(AtHandle { handle, read: Some((public, qualified)) })),
        // The command succeeded; the wrapper does not know the key's type.
        Err(DeviceError::TpmAnswer { .. }) => Ok(Some(AtHandle { handle, read: None })),
        Err(e) => Err(e),
    }
}

fn create_primary(ctx: &mut Context, template: Public) -> Result<(KeyHandle, Public), DeviceError> {
    let made = ctx
        .execute_with_session(Some(AuthSession::Password), |ctx| {
            ctx.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
        })
        .map_err(failed("TPM2_CreatePrimary"))?;
    Ok((made.key_handle, made.out_public))
}

/// Restricted RSASSA-SHA256 signing key of 2048 bits without a policy.
fn ak_template() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        // Its authorization is empty. Without this a TPM counts each power cut as a failed guess, and locks itself.
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    let parameters = PublicRsaParametersBuilder::new()
        .with_scheme(RsaScheme::RsaSsa(HashScheme::new(HashingAlgorithm::Sha256)))
        .with_key_bits(RsaKeyBits::Rsa2048)
        .with_exponent(RsaExponent::default())
        .with_is_signing_key(true)
        .with_restricted(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Rsa)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_rsa_parameters(parameters)
        .with_rsa_unique_identifier(PublicKeyRsa::default())
        .build()
}

/// Whether `public` is the template with a modulus in it: every attribute, algorithm and the policy are equal.
fn is_made_from(public: &Public, template: &Public) -> bool {
    let Some(modulus) = modulus(public) else { return false };
    let mut filled = template.clone();
    if let Public::Rsa { unique, .. } = &mut filled {
        *unique = modulus.clone();
    }
    *public == filled
}

/// Whether the qualified name is that of a primary under TPM_RH_ENDORSEMENT (TPM 2.0 Part 1, 16): elsewhere a TPM
/// obfuscates the counters in its quotes.
fn is_endorsement_primary(public: &Public, qualified: &Name) -> Result<bool, DeviceError> {
    let marshalled = public.marshall().map_err(failed("TPM2_ReadPublic"))?;
    let name = [TPM_ALG_SHA256.as_slice(), &Sha256::digest(marshalled)].concat();
    let want = Sha256::new().chain_update(TPM_RH_ENDORSEMENT.to_be_bytes()).chain_update(name).finalize();
    Ok(qualified.value() == [TPM_ALG_SHA256.as_slice(), &want].concat())
}

fn modulus(public: &Public) -> Option<&PublicKeyRsa> {
    match public {
        Public::Rsa { unique, .. } if unique.len() == MODULUS => Some(unique),
        _ => None,
    }
}

/// Whether the certificate holds this RSA key. Its DER is looked for as a whole (modulus and exponent, 270 bytes), since
/// makers name the algorithm around it differently; the chain is the service's to verify.
fn certifies(cert: &[u8], public: &Public) -> bool {
    let Some(modulus) = modulus(public) else { return false };
    let key = der::rsa_public_key(modulus, DEFAULT_EXPONENT);
    cert.windows(key.len()).any(|window| window == key)
}

fn ak(handle: KeyHandle, public: &Public) -> Result<Ak, DeviceError> {
    let modulus = modulus(public).ok_or(DeviceError::AkForeign(AkFault::Public))?;
    let spki = der::rsa_spki(&der::rsa_public_key(modulus, DEFAULT_EXPONENT));
    let public = public.marshall().map_err(failed("TPM2_ReadPublic"))?;
    Ok(Ak { handle, public, spki })
}
