//! Every step of the protocol under every fault: the node's real client, a proxy that spoils one step, and the real service as a
//! process of its own, killed and with a full disk where the fault says so. Every node has a swtpm. The table is left in
//! `target/faults.md`.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod after;
#[cfg(test)]
mod full;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod node;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod service;
