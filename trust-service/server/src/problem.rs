//! Refusals: made where something is decided, recorded and answered in one place.

use crate::store::Machine;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ccnode_appraise::{Refused, Rejection};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::admin::{HardwareRecord, Kept, NodeState, RefusedBy, TrustLevel};
use ccnode_protocol::{NodeName, PROBLEM_TYPE_BASE, PoolName, Problem, RefusalText};

/// Longest sentence that is stored or sent.
const DETAIL: usize = 2048;

/// Bytes of all differences of a refusal: a log of a megabyte differs in a great many events.
const DIFFERENCES: usize = 16 * 1024;

/// A decision against a request. Handlers return it; [`crate::finish`] records, logs and answers it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The sentence with its values; safe to print.
    pub detail: String,
    /// What it is about.
    pub about: Box<About>,
}

/// What a refusal is about.
#[derive(Clone, Debug)]
pub struct About {
    /// Who refused.
    pub by: RefusedBy,
    /// The pool.
    pub pool: Option<PoolName>,
    /// The node.
    pub node: Option<NodeName>,
    /// Whether the EK chain and the activation were proven: only then does the answer explain.
    pub proven: bool,
    /// The PCR at fault.
    pub pcr: Option<u8>,
    /// The event at fault.
    pub event: Option<String>,
    /// The closest known tuple.
    pub closest: Option<String>,
    /// All differences from it.
    pub differences: Vec<String>,
    /// The image that matched.
    pub image: Option<Sha256Digest>,
    /// The platform that matched.
    pub platform: Option<Sha256Digest>,
    /// The level that was derived.
    pub level: Option<TrustLevel>,
    /// What the hardware proved, as far as it did.
    pub hardware: Option<HardwareRecord>,
    /// What is kept of the evidence.
    pub kept: Option<Kept>,
    /// The TPM that activated.
    pub machine: Option<Machine>,
    /// The node's own correlation id, where the node refused.
    pub correlation_id: Option<String>,
    /// When to try again, seconds from now, where that alone helps.
    pub retry_after: Option<u32>,
    /// Why the service failed, for its log alone.
    pub cause: Option<String>,
}

impl Default for About {
    fn default() -> Self {
        Self {
            by: RefusedBy::Service,
            pool: None,
            node: None,
            proven: false,
            pcr: None,
            event: None,
            closest: None,
            differences: Vec::new(),
            image: None,
            platform: None,
            level: None,
            hardware: None,
            kept: None,
            machine: None,
            correlation_id: None,
            retry_after: None,
            cause: None,
        }
    }
}

impl Refusal {
    /// A refusal that is about nobody in particular yet.
    pub fn new(code: Code, detail: impl std::fmt::Display) -> Self {
        Self { code, detail: printable(&detail.to_string()), about: Box::default() }
    }

    /// A failure of the service itself. The cause goes into its log, never into the answer.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let text = "the service failed; its log has the cause under this correlation id";
        let mut refusal = Self::new(Code::Internal, text);
        refusal.about.cause = Some(printable(&cause.to_string()));
        refusal
    }

    /// Appraisal's refusal.
    pub fn appraised(refused: Refused) -> Self {
        let Refused { rejection, kept } = refused;
        let mut refusal = Self::from(&rejection);
        let about = &mut *refusal.about;
        about.proven = kept.activation_proven;
        about.pcr = rejection.pcr().map(|pcr| pcr.get());
        about.event = rejection.event().map(|text| printable(&text));
        about.closest = rejection.closest().map(printable);
        about.differences = bounded(rejection.differences().iter().map(|d| printable(&d.sentence)));
        about.image = kept.image;
        about.platform = kept.platform;
        about.level = kept.level.map(crate::references::level);
        about.hardware = kept.hardware;
        about.kept = match (kept.activation_proven, kept.logs, kept.pcrs) {
            (true, Some(logs), Some(pcrs)) => Some(Kept { logs, pcrs }),
            _ => None,
        };
        refusal
    }

    /// Names the pool and the node that it is about.
    #[must_use]
    pub fn of(mut self, pool: &PoolName, node: &NodeName) -> Self {
        self.about.pool = Some(pool.clone());
        self.about.node = Some(node.clone());
        self
    }

    /// Names the TPM that activated.
    #[must_use]
    pub fn by_machine(mut self, machine: Option<&Machine>) -> Self {
        self.about.machine = machine.cloned();
        self
    }

    /// Says that the peer proved who it is.
    #[must_use]
    pub fn proven(mut self) -> Self {
        self.about.proven = true;
        self
    }

    /// What a node in another state than active is told.
    pub fn of_state(state: NodeState, name: &NodeName, reason: Option<&str>) -> Option<Self> {
        let code = match state {
            NodeState::Active => return None,
            NodeState::Pending => Code::NodePending,
            NodeState::Quarantined => Code::NodeQuarantined,
            NodeState::Revoked => Code::NodeRevoked,
            NodeState::Retired => Code::NodeRetired,
        };
        let state = match state {
            NodeState::Active | NodeState::Pending => "waits for approval",
            NodeState::Quarantined => "is in quarantine",
            NodeState::Revoked => "is revoked",
            NodeState::Retired => "is retired",
        };
        let because = reason.map(|r| format!(": {r}")).unwrap_or_default();
        Some(Self::new(code, format!("{name} {state}{because}")))
    }

    /// The body of the answer.
    pub fn problem(&self, correlation_id: &str) -> Problem {
        let about = &self.about;
        let explained = about.proven && about.by == RefusedBy::Service;
        Problem {
            kind: format!("{PROBLEM_TYPE_BASE}{}", variant(self.code)),
            detail: self.detail.clone(),
            code: Some(self.code),
            correlation_id: Some(correlation_id.to_owned()),
            pcr: about.pcr.filter(|_| explained),
            event: about.event.clone().filter(|_| explained),
            closest: about.closest.clone().filter(|_| explained),
            differences: if explained { about.differences.clone() } else { Vec::new() },
        }
    }

    /// As the node's console prints it, where it is told all.
    pub fn text(&self, correlation_id: &str) -> String {
        let about = &self.about;
        let text = RefusalText {
            code: self.code,
            detail: &self.detail,
            pcr: about.pcr,
            event: about.event.as_deref(),
            closest: about.closest.as_deref(),
            differences: &about.differences,
            id: correlation_id,
        };
        text.to_string()
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        Self::new(rejection.code(), rejection)
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        Self::internal(error)
    }
}

