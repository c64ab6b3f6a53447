//! What a stock boot does with what the key broker gave: the volume's passphrase, the volume, and the files.

use crate::config::Wanted;
use crate::refusal::Coded;
use crate::status::write_file;
use crate::unlock::UnlockError;
use ccnode_attest_client::stock::{FormError, KeyForm, LuksKey, SealedError};
use ccnode_evidence::{Code, Secret, SecretBytes};
use ccnode_luks_header::passphrase::{self, ClevisToken, OpenedBy, PassphraseHeader};
use ccnode_luks_volume::{Name, Opened, open_by_passphrase};
use ccnode_protocol::ResourceUri;
use ccnode_protocol::jwe::{Direct, JweError};
use serde::Deserialize;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// The pin of confidential clusters.
const PIN: &str = "trustee";

/// Why what the key broker gave can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// The key's resource is not of its form.
    #[error("{resource}: {source}")]
    Form {
        /// The resource.
        resource: ResourceUri,
        /// What is wrong.
        #[source]
        source: FormError,
    },
    /// A sealed secret does not bear the signer's name.
    #[error("{path}: {source}")]
    Sealed {
        /// The file that it was to become.
        path: String,
        /// What is wrong.
        #[source]
        source: SealedError,
    },
    /// Fewer resources came than were asked for.
    #[error("the session gave fewer resources than were asked for")]
    Fewer,
    /// The volume's token is of another pin, or for another resource.
    #[error("the volume's clevis token is for {have}, the image pins {want}")]
    Foreign {
        /// What it is for, in its own words.
        have: String,
        /// The pinned resource.
        want: ResourceUri,
    },
    /// The token's JWE can't be read, or does not open with the key.
    #[error("the volume's clevis token: {0}")]
    Token(#[from] JweError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] UnlockError),
    /// A file can't be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for StockError {
    fn code(&self) -> Code {
        match self {
            Self::Form { .. } => Code::ResourceMalformed,
            Self::Sealed { .. } => Code::SealedRefused,
            Self::Foreign { .. } => Code::ClevisForeign,
            Self::Token(JweError::Open) => Code::UnlockKeyWrong,
            Self::Token(_) => Code::HeaderRefused,
            Self::Volume(error) => error.code(),
            Self::Fewer | Self::Write { .. } => Code::NodeInternal,
        }
    }
}

/// What the broker gave, sorted and believed; in memory and nowhere else.
#[derive(Debug)]
pub struct Released {
    /// Opens the root.
    pub key: LuksKey,
    /// The files, each with its content.
    pub files: Vec<(Wanted, SecretBytes)>,
}

/// The resources to ask for: the key, the files in their order, and the signer's key where sealed secrets must be verified.
pub fn wants(key: &ResourceUri, files: &[Wanted]) -> Vec<ResourceUri> {
    let signers = files.iter().filter_map(|file| file.sealed.as_ref().map(|(_, signer)| signer.0.clone()));
    let files = files.iter().map(|file| file.resource.clone());
    std::iter::once(key.clone()).chain(files).chain(signers.take(1)).collect()
}

impl Released {
    /// Sorts what came for [`wants`]; nothing is believed before sealed secrets are verified.
    pub fn sort(
        key: &ResourceUri,
        form: KeyForm,
        files: Vec<Wanted>,
        resources: Vec<SecretBytes>,
    ) -> Result<Self, StockError> {
        let mut resources = resources.into_iter();
        let mut next = || resources.next().ok_or(StockError::Fewer);
        let source = |source| StockError::Form { resource: key.clone(), source };
        let key = form.read(&next()?).map_err(source)?;
        let files =
            files.into_iter().map(|file| Ok((file, next()?))).collect::<Result<Vec<_>, StockError>>()?;
        for (file, _) in &files {
            if let Some((sealed, signer)) = &file.sealed {
                let public = resources.as_slice().first().ok_or(StockError::Fewer)?;
                let path = || file.path.display().to_string();
                sealed
                    .verify(signer, public)
                    .map_err(|source| StockError::Sealed { path: path(), source })?;
            }
        }
        Ok(Self { key, files })
    }
}

