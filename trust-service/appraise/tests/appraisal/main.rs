//! Whole sessions against a TPM in software and against swtpm: the good one, and every way to be refused.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod ak_kinds;
#[cfg(test)]
mod certificate_request;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod ek_certs;
#[cfg(test)]
mod endorsement;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod good;
#[cfg(test)]
mod judged;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod members;
#[cfg(test)]
mod quote;
#[cfg(test)]
mod session;
#[cfg(test)]
mod swtpm;
#[cfg(test)]
mod swtpm_kinds;
#[cfg(test)]
mod world;
