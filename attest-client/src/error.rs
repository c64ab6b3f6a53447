//! What can go wrong between node and service, each with its stable code and whether another attempt can cure it.

use ccnode_evidence::{Code, EvidenceKind, SnpFormError, UnixTime};
use ccnode_protocol::Problem;
use ccnode_protocol::jwe::JweError;
use rustls::CertificateError;
use std::time::Duration;

/// Past a certificate's end by more than this, the clock is at fault rather than the certificate.
const A_YEAR: u64 = 365 * 24 * 3600;

/// A failure of the exchange with the service.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No TCP connection, no answer in time, or a connection that ended early.
    #[error("{url}: {cause}")]
    Unreachable {
        /// The service's base URL.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// The certificate does not lead to a pinned CA, or is for another name.
    #[error("{url}: {cause}")]
    Untrusted {
        /// The service's base URL.
        url: String,
        /// What the verifier says.
        cause: String,
    },
    /// The certificate ended less than a year before the clock.
    #[error("{url}: the certificate ended {}, the clock says {}", UnixTime(*.not_after), UnixTime(*.now))]
    CertExpired {
        /// The service's base URL.
        url: String,
        /// The clock, seconds since 1970.
        now: u64,
        /// The certificate's end, seconds since 1970.
        not_after: u64,
    },
    /// The clock is past the certificate's end by more than a year.
    #[error("{url}: the clock says {}, the certificate ended {}", UnixTime(*.now), UnixTime(*.not_after))]
    ClockAfterCertificate {
        /// The service's base URL.
        url: String,
        /// The clock, seconds since 1970.
        now: u64,
        /// The certificate's end, seconds since 1970.
        not_after: u64,
    },
    /// The answer is not TLS 1.3, not HTTP, or not what the protocol says.
    #[error("{url}{path}: {cause}")]
    Garbage {
        /// The service's base URL.
        url: String,
        /// The path that was asked for.
        path: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// The answer's body is larger than a node reads.
    #[error("{url}{path}: more than {limit} bytes")]
    Oversized {
        /// The service's base URL.
        url: String,
        /// The path that was asked for.
        path: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// An error status that is no refusal with a code.
    #[error("{url}{path}: status {status}: {detail}")]
    Failed {
        /// The service's base URL.
        url: String,
        /// The path that was asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// The stock name of the error, the end of the body's `type`.
        kind: Option<Box<str>>,
        /// The body's `detail`, or what stands in for it.
        detail: String,
        /// Where the service gave one.
        correlation_id: Option<Box<str>>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// A refusal by the service, with its code.
    #[error("{}", .0.detail)]
    Refused(Box<Refused>),
    /// The challenge is a stock one while the configuration says `ccnode/1`.
    #[error("{url}: the challenge has no member `ccnode` of version 1")]
    ChallengeStock {
        /// The service's base URL.
        url: String,
    },
    /// The key broker refused the evidence; it says no more.
    #[error("{url}: {detail}")]
    EvidenceRefused {
        /// The service's base URL.
        url: String,
        /// The body's `detail`.
        detail: String,
    },
    /// The key broker does not give a resource: its policy denies it, or it has none of this name.
    #[error("{url}: {resource}: {detail}")]
    ResourceRefused {
        /// The service's base URL.
        url: String,
        /// The resource that was asked for.
        resource: String,
        /// The stock name of the error, and the body's `detail`.
        detail: String,
    },
    /// The key broker does not know the session any more.
    #[error("{url}: {resource}: {detail}")]
    SessionLost {
        /// The service's base URL.
        url: String,
        /// The resource that was asked for.
        resource: String,
        /// The body's `detail`.
        detail: String,
    },
    /// The stock protocol has no form for what this machine reports.
    #[error("the stock protocol has no form for {0}")]
    StockForm(&'static str),
    /// The session's key could not be made.
    #[error("the session's key: {0}")]
    Key(#[source] JweError),
    /// The thread that made the session's key is gone.
    #[error("the task that made the session's key was lost")]
    KeyLost,
    /// Evidence needs a capability that the machine does not have.
    #[error("the machine has neither a TPM nor hardware reports")]
    NoTpm,
    /// The evidence source made a report of another kind than it had announced.
    #[error("evidence of kind {announced} was announced, a report of kind {made} was made")]
    ReportKind {
        /// What the request said.
        announced: EvidenceKind,
        /// What came.
        made: EvidenceKind,
    },
    /// The report does not lead evidence in this way.
    #[error("a report of kind {0} has no form here")]
    ReportForm(EvidenceKind),
    /// The bytes are no SEV-SNP report, or not one that its form can carry.
    #[error("SEV-SNP report: {0}")]
    SnpForm(#[source] SnpFormError),
    /// Azure's form of a quote knows RSASSA with SHA-256 alone.
    #[error("the quote's signature is not RSASSA with SHA-256")]
    QuoteScheme,
    /// The transcript could not be made.
    #[error("transcript: {0}")]
    Transcript(#[source] ccnode_evidence::transcript::TranscriptError),
}

/// A refusal as the service sent it; `code` is what makes it one.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// The sentence.
    pub detail: String,
    /// Finds the decision in the service's log.
    pub correlation_id: Option<String>,
    /// The PCR at fault, after activation.
    pub pcr: Option<u8>,
    /// The event at fault, after activation.
    pub event: Option<String>,
    /// The closest known image or platform, after activation.
    pub closest: Option<String>,
    /// Every difference from it, after activation; the event at fault first.
    pub differences: Vec<String>,
    /// How long the service asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// A problem body is a refusal where it carries a code.
    pub(crate) fn of(problem: Problem, retry_after: Option<Duration>) -> Option<Self> {
        Some(Self {
            code: problem.code?,
            detail: problem.detail,
            correlation_id: problem.correlation_id,
            pcr: problem.pcr,
            event: problem.event,
            closest: problem.closest,
            differences: problem.differences,
            retry_after,
        })
    }
}

/// What another attempt needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cure {
    /// Nothing helps.
    None,
    /// Another URL: whoever answers at this one is not the service, or not well.
    Elsewhere,
    /// The same request again.
    Again,
    /// A new session from its start.
    NewSession,
}

impl ClientError {
    /// The code that console and service see.
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } => Code::ServiceUnreachable,
            Self::Untrusted { .. } => Code::ServiceUntrusted,
            Self::CertExpired { .. } => Code::ServiceCertExpired,
            Self::ClockAfterCertificate { .. } => Code::ClockAfterCertificate,
            Self::Garbage { .. } => Code::ServiceGarbage,
            Self::Oversized { .. } => Code::ServiceOversized,
            Self::Failed { .. } => Code::ServiceFailed,
            Self::Refused(refused) => refused.code,
            Self::ChallengeStock { .. } => Code::ChallengeStock,
            Self::NoTpm => Code::TpmMissing,
            Self::EvidenceRefused { .. } => Code::EvidenceRefused,
            Self::ResourceRefused { .. } | Self::SessionLost { .. } => Code::ResourceRefused,
            Self::StockForm(_) => Code::StockEvidence,
            Self::ReportKind { .. }
            | Self::ReportForm(_)
            | Self::SnpForm(_)
            | Self::QuoteScheme
            | Self::Key(_)
            | Self::KeyLost
            | Self::Transcript(_) => Code::NodeInternal,
        }
    }

    /// The refusal, where the service sent one.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// How long the service asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failed { retry_after, .. } => *retry_after,
            Self::Refused(refused) => refused.retry_after,
            _ => None,
        }
    }

    pub(crate) fn cure(&self) -> Cure {
        match self {
            Self::Unreachable { .. } => Cure::Again,
            Self::Untrusted { .. }
            | Self::CertExpired { .. }
            | Self::ClockAfterCertificate { .. }
            | Self::Garbage { .. }
            | Self::Oversized { .. } => Cure::Elsewhere,
            Self::SessionLost { .. } => Cure::NewSession,
            Self::Failed { status, .. } if *status >= 500 || matches!(status, 408 | 429) => Cure::Again,
            Self::Refused(refused) => match refused.code {
                Code::SessionUnknown | Code::SessionExpired | Code::NonceSpent | Code::QuotePcrDigest => {
                    Cure::NewSession
                }
                Code::Internal | Code::SessionsTooMany | Code::ReleasesTooMany => Cure::Again,
                _ => Cure::None,
            },
            _ => Cure::None,
        }
    }

    /// Sorts an error of the HTTP client by whose fault it is.
    pub(crate) fn of(url: &str, path: &str, timeout: Duration, error: &reqwest::Error) -> Self {
        let (url, path) = (url.to_owned(), path.to_owned());
        if let Some(tls) = tls_error(error) {
            return Self::tls(url, path, tls);
        }
        if error.is_timeout() {
            let cause = match error.is_connect() {
                true => "no connection in time".to_owned(),
                false => format!("no answer in {} ms", timeout.as_millis()),
            };
            return Self::Unreachable { url, cause };
        }
        let cause = innermost(error);
        // A connection that ends early is a network failure; bytes that are not HTTP are not.
        match parse_error(error) {
            true => Self::Garbage { url, path, cause },
            false => Self::Unreachable { url, cause },
        }
    }

    fn tls(url: String, path: String, error: &rustls::Error) -> Self {
        use rustls::Error as Tls;
        match error {
            Tls::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
                let (now, not_after) = (time.as_secs(), not_after.as_secs());
                match now.saturating_sub(not_after) > A_YEAR {
                    true => Self::ClockAfterCertificate { url, now, not_after },
                    false => Self::CertExpired { url, now, not_after },
                }
            }
            Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented | Tls::UnsupportedNameType => {
                Self::Untrusted { url, cause: error.to_string() }
            }
            _ => Self::Garbage { url, path, cause: error.to_string() },
        }
    }
}

