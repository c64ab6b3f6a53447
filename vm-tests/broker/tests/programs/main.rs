//! The project's programs beside a stock broker, and beside each other.

// Written out, it tells the lints that helpers are test code, too.
#[cfg(test)]
mod pool;
#[cfg(test)]
mod refusal;
