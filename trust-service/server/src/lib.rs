//! The trust service: decides which nodes get their keys, and remembers why.
//!
//! [`serve::Server`] opens a folder that [`init::init`] made. Decisions are pure where they can be ([`enrol`], appraisal in
//! `ccnode-appraise`), and each is one transaction of the [`store`] together with its row in the [`audit`] log.

pub mod admin;
pub mod admitted;
mod ahead;
pub mod attest;
pub mod audit;
pub mod client;
pub mod collateral;
pub mod config;
pub mod cookie;
pub mod current;
pub mod enrol;
pub mod erase;
pub mod exit;
pub mod expiry;
pub mod extract;
pub mod files;
pub mod finish;
pub mod host;
pub mod init;
pub mod issuer;
pub mod kbs;
pub mod keys;
pub mod last;
pub mod metrics;
pub mod node_api;
pub mod once;
pub mod pki;
pub mod probes;
pub mod problem;
pub mod recovery;
pub mod references;
pub mod rekey;
pub mod release;
pub mod renew;
pub mod rotate;
pub mod rotation;
pub mod routes;
pub mod serve;
pub mod service;
pub mod shares;
pub mod stock;
pub mod store;
pub mod tls;
pub mod token;
