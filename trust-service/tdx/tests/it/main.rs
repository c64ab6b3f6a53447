//! TD quotes and collateral under test roots: what is good passes, and each field that is changed has its own refusal.

#[cfg(test)]
mod chain;
#[cfg(test)]
mod collateral;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod members;
#[cfg(test)]
mod pck;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod quote;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod tcb;
#[cfg(test)]
mod td_report;
#[cfg(test)]
mod world;
