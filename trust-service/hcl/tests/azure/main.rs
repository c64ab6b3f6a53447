//! Whole Azure evidence: every recorded file with its outcome, and reports of paravisors that are not recorded.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod forms;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod world;
