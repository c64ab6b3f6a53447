//! The service as nodes and administrators see it: a real server on loopback, TLS, a TPM in software.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod admin;
#[cfg(test)]
mod allocator;
#[cfg(test)]
mod allow_once;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod boots;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod client;
#[cfg(test)]
mod collateral;
#[cfg(test)]
mod data;
#[cfg(test)]
mod erase;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod hardware;
#[cfg(test)]
mod hidden;
#[cfg(test)]
mod history;
#[cfg(test)]
mod host;
#[cfg(test)]
mod interleaved;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod last_evidence;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod levels;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod proposals;
#[cfg(test)]
mod races;
#[cfg(test)]
mod rebind;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rekey;
#[cfg(test)]
mod release;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod session;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod stock;
#[cfg(test)]
mod stock_admin;
#[cfg(test)]
mod stock_attacks;
#[cfg(test)]
mod stock_clients;
#[cfg(test)]
mod stock_history;
#[cfg(test)]
mod stock_interleaved;
#[cfg(test)]
mod stock_kinds;
#[cfg(test)]
mod stock_resources;
#[cfg(test)]
mod stock_walk;
#[cfg(test)]
mod swapped;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod unit;
