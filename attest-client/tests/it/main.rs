//! The client against a TLS server on loopback that answers well, badly, or not at all.

mod exchange;
mod faults;
mod server;
mod trust;
