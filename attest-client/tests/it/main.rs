//! The client against a TLS server on loopback that answers well, badly, or not at all.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, as it should")]

mod exchange;
mod faults;
mod kinds;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod retry_after;
mod server;
#[cfg(test)]
mod several;
#[cfg(test)]
mod stock;
mod trust;
