//! Against recordings of a real key broker service.

// `cfg(test)` holds for all of an integration test; written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod transcripts;
