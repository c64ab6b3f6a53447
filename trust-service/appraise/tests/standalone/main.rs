//! Quotes without a session: real ones with the outcome that they are known to have, and one mutation a check.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod attestation;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod vectors;