/// The member `clevis` of a token's header. Where the token was written, `servers` said whom to ask: that and `initdata` are a
/// host's to change, so they are not even read.
#[derive(Deserialize)]
struct Clevis {
    pin: String,
    path: String,
}

/// The passphrase in a clevis token, which must be for `pinned`.
pub fn token_passphrase(
    token: &ClevisToken,
    pinned: &ResourceUri,
    key: &Secret<32>,
) -> Result<SecretBytes, StockError> {
    let jwe = Direct::from_json(&token.jwe)?;
    open_pinned(&jwe, pinned, key)
}

/// Opens a JWE of the pin `trustee` for the resource that is `pinned`, whatever else it says.
pub fn open_pinned(jwe: &Direct, pinned: &ResourceUri, key: &Secret<32>) -> Result<SecretBytes, StockError> {
    check_pinned(jwe, pinned)?;
    Ok(jwe.open(key)?)
}

/// Whether a JWE says that it is of the pin `trustee` and for `pinned`. Only [`open_pinned`] shows who said so.
pub fn check_pinned(jwe: &Direct, pinned: &ResourceUri) -> Result<(), StockError> {
    let foreign =
        |have: String| StockError::Foreign { have: have.chars().take(200).collect(), want: pinned.clone() };
    let clevis = jwe.claim("clevis").map(Clevis::deserialize).and_then(Result::ok);
    let Clevis { pin, path } = clevis.ok_or_else(|| foreign("no pin and path".to_owned()))?;
    if pin != PIN {
        return Err(foreign(format!("the pin {pin}")));
    }
    match ResourceUri::from_clevis(&path) {
        Ok(uri) if uri == *pinned => Ok(()),
        Ok(uri) => Err(foreign(uri.to_string())),
        Err(error) => Err(foreign(error.to_string())),
    }
}

/// Reads the header once and judges it.
pub fn read_header(root: &mut File, form: KeyForm) -> Result<PassphraseHeader, StockError> {
    let by = match form {
        KeyForm::Jwk => OpenedBy::Clevis,
        KeyForm::Raw | KeyForm::Confdata => OpenedBy::Passphrase,
    };
    let bytes = passphrase::read(root).map_err(UnlockError::from)?;
    Ok(passphrase::judge(bytes, by).map_err(UnlockError::from)?)
}

/// Maps the volume as /dev/mapper/`name`.
pub fn open(
    header: &PassphraseHeader,
    root: &Path,
    pinned: &ResourceUri,
    key: &LuksKey,
    name: &Name,
) -> Result<Opened, StockError> {
    let from_token;
    let passphrase = match (key, header.clevis()) {
        (LuksKey::Token(key), Some(token)) => {
            from_token = token_passphrase(token, pinned, key)?;
            &from_token
        }
        (LuksKey::Passphrase(passphrase), _) => passphrase,
        // A header that is opened by clevis has a token.
        (LuksKey::Token(_), None) => return Err(StockError::Token(JweError::Form)),
    };
    Ok(open_by_passphrase(header, root, passphrase.expose(), name).map_err(UnlockError::from)?)
}

/// Writes the files, each for root alone, below `root`: `/` on a node. Their folders are made for root alone.
pub fn write_files(root: &Path, files: &[(Wanted, SecretBytes)]) -> Result<(), StockError> {
    for (file, content) in files {
        let path = root.join(file.path.strip_prefix("/").unwrap_or(&file.path));
        let fail = |source| StockError::Write { path: file.path.display().to_string(), source };
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
        }
        write_file(&path, content.expose(), 0o600).map_err(fail)?;
        let mode = fs::metadata(&path).map_err(fail)?.permissions().mode();
        if mode & 0o777 != 0o600 {
            return Err(fail(std::io::Error::other(format!("has the mode {:o}", mode & 0o777))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
