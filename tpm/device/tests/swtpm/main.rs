//! The TPM device against a real software TPM over TCP: keys, activation, quote, extend, and what is left behind.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod activation;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod handles;
#[cfg(test)]
mod hcl;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod pcrs;
#[cfg(test)]
mod quote;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod voucher;
