//! Arguments of `ccnode pool`.

use super::{EkRootArg, ForeignArg, InitDataArg, UnknownArg};
use crate::rules::RuleArg;
use ccnode_protocol::PoolName;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Pool {
    /// Make a pool
    Create {
        /// Name, as node.toml says it
        name: PoolName,
        /// What happens to TPMs that the pool does not know
        #[arg(long, value_enum, default_value = "refuse")]
        on_unknown: UnknownArg,
        /// Loosen the pool (repeatable); the name says what is given up
        #[arg(long = "rule", value_enum)]
        rules: Vec<RuleArg>,
        /// What a root partition that holds something else means
        #[arg(long, value_enum, default_value = "refuse")]
        on_foreign_disk: ForeignArg,
        /// What init-data (what a host hands to its guest) means
        #[arg(long, value_enum, default_value = "refuse")]
        init_data: InitDataArg,
        /// Confirm that what `wipe` overwrites may be lost
        #[arg(long)]
        yes: bool,
        /// CA of endorsement keys, PEM, and what a TPM below it is worth: hypervisor-vtpm or discrete-tpm (repeatable)
        #[arg(long = "ek-root", value_name = "FILE:LEVEL")]
        ek_roots: Vec<EkRootArg>,
        /// URL of the API server that its nodes join [default: the service's]
        #[arg(long, value_name = "URL", requires = "cluster_ca")]
        cluster_server: Option<String>,
        /// CA of that API server, PEM
        #[arg(long, value_name = "FILE", requires = "cluster_server")]
        cluster_ca: Option<PathBuf>,
    },
    /// List pools
    List,
    /// Show one pool
    Show {
        /// Name
        name: PoolName,
    },
    /// Change a pool's rules; what is not named stays
    Edit {
        /// Name
        name: PoolName,
        /// What happens to TPMs that the pool does not know
        #[arg(long, value_enum)]
        on_unknown: Option<UnknownArg>,
        /// The new list of rules, in place of the present one (repeatable)
        #[arg(long = "rule", value_enum, conflicts_with = "no_rules")]
        rules: Vec<RuleArg>,
        /// Take all rules away
        #[arg(long)]
        no_rules: bool,
        /// What a root partition that holds something else means
        #[arg(long, value_enum)]
        on_foreign_disk: Option<ForeignArg>,
        /// What init-data (what a host hands to its guest) means
        #[arg(long, value_enum)]
        init_data: Option<InitDataArg>,
        /// URL of the API server that its nodes join from their next boot on
        #[arg(long, value_name = "URL", requires = "cluster_ca")]
        cluster_server: Option<String>,
        /// CA of that API server, PEM
        #[arg(long, value_name = "FILE", requires = "cluster_server")]
        cluster_ca: Option<PathBuf>,
        /// Confirm that what `wipe` overwrites may be lost
        #[arg(long)]
        yes: bool,
    },
    /// Delete a pool without nodes
    Delete {
        /// Name
        name: PoolName,
    },
    /// Allow a platform and an image together
    Allow {
        /// Name
        name: PoolName,
        /// Platform id, or the beginning of it
        #[arg(long, value_name = "ID")]
        platform: String,
        /// Image id, or the beginning of it
        #[arg(long, value_name = "ID")]
        image: String,
    },
    /// Take back what `allow` allowed
    Disallow {
        /// Name
        name: PoolName,
        /// Platform id, or the beginning of it
        #[arg(long, value_name = "ID")]
        platform: String,
        /// Image id, or the beginning of it
        #[arg(long, value_name = "ID")]
        image: String,
    },
    /// Show or set what its nodes' hardware must prove
    Hardware {
        /// Name
        name: PoolName,
        /// The new policy (TOML, docs/configuration.md); what it does not name is as in a new pool
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
    },
    /// Trust or stop trusting a CA of endorsement keys
    #[command(subcommand)]
    EkRoot(EkRoot),
    /// Hand the pool over to Confidential Containers Trustee, as far as Trustee can hold it
    ///
    /// Posts reference values, an attestation policy that matches allowed pairs of a platform and an image as a whole,
    /// and a resource policy that binds each node to its own resources; what is there is replaced. Prints what
    /// Trustee does not enforce.
    #[command(override_usage = "ccnode pool publish NAME --out DIR | --to-trustee URL --ca FILE …")]
    Publish(crate::trustee::Publish),
    /// Print user-data (Ignition) for nodes that clevis unlocks: a URL, a CA and names, and nothing secret
    #[command(override_usage = "ccnode pool ignition NAME --url URL --ca FILE --key RESOURCE [OPTIONS]")]
    Ignition(crate::trustee::ignition::Ignition),
    /// Take reference values over from Confidential Containers Trustee
    ///
    /// They decide over stock clients of the service's stock pool, whole: PCRs 4, 7 and 14 must be among them.
    #[command(override_usage = "ccnode pool import NAME --from-trustee URL --ca FILE --auth-key FILE")]
    Import(crate::trustee::Import),
    /// Look at the reference values that stock administrators posted, or clear them
    #[command(subcommand)]
    ReferenceValues(crate::rules::ReferenceValues),
}

#[derive(Subcommand)]
pub(crate) enum EkRoot {
    /// Trust a CA
    Add {
        /// The pool
        pool: PoolName,
        /// CA of endorsement keys, PEM, and what a TPM below it is worth: hypervisor-vtpm or discrete-tpm
        #[arg(value_name = "FILE:LEVEL")]
        root: EkRootArg,
    },
    /// Stop trusting a CA
    Remove {
        /// The pool
        pool: PoolName,
        /// Id, or the beginning of it, as `pool show` prints it
        id: String,
    },
}