/// A failure of a whole attestation: of the exchange, of the evidence source, or of whoever makes the request.
#[derive(Debug, thiserror::Error)]
pub enum AttestError<E: std::error::Error + 'static, C: std::error::Error + 'static> {
    /// The exchange failed.
    #[error(transparent)]
    Client(ClientError),
    /// The evidence source failed.
    #[error(transparent)]
    Source(E),
    /// The certificate request could not be made.
    #[error(transparent)]
    Csr(C),
}

fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

/// rustls' error, which travels inside an `io::Error` (whose `source` skips it).
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    chain(error).find_map(|e| {
        let direct = e.downcast_ref::<rustls::Error>();
        direct.or_else(|| {
            let inner = e.downcast_ref::<std::io::Error>()?.get_ref()?;
            inner.downcast_ref::<rustls::Error>().or_else(|| {
                inner.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()
            })
        })
    })
}

fn parse_error(error: &reqwest::Error) -> bool {
    let io = chain(error).any(|e| e.is::<std::io::Error>());
    let incomplete = innermost(error).contains("connection closed before message completed");
    !io && !incomplete && !error.is_connect()
}

fn innermost(error: &reqwest::Error) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_are_named() {
        let url = || "https://a".to_owned();
        let error = ClientError::CertExpired { url: url(), now: 1_800_000_000, not_after: 1_799_999_999 };
        let text = error.to_string();
        assert!(text.contains("2027-01-15T08:00:00Z") && text.contains("2027-01-15T07:59:59Z"), "{text}");
        let error = ClientError::ClockAfterCertificate { url: url(), now: u64::MAX, not_after: 0 };
        assert!(error.to_string().contains("18446744073709551615"));
    }

    #[test]
    fn refusals_are_not_tried_again() {
        let refused = |code| {
            let problem = Problem {
                kind: String::new(),
                detail: String::new(),
                code: Some(code),
                correlation_id: None,
                pcr: None,
                event: None,
                closest: None,
                differences: Vec::new(),
            };
            ClientError::Refused(Box::new(Refused::of(problem, None).unwrap())).cure()
        };
        assert_eq!(refused(Code::PlatformUnknown), Cure::None);
        assert_eq!(refused(Code::NodePending), Cure::None);
        assert_eq!(refused(Code::SessionExpired), Cure::NewSession);
        assert_eq!(refused(Code::Internal), Cure::Again);
        assert_eq!(refused(Code::SessionsTooMany), Cure::Again);
        assert_eq!(refused(Code::ReleasesTooMany), Cure::Again);
    }
}
