//! The project's programs beside a stock broker.

// Written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod pool;
