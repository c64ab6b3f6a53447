//! What a rejection is about: a log, a member of the request, the closest tuple and how it differs.

use ccnode_evidence::Sha256Digest;
use ccnode_tpm_eventlog::Difference;
use std::fmt;

/// Which of the two logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// The firmware's.
    Firmware,
    /// The node's own.
    Own,
    /// A TD's.
    Ccel,
}

impl fmt::Display for LogKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firmware => "the firmware's event log",
            Self::Own => "the node's own event log",
            Self::Ccel => "the CCEL",
        })
    }
}

/// A member that the transcript binds by digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Member {
    /// The certificate request.
    Csr,
    /// The init-data.
    InitData,
    /// The event logs and the command line.
    EventLogs,
    /// `ak_public` of the evidence, which repeats the attestation key.
    AkPublic,
    /// `ccnode` of the runtime data, which no stock transcript has.
    Ccnode,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csr => "csr",
            Self::InitData => "init-data",
            Self::EventLogs => "event-logs",
            Self::AkPublic => "ak_public",
            Self::Ccnode => "ccnode",
        })
    }
}

/// How proven evidence differs from the closest tuple that the pool knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explanation {
    /// The tuple in words: "image debian-12-worker 1"; `None` where the pool knows none.
    pub closest: Option<String>,
    /// Its id.
    pub closest_id: Option<Sha256Digest>,
    /// The event at fault first, then the others.
    pub differences: Vec<Difference>,
}

impl Explanation {
    pub(crate) fn sentence(&self, kind: &str) -> String {
        match (&self.closest, self.differences.first()) {
            (Some(closest), Some(first)) => {
                let more = match self.differences.len() - 1 {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                format!("unlike {closest}, {}{more}", first.sentence)
            }
            (Some(closest), None) => format!("the values differ from {closest}"),
            (None, _) => format!("the pool knows no {kind}"),
        }
    }
}
