//! Whose endorsement key it is: trust levels, the CAs of a pool, and the proof that one of them leads to a certificate.

use crate::ek_cert::EkCertError;
use crate::x509::{self, ChainFault, printable};
use crate::{Rejection, UnixTime};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::limits;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use x509_parser::prelude::X509Certificate;

/// How far evidence reaches; derived by the service, never claimed by a node. The strongest is the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustLevel {
    /// A vTPM whose key a confidential VM's report vouches for.
    TeeBoundVtpm,
    /// A confidential VM's report or quote alone.
    Tee,
    /// A TPM of its own, in hardware.
    DiscreteTpm,
    /// A TPM that the hypervisor's operator controls: no protection from the host.
    HypervisorVtpm,
}

impl TrustLevel {
    /// As it is printed and stored: `hypervisor-vtpm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TeeBoundVtpm => "tee-bound-vtpm",
            Self::Tee => "tee",
            Self::DiscreteTpm => "discrete-tpm",
            Self::HypervisorVtpm => "hypervisor-vtpm",
        }
    }
}

impl std::fmt::Display for TrustLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A CA, root or intermediate, that a pool trusts to certify endorsement keys. It also completes the chains of the pool's others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EkRoot {
    /// The CA's certificate, DER.
    pub cert_der: Vec<u8>,
    /// What an endorsement key below it is worth.
    pub level: TrustLevel,
}

impl EkRoot {
    /// Reads the CA's certificate, so that a bad one is refused when it is added and not when it is missed.
    pub fn parse(cert_der: Vec<u8>, level: TrustLevel) -> Result<Self, EkCertError> {
        let cert = x509::read(&cert_der, limits::EK_CERT)?;
        if !cert.is_ca() {
            return Err(EkCertError::NoCa);
        }
        if cert.key_usage().is_ok_and(|usage| usage.is_some_and(|usage| !usage.value.key_cert_sign())) {
            return Err(EkCertError::CaKeyUsage);
        }
        Ok(Self { cert_der, level })
    }

    /// The CA's subject, for people.
    pub fn subject(&self) -> String {
        x509::read(&self.cert_der, limits::EK_CERT).map(|c| c.subject().to_string()).unwrap_or_default()
    }
}

/// Proof that a CA of the pool leads to the EK certificate, all within their validity.
#[derive(Debug)]
pub struct EkChainValid {
    level: TrustLevel,
}

impl EkChainValid {
    /// Of the CAs that lead to the certificate, the weakest level counts.
    pub(crate) fn check(ek_cert: &[u8], roots: &[EkRoot], now: UnixTime) -> Result<Self, Rejection> {
        let question = Question::of(ek_cert, roots);
        if let Some(level) = question.answered(now) {
            return Ok(Self { level });
        }
        let leaf = x509::read(ek_cert, limits::EK_CERT).map_err(|e| Rejection::EkCertMalformed(e.into()))?;
        let (cas, levels) = readable(roots);
        let reached = x509::climb(&leaf, &cas, now);
        let level = reached.cas.iter().filter_map(|index| levels.get(*index).copied()).max();
        match (level, reached.expired) {
            (Some(level), _) => {
                // A climb that was cut short may find a weaker one the next time.
                if reached.fault != Some(ChainFault::TooMany) {
                    question.remember(level, x509::unchanged(cas.iter().chain([&leaf]), now));
                }
                Ok(Self { level })
            }
            (None, Some(expired)) => Err(Rejection::EkCertExpired {
                subject: expired.subject,
                not_before: expired.not_before,
                not_after: expired.not_after,
                now,
            }),
            (None, None) => Err(untrusted(&leaf, reached.fault)),
        }
    }

    /// What the endorsement key is worth.
    pub fn level(&self) -> TrustLevel {
        self.level
    }
}

/// What was found of a certificate below a pool's CAs, for as long as none of them begins or ends to be valid. A node comes back at each of its
/// boots, and reading three certificates takes as long as checking a signature. Nobody fills this without a certificate that a CA of some pool
/// leads to, and what is full is emptied.
static FOUND: Mutex<BTreeMap<Question, (TrustLevel, RangeInclusive<UnixTime>)>> = Mutex::new(BTreeMap::new());
/// Answers that are remembered: some 100 bytes each.
const REMEMBERED: usize = 1 << 14;

/// A certificate and a pool's CAs with their levels, by SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Question(Sha256Digest);

impl Question {
    fn of(ek_cert: &[u8], roots: &[EkRoot]) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(ek_cert);
        for root in roots {
            part(root.level.as_str().as_bytes());
            part(&root.cert_der);
        }
        Self(Sha256Digest(hash.finalize().into()))
    }

    fn answered(&self, now: UnixTime) -> Option<TrustLevel> {
        let found = FOUND.lock().ok()?;
        found.get(self).filter(|(_, unchanged)| unchanged.contains(&now)).map(|(level, _)| *level)
    }

    fn remember(self, level: TrustLevel, unchanged: RangeInclusive<UnixTime>) {
        if let Ok(mut found) = FOUND.lock() {
            if found.len() >= REMEMBERED {
                found.clear();
            }
            found.insert(self, (level, unchanged));
        }
    }
}

/// The pool's CAs as certificates, each with its level; none that can't be read was ever added.
fn readable(roots: &[EkRoot]) -> (Vec<X509Certificate<'_>>, Vec<TrustLevel>) {
    roots
        .iter()
        .filter_map(|root| Some((x509::read(&root.cert_der, limits::EK_CERT).ok()?, root.level)))
        .unzip()
}

fn untrusted(leaf: &X509Certificate<'_>, fault: Option<ChainFault>) -> Rejection {
    let issuer = printable(&leaf.issuer().to_string());
    match fault {
        None => Rejection::EkUntrusted { issuer },
        Some(fault) => Rejection::EkChain { issuer, fault },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_vectors as vectors;

    #[test]
    fn clouds_cas_are_taken() {
        for file in [
            "azure-hcl/ca/azure-virtual-tpm-root-2023.pem",
            "tpm-quote/ca/gcp_ek_ak_ca_root.crt",
            "tpm-quote/ca/gcp_ek_ak_ca_intermediate_v3.crt",
            "tpm-quote/ca/tpm_ek_root_1.cer",
            "tpm-quote/ca/tpm_ek_intermediate_2.crt",
        ] {
            let Some(bytes) = vectors::read(file) else { return };
            let der = match x509_parser::pem::parse_x509_pem(&bytes) {
                Ok((_, pem)) => pem.contents,
                Err(_) => bytes,
            };
            let root =
                EkRoot::parse(der, TrustLevel::HypervisorVtpm).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert!(root.subject().contains("CN="), "{file}");
        }
    }
}
