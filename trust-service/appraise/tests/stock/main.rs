//! Appraisal of what stock attesters sent to a real service, recorded with its nonces.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod recorded;
