//! Whole sessions against a TPM in software: the good one, and every way to be refused.

mod certificate_request;
mod endorsement;
mod good;
mod judged;
mod quote;
mod session;
mod swtpm;
mod world;
