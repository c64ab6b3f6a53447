//! Tests of the event log crate: recorded logs, malformed and hostile ones, and explanations.

#[cfg(test)]
mod build;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod components;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod quotes;
#[cfg(test)]
mod vectors;
