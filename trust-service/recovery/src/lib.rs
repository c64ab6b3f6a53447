//! A volume's recovery key, in shares: split and sealed on the node, opened and put together where its custodians are. No I/O.
//!
//! A node calls [`split`] alone; [`open`] and [`combine`] are for machines of custodians that are not on any network.

mod combine;
mod custodian;
mod split;

pub use combine::{CombineError, RecoveredKey, Share, combine};
pub use custodian::{CustodianKey, KeyError, OpenError, open};
pub use split::{SplitError, Volume, split};

#[cfg(test)]
mod tests;
