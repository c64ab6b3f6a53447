//! The pin `trustee` of clevis, on a running node or in a distribution's initramfs: what is bound opens by attesting anew.
//!
//! The stock pin asks whatever server a token names. Here the servers, their CA and the one resource are in a file of the image, and a
//! token for another resource is refused before anybody is asked.

use crate::boot_time_clock;
use crate::config::{self, ConfigError, Service};
use crate::prover::ProofError;
use crate::refusal::{Coded, Refusal};
use crate::stock::{StockError, check_pinned, open_pinned};
use ccnode_attest_client::stock::{FormError, KeyForm, LuksKey, StockClient, StockSettings};
use ccnode_attest_client::{AttestError, ClientError, Deadline, PinError};
use ccnode_evidence::{Code, EvidenceSource, Secret, SecretBytes};
use ccnode_protocol::ResourceUri;
use ccnode_protocol::jwe::{Direct, JweError, SessionKeyKind, seal_direct};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Where the settings are, unless an option says otherwise.
pub const SETTINGS: &str = "/etc/ccnode/clevis.toml";
/// Longest text of either kind that is read from standard input, in bytes.
pub const MAX_INPUT: u64 = 64 * 1024;

/// Why the pin does nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClevisError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The pinned CAs.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The configuration that clevis was given is not the pin's.
    #[error("the configuration: {0}")]
    Config(String),
    /// The token.
    #[error(transparent)]
    Token(#[from] StockError),
    /// The exchange with the key broker.
    #[error(transparent)]
    Client(ClientError),
    /// The evidence.
    #[error(transparent)]
    Proof(ProofError),
    /// The key's resource.
    #[error("{resource}: {source}")]
    Form {
        /// The resource.
        resource: ResourceUri,
        /// What is wrong.
        #[source]
        source: FormError,
    },
    /// The JWE could not be made.
    #[error("the JWE: {0}")]
    Seal(#[source] JweError),
}

impl Coded for ClevisError {
    fn code(&self) -> Code {
        match self {
            Self::Settings(error) => error.code(),
            Self::Pins(_) | Self::Config(_) => Code::ConfigMalformed,
            Self::Token(error) => error.code(),
            Self::Client(error) => error.code(),
            Self::Proof(error) => error.code(),
            Self::Form { .. } => Code::ResourceMalformed,
            Self::Seal(_) => Code::NodeInternal,
        }
    }
}

/// `/etc/ccnode/clevis.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The one resource: base64 of a JWK.
    pub key: ResourceUri,
    /// The key brokers.
    pub service: Service,
    /// What the session's key is made of.
    #[serde(default)]
    pub session_key: SessionKeyKind,
}

/// The configuration that `clevis encrypt trustee` is given. What it says of servers goes into the token for others to read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    servers: Value,
    path: String,
    #[serde(default)]
    initdata: Option<Value>,
}

impl Settings {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let malformed = |detail| ConfigError::Malformed { path: path.to_owned(), detail };
        let text = String::from_utf8(config::read(path)?).map_err(|_| malformed("not UTF-8".to_owned()))?;
        let settings: Self = toml::from_str(&text).map_err(|e| malformed(e.message().to_owned()))?;
        match settings.service.ca.is_empty() {
            true => Err(malformed("[service] ca is empty".to_owned())),
            false => Ok(settings),
        }
    }

    /// Opens the JWE `text`, which must be for the pinned resource.
    pub async fn decrypt<S>(&self, text: &str, source: &S) -> Result<SecretBytes, ClevisError>
    where
        S: EvidenceSource<Error = ProofError>,
    {
        let jwe = Direct::from_compact(text).map_err(StockError::from)?;
        check_pinned(&jwe, &self.key)?;
        let key = self.fetch(source).await?;
        Ok(open_pinned(&jwe, &self.key, &key)?)
    }

    /// The JWE of `plain` by the configuration `given`, which must name the pinned resource.
    pub async fn encrypt<S>(&self, given: &str, plain: &[u8], source: &S) -> Result<String, ClevisError>
    where
        S: EvidenceSource<Error = ProofError>,
    {
        let given: Given = serde_json::from_str(given).map_err(|e| ClevisError::Config(e.to_string()))?;
        let path = ResourceUri::from_clevis(&given.path).map_err(|e| ClevisError::Config(e.to_string()))?;
        if path != self.key {
            return Err(StockError::Foreign { have: path.to_string(), want: self.key.clone() }.into());
        }
        let key = self.fetch(source).await?;
        let mut clevis = Map::new();
        clevis.insert("pin".to_owned(), "trustee".into());
        clevis.insert("servers".to_owned(), given.servers);
        clevis.insert("path".to_owned(), given.path.into());
        clevis.extend(given.initdata.map(|initdata| ("initdata".to_owned(), initdata)));
        let mut claims = Map::new();
        claims.insert("clevis".to_owned(), clevis.into());
        seal_direct(&key, claims, plain).map_err(ClevisError::Seal)
    }

    async fn fetch<S: EvidenceSource<Error = ProofError>>(
        &self,
        source: &S,
    ) -> Result<Secret<32>, ClevisError> {
        let pins = self.service.ca.iter().map(|path| config::read(path)).collect::<Result<_, _>>()?;
        let urls = self.service.urls.clone();
        let mut client =
            StockClient::new(StockSettings { urls, pins, clock: boot_time_clock(), key: self.session_key })?;
        let deadline = Deadline::after(self.service.deadline);
        let wants = std::slice::from_ref(&self.key);
        let fetched = client.fetch(source, wants, None, deadline, |_| ()).await;
        let outcome = fetched.map_err(|error| match error {
            AttestError::Client(error) => ClevisError::Client(error),
            AttestError::Source(error) => ClevisError::Proof(error),
            AttestError::Csr(never) => match never {},
        })?;
        let form = |source| ClevisError::Form { resource: self.key.clone(), source };
        let resource = outcome.resources.first().ok_or(StockError::Fewer)?;
        match KeyForm::Jwk.read(resource).map_err(form)? {
            LuksKey::Token(key) => Ok(key),
            LuksKey::Passphrase(_) => Err(form(FormError::Jwk)),
        }
    }
}

/// What is printed of an error, with the next step.
pub fn text(error: ClevisError) -> String {
    Refusal::from(error).text().to_string()
}