// The answer is completed by the outermost layer, which knows the correlation id and records it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The stock error that is closest.
fn variant(code: Code) -> &'static str {
    match code {
        Code::ResourceUnknown => "PolicyDeny",
        Code::Internal => "Internal",
        Code::NotFound => "NotFound",
        Code::Conflict => "Conflict",
        Code::BodyTooLarge => "BodyTooLarge",
        Code::AdminUnauthenticated | Code::RoleMissing | Code::SecondAdministrator => "AdminAuth",
        _ => "AttestationError",
    }
}

/// The status of a refusal towards nodes: the stock service answers 401 for all that is no limit and no failure.
pub fn node_status(code: Code) -> StatusCode {
    match code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::SessionsTooMany | Code::ReleasesTooMany => StatusCode::TOO_MANY_REQUESTS,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// The status of a refusal towards administrators.
pub fn admin_status(code: Code) -> StatusCode {
    match code {
        Code::AdminUnauthenticated => StatusCode::UNAUTHORIZED,
        Code::RoleMissing | Code::SecondAdministrator => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Conflict => StatusCode::CONFLICT,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// As many sentences as a record may hold, and how many more there are.
fn bounded(sentences: impl Iterator<Item = String>) -> Vec<String> {
    let (mut out, mut room, mut more) = (Vec::new(), DIFFERENCES, 0);
    for sentence in sentences {
        match room.checked_sub(sentence.len()) {
            Some(left) if more == 0 => {
                room = left;
                out.push(sentence);
            }
            _ => more += 1,
        }
    }
    if more > 0 {
        out.push(format!("and {more} more"));
    }
    out
}

/// Text of others on its way to terminals: nothing that they obey, no more than 2048 bytes.
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if ccnode_evidence::is_obeyed(c) { '\u{fffd}' } else { c }) {
        if out.len() + c.len_utf8() > DETAIL {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proven_peer_is_told_more() {
        let mut refusal = Refusal::new(Code::ImageUnknown, "x");
        refusal.about.pcr = Some(11);
        refusal.about.event = Some("e".into());
        refusal.about.closest = Some("c".into());
        refusal.about.differences = vec!["e".into(), "f".into()];
        let problem = refusal.problem("id");
        assert_eq!((problem.pcr, problem.event, problem.closest), (None, None, None));
        assert!(problem.differences.is_empty());
        let problem = refusal.proven().problem("id");
        assert_eq!((problem.pcr, problem.event.as_deref()), (Some(11), Some("e")));
        assert_eq!(problem.closest.as_deref(), Some("c"));
        assert_eq!(problem.differences, ["e", "f"]);
    }

    #[test]
    fn evidence_is_kept_of_the_proven_alone() {
        let refused = |activation_proven| Refused {
            rejection: Rejection::ActivationFailed,
            kept: ccnode_appraise::Kept {
                logs: Some(Default::default()),
                pcrs: Some(Default::default()),
                activation_proven,
                ..Default::default()
            },
        };
        assert!(Refusal::appraised(refused(true)).about.kept.is_some());
        assert!(Refusal::appraised(refused(false)).about.kept.is_none());
    }

    #[test]
    fn differences_are_bounded_as_a_whole() {
        let of = |count| bounded((0..count).map(|_| "x".repeat(1024)));
        assert_eq!(of(16).len(), 16);
        let many = of(1000);
        assert_eq!((many.len(), many[16].as_str()), (17, "and 984 more"));
    }

    #[test]
    fn text_of_others_is_tamed() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{200f}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(printable("a\u{200b}b\u{2028}c\u{e0041}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(printable(&"é".repeat(DETAIL)).len(), DETAIL);
    }
}
