//! What scenarios, demo and bench share: a trust service, an image built once, nodes on it, and hands to tamper with.

pub mod confidential;
pub mod console;
pub mod crash;
pub mod init_data;
pub mod layouts;
pub mod node;
pub mod rescue;
pub mod secrets;
pub mod small;
pub mod stage;
pub mod stock;
pub mod tamper;
pub mod trust;

pub use node::{Node, Outcome};
pub use stage::Stage;
pub use trust::{Trust, TrustDir};
