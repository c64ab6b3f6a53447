//! Command-line arguments of `ccnode-trust`.

use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The trust service: decides which nodes get the keys of their disks and the
/// certificates with which they join the cluster.
#[derive(Parser)]
#[command(version, max_term_width = 80)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a folder with CA, keys, database and configuration
    Init {
        /// The folder; must be absent or empty
        dir: PathBuf,
        /// Host name or address by which nodes reach the service; may be repeated
        #[arg(long = "name", value_name = "HOST_OR_IP")]
        names: Vec<String>,
        /// Where nodes come in
        #[arg(long, default_value = "127.0.0.1:8443", value_name = "IP:PORT", value_parser = address)]
        listen: SocketAddr,
        /// Where administrators come in
        #[arg(long, default_value = "127.0.0.1:8444", value_name = "IP:PORT", value_parser = address)]
        admin_listen: SocketAddr,
        /// API server of the pools that name no cluster of their own
        #[arg(long, value_name = "URL")]
        cluster_server: Option<String>,
        /// CA of the API server's certificate [default: the folder's cluster CA]
        #[arg(long, value_name = "FILE", requires = "cluster_server")]
        cluster_server_ca: Option<PathBuf>,
    },
    /// Run the service until SIGTERM or SIGINT
    Serve {
        /// The folder that `init` made
        dir: PathBuf,
    },
    /// Renew the certificates of the service and its administrator, with new keys
    ///
    /// The CA stays, and so does what node images have pinned. Tell the running
    /// service afterwards: `systemctl reload ccnode-trust`, or SIGHUP.
    Renew {
        /// The folder that `init` made
        dir: PathBuf,
        /// A further host name or address; the present ones are kept
        #[arg(long = "name", value_name = "HOST_OR_IP")]
        names: Vec<String>,
    },
    /// Put a new key in the place of an old one, without losing a session
    ///
    /// Tell the running service afterwards: `systemctl reload ccnode-trust`, or
    /// SIGHUP.
    #[command(subcommand)]
    Rotate(Rotate),
    /// Issue a client certificate, with a new key, to a folder of its own
    ///
    /// The role `metrics` reads /metrics on the administrators' address, and
    /// nothing else.
    Client {
        /// The folder that `init` made
        dir: PathBuf,
        /// Who it is for: the name that the audit log shows
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// The folder to make, with key.pem, cert.pem, ca.pem and url
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
    /// The audit log
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Subcommand)]
pub(crate) enum Rotate {
    /// The key-encryption key, under which the database and cookies lie
    Kek {
        /// The folder that `init` made
        dir: PathBuf,
    },
    /// The key of tokens and of audit checkpoints
    Token {
        /// The folder that `init` made
        dir: PathBuf,
    },
    /// The CA of the service: make the next one; then, with --switch, use it
    Ca {
        /// The folder that `init` made
        dir: PathBuf,
        /// Use the next CA, once images and administrators trust it
        #[arg(long)]
        switch: bool,
    },
    /// The CA of kubelets: make the next one; then, with --switch, use it
    ClusterCa {
        /// The folder that `init` made
        dir: PathBuf,
        /// Use the next one, once the API server takes clients of it
        #[arg(long)]
        switch: bool,
    },
}

/// What a client may do.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    /// Everything
    ClusterAdmin,
    /// Read the metrics
    Metrics,
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Check that no row was changed, removed or cut off
    Verify {
        /// The folder that `init` made
        dir: PathBuf,
        /// A checkpoint that was kept elsewhere [default: the folder's]
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
}

/// Where to listen; a name is none: it may have several addresses.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 0.0.0.0:8443 or [::]:8443".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn addresses() {
        for text in ["0.0.0.0:443", "[::1]:1"] {
            assert_eq!(address(text).unwrap().to_string(), text);
        }
        for text in ["127.0.0.1", "localhost:8443", ":8443", ""] {
            assert!(address(text).unwrap_err().contains("such as"), "{text}");
        }
    }

    #[test]
    fn help_fits_80_columns() {
        let mut root = Arguments::command();
        root.build();
        let mut all = vec![root];
        while let Some(mut command) = all.pop() {
            all.extend(command.get_subcommands().cloned());
            for text in [command.render_help().to_string(), command.render_long_help().to_string()] {
                assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            }
        }
    }
}
