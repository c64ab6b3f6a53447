//! Collateral for appraisal without the internet: certificates, revocation lists and TCB information, signed and dated.
//!
//! A bundle is a JSON list of [`Item`]s in a DSSE envelope (Dead Simple Signing Envelope, version 1.0.2), signed by ECDSA P-256 keys that
//! an administrator pins. [`open`] alone makes a [`Bundle`] of foreign bytes: who holds one need not ask for its signature or age.
//! What an item says is judged where it is used, against AMD's and Intel's own roots: a bundle can withhold, never forge.

mod envelope;
mod item;
mod key;

pub use envelope::{Bundle, BundleError, Draft, Freshness, MAX_BYTES, PAYLOAD_TYPE, inspect, open};
pub use item::{Item, ItemError, read_items};
pub use key::{KeyError, PublicKey, SecretKey};
