//! The client of the key broker protocol, `ccnode/1` and stock: session states, pinned TLS, bounded answers, retries.
//!
//! It sees no TPM, only a [`ccnode_evidence::EvidenceSource`]. The way of a session is [`session::Challenged`] →
//! [`session::Activated`] → [`session::Quoted`] → [`session::Attested`] → [`Grants`](ccnode_protocol::grants::Grants);
//! each state consumes the one before. [`Client::attest`] walks it, with retries inside one deadline.

mod client;
mod endpoints;
mod error;
mod evidence;
mod http;
mod retry;
pub mod session;
pub mod stock;
mod tls;

pub use client::{Client, Outcome, Settings, Subject};
pub use error::{AttestError, ClientError};
pub use kbs_types::InitData;
pub use retry::{Deadline, Retry};
pub use tls::{ClockAtLeast, PinError};
