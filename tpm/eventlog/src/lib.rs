//! TCG event logs: a bounded parser, typed events, replay, and the explanation of a log against reference tuples.
//!
//! A log comes from a machine that is not trusted. It is believed as far as it replays to quoted PCRs
//! ([`LogMatchesPcrs`]), and its text only where a digest covers it ([`Proof`]). No I/O, no C.

mod align;
mod cmdline;
mod compare;
mod describe;
mod device_path;
mod difference;
mod digests;
mod error;
mod event;
pub mod event_type;
mod explain;
mod grub;
mod hash;
pub mod own;
mod parse;
mod payload;
pub mod render;
mod replay;
mod spdm;
mod text;
mod view;
mod windows;

pub use cmdline::Cmdlines;
pub use describe::Description;
pub use difference::{Difference, DifferenceKind, Side};
pub use digests::Digests;
pub use error::LogError;
pub use event::{Event, EventLog, Format, NO_REGISTER, Proof, Registers};
pub use explain::{CompareError, Comparison, Reference, compare_logs, explain, explain_unproven};
pub use payload::{BootEntry, Gpt, Guid, ImageLoad, Partition, Payload, Separator, TableRef, Variable};
pub use replay::{LogMatchesPcrs, MatchError, Replay, ReplayError};
pub use spdm::Device;
pub use view::{EventView, RegisterView, View, summary};
