//! What is explained or compared with: an event log of any kind, or a tuple.

use crate::error::Unreadable;
use anyhow::Result;
use ccnode_evidence::{HashAlg, ImageTuple, PlatformTuple};
use ccnode_tpm_eventlog::{EventLog, Reference, Registers, summary};

/// One of the things that were given.
pub(crate) struct Subject<'a> {
    /// Where it is from, safe to print.
    pub(crate) name: String,
    pub(crate) what: What<'a>,
}

/// What it is.
pub(crate) enum What<'a> {
    Log(EventLog<'a>),
    Image(Box<ImageTuple>),
    Platform(Box<PlatformTuple>),
}

impl<'a> Subject<'a> {
    /// Finds out what the bytes are. JSON is a tuple, all else an event log.
    pub(crate) fn parse(name: &str, bytes: &'a [u8]) -> Result<Self> {
        let text = bytes.trim_ascii_start();
        let what = if text.starts_with(b"{") {
            tuple(text).map_err(|error| Unreadable(format!("{name}: {error}")))?
        } else {
            let log = EventLog::parse_any(bytes);
            What::Log(log.map_err(|error| Unreadable(format!("{name} is no event log: {error}")))?)
        };
        Ok(Self { name: name.to_owned(), what })
    }

    /// One line: what it is.
    pub(crate) fn summary(&self) -> String {
        match &self.what {
            What::Log(log) => summary(log),
            What::Image(tuple) => {
                format!("image tuple {} {}", printable(&tuple.name), printable(&tuple.version))
            }
            What::Platform(tuple) => format!("platform tuple {}", printable(&tuple.name)),
        }
    }

    /// For machines: "log", "image", "platform".
    pub(crate) fn kind(&self) -> &'static str {
        match self.what {
            What::Log(_) => "log",
            What::Image(_) => "image",
            What::Platform(_) => "platform",
        }
    }

    pub(crate) fn log(&self) -> Option<&EventLog<'a>> {
        match &self.what {
            What::Log(log) => Some(log),
            _ => None,
        }
    }

    /// What a tuple expects, and the command line that an image's says.
    pub(crate) fn references(&self) -> Option<(Vec<Reference<'_>>, Option<&str>)> {
        match &self.what {
            What::Log(_) => None,
            What::Image(tuple) => Some((Reference::image(tuple), Some(&tuple.cmdline))),
            What::Platform(tuple) => Some((Reference::platform(tuple), None)),
        }
    }

    /// The values of its registers in one bank, in hex; of a log those that are extended.
    pub(crate) fn values(&self, alg: HashAlg) -> Vec<(u32, String)> {
        match &self.what {
            What::Log(log) => {
                let Ok(replay) = log.replay(alg) else { return Vec::new() };
                let value = |register| Some((register, hex::encode(replay.value(register)?)));
                replay.extended().filter_map(value).collect()
            }
            What::Image(tuple) => pcrs(&tuple.pcrs),
            What::Platform(tuple) => pcrs(&tuple.pcrs),
        }
    }

    /// What its registers count.
    pub(crate) fn registers(&self) -> Registers {
        self.log().map_or(Registers::Pcrs, |log| log.registers)
    }
}

fn pcrs(values: &ccnode_evidence::PcrValues) -> Vec<(u32, String)> {
    values.0.iter().map(|(pcr, value)| (pcr.get().into(), value.hex())).collect()
}

fn tuple(text: &[u8]) -> Result<What<'static>, ccnode_evidence::TupleError> {
    match ImageTuple::from_json(text) {
        Ok(tuple) => Ok(What::Image(Box::new(tuple))),
        // The members tell them apart; whichever comes further has the better error.
        Err(image) => match PlatformTuple::from_json(text) {
            Ok(tuple) => Ok(What::Platform(Box::new(tuple))),
            Err(ccnode_evidence::TupleError::Json(_)) => Err(image),
            Err(platform) => Err(platform),
        },
    }
}

/// Text of others on its way to a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if ccnode_evidence::is_obeyed(c) { '\u{fffd}' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b"), "a\u{fffd}[2J\u{fffd}b");
    }

    #[test]
    fn says_what_it_could_not_read() {
        let error = |bytes: &[u8]| match Subject::parse("x", bytes) {
            Ok(_) => panic!("read"),
            Err(error) => error.to_string(),
        };
        assert_eq!(error(b""), "x is no event log: the event log is empty");
        assert!(error(b" {}").starts_with("x: not a reference tuple: missing field"));
        assert!(error(b"{").starts_with("x: not a reference tuple: EOF"));
    }
}
