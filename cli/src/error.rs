//! What can go wrong, said once: as a sentence for people, as JSON for machines, and as an exit code.

use ccnode_evidence::Code;
use ccnode_images::BuildError;
use ccnode_protocol::{PROBLEM_TYPE_BASE, Problem};
use serde_json::json;

/// An error that the service named.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Problem);

impl Refused {
    /// Whether a stock service has no reference value of the name that was asked for; it has one type for all errors of them.
    pub(crate) fn is_of_reference_values(&self) -> bool {
        self.0.kind.strip_prefix(PROBLEM_TYPE_BASE) == Some("RvpsError")
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)?;
        if let Some(code) = self.0.code {
            write!(f, " ({code}). {}", code.action())?;
        }
        if let Some(id) = &self.0.correlation_id {
            write!(f, " [{id}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// Who is spoken to: what helps differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peer {
    /// The trust service of the context.
    Service,
    /// Trustee, as `--ca` and its URL say.
    Trustee,
}

/// This peer, at this URL, could not be reached.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) Peer, pub(crate) String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(peer, url) = self;
        match peer {
            Peer::Service => {
                write!(f, "the trust service at {url} does not answer: is `ccnode-trust serve` running?")
            }
            Peer::Trustee => write!(f, "Trustee at {url} does not answer: is it running there?"),
        }
    }
}

impl std::error::Error for Unreachable {}

/// TLS failed: this peer's certificate at this URL, or the service's view of the context's, was not accepted.
#[derive(Debug)]
pub(crate) struct Mistrust(pub(crate) Peer, pub(crate) String);

impl std::fmt::Display for Mistrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(peer, url) = self;
        match peer {
            Peer::Service => write!(
                f,
                "the trust service at {url} and this context do not accept each other: the context belongs to another \
                 service, or a certificate has expired (`ccnode-trust renew DIR` there, then copy its folder `admin` again)"
            ),
            Peer::Trustee => write!(
                f,
                "the certificate of Trustee at {url} is not below the CA of --ca, not for this name, or has expired"
            ),
        }
    }
}

impl std::error::Error for Mistrust {}

/// What the person at the keyboard has to correct.
#[derive(Debug)]
pub(crate) struct Usage {
    what: String,
    next: String,
}

impl Usage {
    /// What is wrong, and what to do about it; both without a full stop.
    pub(crate) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.next)
    }
}

impl std::error::Error for Usage {}

/// What was given does not do what was asked, for a reason of policy or of cryptography.
#[derive(Debug)]
pub(crate) struct Denied {
    what: String,
    next: String,
}

impl Denied {
    /// What is wrong, and what to do about it; both without a full stop.
    pub(crate) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.next)
    }
}

impl std::error::Error for Denied {}

/// Evidence that can't be read as what it should be, or can't be compared.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) String);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// An error as it leaves the program.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Report {
    /// 2 for mistakes in what was given, 3 for a refusal or what can't be read, 4 where trying later may help, 5 for mistrust, 1 for the rest.
    pub(crate) exit: u8,
    /// All of it for people.
    pub(crate) sentence: String,
    /// A code of docs/codes.md, or one of `usage`, `unreadable`, `unreachable`, `untrusted`, `refused`, `failed`.
    code: String,
    /// What happened, without what to do.
    message: String,
    next: String,
    correlation_id: Option<String>,
}

impl Report {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let refused =
            error.chain().find_map(|cause| cause.downcast_ref::<Refused>()).map(|Refused(problem)| problem);
        let (exit, code, next) = class(error, refused);
        Self {
            exit,
            sentence: chain(error, ToString::to_string),
            code,
            message: chain(error, |cause| {
                let usage = cause.downcast_ref::<Usage>().map(|usage| &usage.what);
                let denied = cause.downcast_ref::<Denied>().map(|denied| &denied.what);
                match (cause.downcast_ref::<Refused>(), usage.or(denied)) {
                    (Some(Refused(problem)), _) => problem.detail.clone(),
                    (None, Some(what)) => what.clone(),
                    (None, None) => cause.to_string(),
                }
            }),
            next,
            correlation_id: refused.and_then(|problem| problem.correlation_id.clone()),
        }
    }

    /// What clap says of a command line that it can't read.
    pub(crate) fn of_command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let said = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        let message = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let next = "see `--help` of the command".to_owned();
        Self { exit: 2, sentence: text, code: "usage".into(), message, next, correlation_id: None }
    }

    /// One line: `{"error":{"code":…,"message":…,"next":…}}`, with `correlation-id` where the service gave one.
    pub(crate) fn json(&self) -> String {
        let Self { code, message, next, .. } = self;
        let mut error = json!({ "code": code, "message": message, "next": next });
        if let (Some(id), Some(members)) = (&self.correlation_id, error.as_object_mut()) {
            members.insert("correlation-id".into(), id.clone().into());
        }
        json!({ "error": error }).to_string()
    }
}

