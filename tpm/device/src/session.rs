//! The one salted session: it authorizes the endorsement key, and encrypts what the TPM answers.

use crate::DeviceError;
use crate::error::{CredentialFault, failed};
use crate::flush::Flush;
use crate::keys::{Ak, Ek};
use ccnode_evidence::{Activated, Secret, SecretBytes};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, EncryptedSecret, IdObject, Nonce, SymmetricDefinition};
use tss_esapi::{Context, WrapperErrorKind};
use zeroize::Zeroizing;

/// The digest of SHA-256: what every TPM returns at once.
const RANDOM_AT_ONCE: usize = 32;

/// A policy session salted to the endorsement key, with the endorsement policy satisfied and response encryption on.
///
/// Being salted it authorizes the endorsement key, proves by HMAC that the answer comes from the holder of that key, and
/// encrypts the answer: no second session is needed.
pub(crate) struct Salted(AuthSession);

impl Salted {
    /// TPM2_StartAuthSession and TPM2_PolicySecret: all of an activation that needs no credential.
    pub(crate) fn start(ctx: &mut Context, ek: &Ek) -> Result<Self, DeviceError> {
        let start = failed("TPM2_StartAuthSession");
        let session = ctx
            .start_auth_session(
                Some(ek.handle),
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
            .map_err(&start)?
            .ok_or(no_answer("TPM2_StartAuthSession"))?;
        let guard = Flush::new(ctx, SessionHandle::from(session).into());
        let (attributes, mask) = SessionAttributesBuilder::new().with_encrypt(true).build();
        guard.ctx.tr_sess_set_attributes(session, attributes, mask).map_err(&start)?;
        let policy = PolicySession::try_from(session).map_err(&start)?;
        guard
            .ctx
            .execute_with_session(Some(AuthSession::Password), |ctx| {
                ctx.policy_secret(
                    policy,
                    AuthHandle::Endorsement,
                    Nonce::default(),
                    Digest::default(),
                    Nonce::default(),
                    None,
                )
            })
            .map_err(failed("TPM2_PolicySecret"))?;
        guard.keep();
        Ok(Self(session))
    }

    /// TPM2_ActivateCredential; the session ends with it, whatever comes of it.
    pub(crate) fn activate(
        self,
        ctx: &mut Context,
        ek: &Ek,
        ak: &Ak,
        credential: Credential,
    ) -> Result<Activated, DeviceError> {
        let guard = Flush::new(ctx, SessionHandle::from(self.0).into());
        let sessions = (Some(AuthSession::Password), Some(self.0), None);
        let answer = guard.ctx.execute_with_sessions(sessions, |ctx| {
            ctx.activate_credential(ak.handle, ek.handle, credential.blob, credential.secret)
        });
        let still_serves = guard.flush().is_ok();
        let secret = answer
            .map_err(failed("TPM2_ActivateCredential"))
            .map_err(|error| if still_serves { refused(error) } else { error })?;
        Secret::try_from(secret.value())
            .map_err(|_| DeviceError::CredentialRefused(CredentialFault::Length(secret.len())))
    }

    /// `len` bytes of TPM2_GetRandom, encrypted on their way; the session ends with it.
    pub(crate) fn random(self, ctx: &mut Context, len: usize) -> Result<SecretBytes, DeviceError> {
        let command = "TPM2_GetRandom";
        let guard = Flush::new(ctx, SessionHandle::from(self.0).into());
        // All the capacity at once: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len + RANDOM_AT_ONCE));
        while bytes.len() < len {
            let due = RANDOM_AT_ONCE.min(len - bytes.len());
            let part = guard.ctx.execute_with_session(Some(self.0), |ctx| ctx.get_random(due));
            let part = part.map_err(failed(command))?;
            if part.is_empty() || part.len() > due {
                return Err(no_answer(command));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
    }
}

fn no_answer(command: &'static str) -> DeviceError {
    DeviceError::TpmAnswer { command, kind: WrapperErrorKind::WrongValueFromTpm }
}

/// What TPM2_MakeCredential wrote.
pub(crate) struct Credential {
    blob: IdObject,
    secret: EncryptedSecret,
}

impl Credential {
    /// Reads a TPM2B_ID_OBJECT and a TPM2B_ENCRYPTED_SECRET, both with their size in front and nothing behind.
    pub(crate) fn parse(credential: &[u8], secret: &[u8]) -> Result<Self, DeviceError> {
        let blob = tpm2b(credential).and_then(|bytes| IdObject::try_from(bytes).ok());
        let secret = tpm2b(secret).and_then(|bytes| EncryptedSecret::try_from(bytes).ok());
        Ok(Self {
            blob: blob.ok_or(DeviceError::CredentialRefused(CredentialFault::Blob))?,
            secret: secret.ok_or(DeviceError::CredentialRefused(CredentialFault::Secret))?,
        })
    }
}

/// The content of a TPM2B whose size is exactly what follows; an empty one is none.
fn tpm2b(bytes: &[u8]) -> Option<&[u8]> {
    let (size, content) = bytes.split_first_chunk::<2>()?;
    (!content.is_empty() && usize::from(u16::from_be_bytes(*size)) == content.len()).then_some(content)
}

/// Tells a credential that is not for this TPM from a TPM that failed. A seed that is encrypted to another key is answered
/// with TPM_RC_FAILURE (TPM 2.0 Part 3, 12.5), which of a TPM that goes on serving says no more than that.
fn refused(error: DeviceError) -> DeviceError {
    match error {
        DeviceError::TpmFailed { rc, .. } if rc.is_parameter() || rc.is_failure() => {
            DeviceError::CredentialRefused(CredentialFault::Tpm(rc))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tpm2b_is_read_whole() {
        assert_eq!(tpm2b(&[0, 2, 7, 8]), Some([7, 8].as_slice()));
        for bytes in [&[][..], &[0], &[0, 0], &[0, 3, 7, 8], &[0, 1, 7, 8], &[2, 0, 7, 8]] {
            assert_eq!(tpm2b(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn oversized_blobs_are_refused_before_the_tpm() {
        let large = [&[2, 0], [0; 512].as_slice()].concat();
        let good = [0, 1, 7];
        let fault = |a: &[u8], b: &[u8]| Credential::parse(a, b).err();
        assert_eq!(fault(&large, &good), Some(DeviceError::CredentialRefused(CredentialFault::Blob)));
        let larger = [&[4, 0], [0; 1024].as_slice()].concat();
        assert_eq!(fault(&good, &larger), Some(DeviceError::CredentialRefused(CredentialFault::Secret)));
        assert_eq!(fault(&good, &good), None);
    }
}
