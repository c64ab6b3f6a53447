//! Sessions with a stock key broker (Confidential Containers Trustee): its transcript, its resources, and the forms that keys have there.
//!
//! Nothing here sends or reads the member `ccnode`. What such a session does not prove is in docs/stock.md.

mod client;
mod evidence;
mod form;
mod sealed;
mod session;

pub use client::{StockClient, StockOutcome, StockSettings};
pub use form::{FormError, KeyForm, LuksKey};
pub use sealed::{SealedError, SealedSecret, Signer};
