//! A refusal as the console and the service see it: code, sentence, what is at fault, and an id to find it by.

use ccnode_attest_client::ClientError;
use ccnode_evidence::Code;
use ccnode_evidence::codes::By;
use ccnode_node_config::{ConfigError, NotEnough};
use ccnode_protocol::RefusalText;

/// An error that has a stable code.
pub trait Coded: std::error::Error {
    /// The code.
    fn code(&self) -> Code;
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        Self::code(self)
    }
}

impl Coded for NotEnough {
    fn code(&self) -> Code {
        Self::code(self)
    }
}

/// Why a boot ends here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The sentence.
    pub detail: String,
    /// The PCR at fault, where the service named one.
    pub pcr: Option<u8>,
    /// The event at fault, where the service named one.
    pub event: Option<String>,
    /// The closest known image or platform, where the service named one.
    pub closest: Option<String>,
    /// How the boot differs from it, where the service said so; the event at fault first.
    pub differences: Box<[String]>,
    /// The service's correlation id, or our own.
    pub id: String,
}

impl Refusal {
    /// A refusal that the node decides itself.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: safe(&detail.into()),
            pcr: None,
            event: None,
            closest: None,
            differences: Box::default(),
            id: correlation_id(),
        }
    }

    /// A refusal out of the exchange with the service.
    pub fn of_client(error: &ClientError) -> Self {
        let mut refusal = Self::new(error.code(), error.to_string());
        let id = match error {
            ClientError::Refused(refused) => {
                refusal.pcr = refused.pcr;
                refusal.event = refused.event.as_deref().map(safe);
                refusal.closest = refused.closest.as_deref().map(safe);
                refusal.differences = refused.differences.iter().map(|text| safe(text)).collect();
                refused.correlation_id.as_deref()
            }
            ClientError::Failed { correlation_id, .. } => correlation_id.as_deref(),
            _ => None,
        };
        if let Some(id) = id {
            refusal.id = safe(id);
        }
        refusal
    }

    /// Whether the service does not know of it yet.
    pub fn is_ours(&self) -> bool {
        self.code.by() == By::Node
    }

    /// As it is printed, and as the service's audit record has it.
    pub fn text(&self) -> RefusalText<'_> {
        RefusalText {
            code: self.code,
            detail: &self.detail,
            pcr: self.pcr,
            event: self.event.as_deref(),
            closest: self.closest.as_deref(),
            differences: &self.differences,
            id: &self.id,
        }
    }
}

impl<E: Coded> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// 16 hexadecimal digits.
fn correlation_id() -> String {
    let mut bytes = [0; 8];
    // Without randomness it is all zeros, and still printed.
    let _ = getrandom::fill(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// Text from elsewhere must not steer a terminal, nor fill it.
pub(crate) fn safe(text: &str) -> String {
    const MAX: usize = 1500;
    let shown = text.chars().map(|c| if ccnode_evidence::is_obeyed(c) { ' ' } else { c });
    shown.take(MAX).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_can_not_steer_the_console() {
        let refusal = Refusal::new(Code::ServiceGarbage, "a\x1b[2J\nccnode [   1.0] attest  ok");
        assert_eq!(refusal.detail, "a [2J ccnode [   1.0] attest  ok");
        assert_eq!(Refusal::new(Code::ServiceGarbage, "ko\u{202e}ok\u{200b}").detail, "ko ok");
        assert_eq!(Refusal::new(Code::ServiceGarbage, "x".repeat(9000)).detail.len(), 1500);
    }

    #[test]
    fn every_refusal_has_an_id_and_a_next_step() {
        let (a, b) = (Refusal::new(Code::TpmMissing, ""), Refusal::new(Code::TpmMissing, ""));
        assert_ne!(a.id, b.id);
        assert!(a.text().lines().iter().any(|(name, _)| *name == "next"));
        assert!(a.is_ours() && !Refusal::new(Code::ImageUnknown, "").is_ours());
    }
}
