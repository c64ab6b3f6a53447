//! Why a recipe is refused, in words that name the member.

use crate::cmdline::CmdlineError;
use std::path::PathBuf;

/// Why a recipe is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A file that the recipe names can't be read.
    #[error("{what} {path} can't be read: {source}")]
    Read {
        /// What the file is: "recipe".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not TOML of this form.
    #[error("recipe {path}: {source}")]
    Toml {
        /// The recipe.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The node's configuration is not TOML.
    #[error("node configuration {path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The node's configuration pins no certificate of the trust service.
    #[error(
        "node configuration {0}: [service] ca must list at least one path below /etc/ccnode/ that ends in .pem"
    )]
    NoCertificate(PathBuf),
    /// The node's configuration allows init-data, and no module would show any.
    #[error(
        "node configuration {0}: init-data is allowed, and nothing would show it: add `qemu_fw_cfg` to kernel.modules of the recipe"
    )]
    InitData(PathBuf),
    /// The node's configuration names custodians that it would refuse itself.
    #[error("node configuration {path}: [recovery]: {why}")]
    Recovery {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The node's configuration asks for tags that there are not.
    #[error(
        "node configuration: [disk] integrity = `{0}`: give one of none, hmac-sha256, aes-gcm and aegis128, in quotes"
    )]
    IntegrityName(String),
    /// The node's configuration asks for tags, and the initramfs could not make them.
    #[error(
        "node configuration: [disk] integrity = `{name}`: add to kernel.modules of the recipe: {modules}"
    )]
    Integrity {
        /// Which.
        name: String,
        /// What is missing.
        modules: String,
    },
    /// The volumes for data, or their sizes.
    #[error("[[disk.data]] of the node's configuration: {0}")]
    Data(String),
    /// The command line is refused.
    #[error(transparent)]
    Cmdline(CmdlineError),
    /// A value that can't be used.
    #[error("recipe: {field} = `{value}`: {want}")]
    Value {
        /// The member: "name".
        field: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        want: &'static str,
    },
}
