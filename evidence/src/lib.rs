//! The vocabulary of ccnode: digests, PCRs, nonces, transcripts, wire evidence, reference tuples and refusal codes.
//!
//! Bottom layer: no I/O, no C, no clock. Both ends of the protocol and every tool speak in these types.

pub mod codes;
mod digest;
mod encoding;
mod pcr;
mod secret;
mod source;
pub mod transcript;
mod tuple;
mod wire;

pub use codes::Code;
pub use digest::{DigestParseError, HashAlg, Sha256Digest};
pub use encoding::{Base64Std, Base64Url};
pub use pcr::{PcrIndex, PcrIndexError, PcrSet, PcrValues};
pub use secret::{Secret, SecretBytes};
pub use source::{Activated, EvidenceSource, Identity, QuoteParts};
pub use tuple::{IMAGE_PCRS, ImageTuple, PLATFORM_PCRS, PlatformTuple, TupleError, TupleEvent};
pub use wire::{CcnodeTpmEvidence, EventLogs, TdxEvidence, TpmEvidence, TpmQuote};

use serde::{Deserialize, Serialize};

/// The 32 random bytes of a challenge; hashed as their standard base64 text in the transcripts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "encoding::array_std")] pub [u8; 32]);

impl Nonce {
    /// The text form that travels and is hashed: standard base64 with padding (44 characters).
    pub fn text(&self) -> String {
        encoding::to_std(&self.0)
    }
}

/// Seconds since 1970-01-01 00:00:00 UTC; time is data in this project's judgements, never a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UnixTime(pub u64);

/// SHA-384 over a transcript (48 bytes); carriers take all of it or its first 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportData(pub [u8; 48]);

impl ReportData {
    /// What a TPM quote carries in `extraData`: the first 32 bytes.
    pub fn qualifying_data(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
        out
    }
}
