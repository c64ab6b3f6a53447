//! TCG event logs: a bounded parser, typed events, replay, and the explanation of a log against reference tuples.
//!
//! A log comes from a machine that is not trusted. It is believed as far as it replays to quoted PCRs
//! ([`LogMatchesPcrs`]), and its text only where a digest covers it ([`Proof`]). No I/O, no C.

mod align;
mod cmdline;
mod describe;
mod device_path;
mod event;
pub mod event_type;
mod explain;
pub mod own;
mod parse;
mod payload;
mod reader;
pub mod render;
mod replay;
mod text;

pub use describe::Description;
pub use event::{Event, EventLog, Format, Proof, Registers};
pub use explain::{Cmdlines, Difference, DifferenceKind, Reference, explain, explain_unproven};
pub use parse::LogError;
pub use payload::{BootEntry, Gpt, Guid, ImageLoad, Partition, Payload, Separator, TableRef, Variable};
pub use replay::{LogMatchesPcrs, MatchError, Replay, ReplayError};