/// Exit code, code and next step.
fn class(error: &anyhow::Error, refused: Option<&Problem>) -> (u8, String, String) {
    let causes = || error.chain();
    let of = |exit, code: &str, next: &str| (exit, code.to_owned(), next.to_owned());
    if let Some(usage) = causes().find_map(|cause| cause.downcast_ref::<Usage>()) {
        of(2, "usage", &usage.next)
    } else if let Some(denied) = causes().find_map(|cause| cause.downcast_ref::<Denied>()) {
        of(3, "refused", &denied.next)
    } else if let Some(Mistrust(peer, _)) = causes().find_map(|cause| cause.downcast_ref()) {
        let next = match peer {
            Peer::Service => "copy the folder `admin` of this service, after `ccnode-trust renew DIR` there",
            Peer::Trustee => {
                "give the CA of Trustee's certificate with --ca, and the name in that certificate"
            }
        };
        of(5, "untrusted", next)
    } else if causes().any(|cause| cause.is::<Unreadable>()) {
        of(
            3,
            "unreadable",
            "take the file anew where it comes from, and see that it is of the kind that is asked for",
        )
    } else if causes().any(is_mistake) {
        of(2, "usage", "correct what the message names")
    } else if causes().any(|cause| cause.is::<ccnode_bundle::BundleError>()) {
        of(3, "refused", "take a bundle that a pinned key signed and whose date has not passed")
    } else if let Some(problem) = refused {
        let exit = if problem.code == Some(Code::Internal) { 4 } else { 3 };
        match problem.code {
            Some(code) => of(exit, code.as_str(), code.action()),
            None => of(exit, "refused", "look into the service's log"),
        }
    } else if let Some(Unreachable(peer, _)) = causes().find_map(|cause| cause.downcast_ref()) {
        let next = match peer {
            Peer::Service => "start `ccnode-trust serve` there, or correct `url` of the context",
            Peer::Trustee => "start Trustee there, or correct its URL",
        };
        of(4, "unreachable", next)
    } else {
        of(1, "failed", "correct what the message names, and report it if that does not help")
    }
}

/// A mistake in what was given, by the errors of others.
fn is_mistake(cause: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    let io = cause.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| matches!(e.kind(), NotFound | IsADirectory | NotADirectory))
        || cause.is::<ccnode_bundle::ItemError>()
        || cause.is::<ccnode_bundle::KeyError>()
        || cause
            .downcast_ref::<BuildError>()
            .is_some_and(|e| matches!(e, BuildError::Recipe(_) | BuildError::Config { .. }))
}

/// The causes, outermost first, without those that another one's text holds already.
fn chain(error: &anyhow::Error, say: impl Fn(&(dyn std::error::Error + 'static)) -> String) -> String {
    let mut text = String::new();
    for cause in error.chain().map(say) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(&format!("{colon}{cause}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    fn problem(code: Option<Code>) -> anyhow::Error {
        let (detail, id) = ("`x` is in use".to_owned(), Some("1f".to_owned()));
        let kind = String::new();
        let differences = Vec::new();
        anyhow!(Refused(Problem {
            kind,
            detail,
            code,
            correlation_id: id,
            pcr: None,
            event: None,
            closest: None,
            differences,
        }))
    }

    #[test]
    fn every_kind_has_exit_code_code_and_next_step() {
        let io = |kind| anyhow::Error::from(std::io::Error::from(kind)).context("reading x");
        for (error, exit, code) in [
            (anyhow!(Usage::new("a", "b")).context("c"), 2, "usage"),
            (io(std::io::ErrorKind::NotFound), 2, "usage"),
            (io(std::io::ErrorKind::IsADirectory), 2, "usage"),
            (io(std::io::ErrorKind::NotADirectory), 2, "usage"),
            (io(std::io::ErrorKind::PermissionDenied), 1, "failed"),
            (anyhow!(Unreadable("x is no event log".into())), 3, "unreadable"),
            (anyhow!(Denied::new("a", "b")).context("c"), 3, "refused"),
            (anyhow!(Mistrust(Peer::Service, "https://x".into())).context("unknown"), 5, "untrusted"),
            (anyhow!(Unreachable(Peer::Service, "https://x".into())).context("refused"), 4, "unreachable"),
            (problem(Some(Code::Conflict)).context("no pool was made"), 3, "conflict"),
            (problem(Some(Code::Internal)), 4, "internal"),
            (problem(None), 3, "refused"),
        ] {
            let report = Report::of(&error);
            assert_eq!((report.exit, report.code.as_str()), (exit, code), "{error:#}");
            assert!(!report.next.is_empty());
        }
        assert_eq!(Report::of(&problem(Some(Code::Conflict))).next, Code::Conflict.action());
        let usage = Report::of(&anyhow!(Usage::new("a", "b")).context("c"));
        assert_eq!(
            (usage.sentence.as_str(), usage.message.as_str(), usage.next.as_str()),
            ("c: a: b", "c: a", "b")
        );
    }

    #[test]
    fn trustee_is_not_taken_for_the_service() {
        let url = || "https://x".to_owned();
        for error in [anyhow!(Unreachable(Peer::Trustee, url())), anyhow!(Mistrust(Peer::Trustee, url()))] {
            let Report { sentence, next, exit, .. } = Report::of(&error);
            assert!(
                sentence.contains("Trustee at https://x") && next.contains("Trustee"),
                "{sentence}: {next}"
            );
            assert!(!format!("{sentence}{next}").contains("ccnode-trust"), "{sentence}: {next}");
            assert!(exit == 4 || exit == 5);
        }
    }

    #[test]
    fn json_is_one_line_whatever_the_text() {
        let report = Report::of(&anyhow!("a \"b\"\n{}", '\u{1b}'));
        let line = report.json();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["error"]["message"], "a \"b\"\n\u{1b}");
        assert_eq!(value["error"].as_object().unwrap().len(), 3);
        let line = Report::of(&problem(Some(Code::Conflict)).context("no pool was made")).json();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["error"]["message"], "no pool was made: `x` is in use");
        assert_eq!(value["error"]["correlation-id"], "1f");
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = Err::<(), _>(anyhow!("deep")).context("x: deep").context("outer").unwrap_err();
        assert_eq!(chain(&error, ToString::to_string), "outer: x: deep");
    }
}
