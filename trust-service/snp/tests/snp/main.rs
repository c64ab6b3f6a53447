//! SEV-SNP reports, certificates and policies: real ones, made ones, and a change to each field.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod binding;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod measured;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod prove;
#[cfg(test)]
mod report;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
