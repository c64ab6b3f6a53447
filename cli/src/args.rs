//! The command line, as clap sees it.

mod pool;

pub(crate) use pool::{EkRoot, Pool};

use ccnode_protocol::admin::{OnUnknown, TrustLevel};
use ccnode_protocol::grants::OnForeignDisk;
use ccnode_protocol::{NodeName, PoolName};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Build, measure and provision pools of confidential nodes.
///
/// Exit codes: 0 done, 1 internal, 2 usage, 3 refused, 4 retry later, 5 needs an operator.
#[derive(Parser)]
#[command(name = "ccnode", version, max_term_width = 80)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Args)]
pub(crate) struct Global {
    /// Folder with url, ca.pem, cert.pem, key.pem [default: ~/.config/ccnode]
    #[arg(long, global = true, env = "CCNODE_CONTEXT", value_name = "DIR")]
    pub(crate) context: Option<PathBuf>,
    /// Print JSON for machines; an error too, the last line of standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build, measure and register node images
    #[command(subcommand)]
    Image(Image),
    /// Record and register platforms (firmware and its settings)
    #[command(subcommand)]
    Platform(Platform),
    /// Make and change pools: what their nodes must prove
    #[command(subcommand)]
    Pool(Pool),
    /// Look at nodes, approve, revoke and re-provision them
    #[command(subcommand)]
    Node(Node),
    /// Keep secrets for nodes, and say who reads them
    #[command(subcommand)]
    Resource(crate::resource::Resource),
    /// Look at refusals and why they happened
    #[command(subcommand)]
    Refusal(Refusal),
    /// Look at what takes two administrators, and approve it
    #[command(subcommand)]
    Proposal(crate::proposal::Command),
    /// Explain an event log: its events in words, or what two of them differ in
    ///
    /// A and B are event logs (binary_bios_measurements, CCEL, a node's own), or one of them is an image or platform
    /// tuple. Of two logs, A is what was expected and B what was found; a tuple is always what was expected.
    ///
    /// Exit codes: 0 no difference, 3 different or unreadable, 2 usage.
    Explain(crate::explain::Explain),
    /// Look at the audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Look at the volumes of disks as a node would, and open what was recovered
    #[command(subcommand)]
    Disk(crate::disk::Disk),
    /// Recover a volume without its node: by enough of its custodians
    ///
    /// `keygen` makes a custodian's keys; the public one goes into `[recovery]` of
    /// node.toml, before the volume is made. To recover it, an administrator takes
    /// what `fetch` writes to the custodians; each runs `open-share`, and whoever is
    /// to open the disk `combine`, then `ccnode disk open --recovery-key`. But for
    /// `fetch` nothing of this needs a network.
    ///
    /// Exit codes: 0 done, 2 usage, 3 refused; of `fetch` also 4 and 5.
    #[command(subcommand)]
    Recover(crate::recover::Recover),
    /// Find out what a piece of evidence proves, and what it does not
    Verify(Box<crate::verify::Verify>),
    /// Bring certificates, CRLs and TCB information to the service, signed
    #[command(subcommand)]
    Bundle(crate::bundle::Bundle),
}

#[derive(Subcommand)]
pub(crate) enum Image {
    /// Build a disk image, its UKI and its tuple from a recipe
    #[command(override_usage = "ccnode image build [OPTIONS] RECIPE -o DIR --init FILE --ca FILE…")]
    Build {
        /// The recipe (TOML)
        recipe: PathBuf,
        /// Folder for disk.img, uki.efi, image-tuple.json, packages.lock, sizes.json
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// The ccnode-init binary for the initramfs
        #[arg(long, value_name = "FILE")]
        init: PathBuf,
        /// CA of the trust service, PEM: one for each that node.toml names, in its order (repeatable)
        #[arg(long = "ca", value_name = "FILE", required = true)]
        ca: Vec<PathBuf>,
    },
    /// Predict what a UKI will measure
    Measure {
        /// The UKI (PE file)
        uki: PathBuf,
        /// For firmware that enforces Secure Boot: PCR 4 holds the UKI alone
        #[arg(long)]
        secure_boot: bool,
    },
    /// Register an image tuple with the service
    Register {
        /// image-tuple.json of a build
        tuple: PathBuf,
    },
    /// List images
    List,
    /// Show one image with its events
    Show {
        /// Id, or the beginning of it
        id: String,
    },
    /// Delete an image that no pool allows any more
    Delete {
        /// Id, or the beginning of it
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Platform {
    /// Make a platform tuple from a firmware log, or from a refused boot
    ///
    /// With --refusal the tuple is registered, and allowed in the refused node's pool together with the image that
    /// boot ran.
    Record {
        /// Firmware log (binary_bios_measurements)
        #[arg(required_unless_present = "refusal", conflicts_with = "refusal")]
        log: Option<PathBuf>,
        /// Take the log that the service kept of this refusal
        #[arg(long, value_name = "ID", value_parser = refusal_id)]
        refusal: Option<u64>,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// Write the tuple here instead of registering it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Register a platform tuple with the service
    Register {
        /// The tuple (JSON)
        tuple: PathBuf,
    },
    /// List platforms
    List,
    /// Show one platform with its events
    Show {
        /// Id, or the beginning of it
        id: String,
    },
    /// Delete a platform that no pool allows any more
    Delete {
        /// Id, or the beginning of it
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Node {
    /// List nodes
    List {
        /// Of this pool alone
        #[arg(long)]
        pool: Option<PoolName>,
    },
    /// Show one node
    Show {
        /// Name
        name: NodeName,
    },
    /// Show the last evidence of a node and what was decided over it
    LastEvidence {
        /// Name
        name: NodeName,
        /// Write the whole record here, for `ccnode verify`
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Let a pending, quarantined or revoked node in
    Approve(OnNode),
    /// Take a node's rights; it gets no key and no certificate any more
    Revoke(OnNode),
    /// Change the disk's unlock key at the next boot; its content stays
    RotateKey(OnNode),
    /// Have volumes made anew at the next boot; what is on them is LOST
    Regrant {
        #[command(flatten)]
        on: OnNode,
        /// `root` or `data/NAME` alone; without it, every volume of the node
        #[arg(long, value_name = "VOLUME")]
        volume: Option<String>,
        /// Confirm that what is on them may be lost
        #[arg(long)]
        yes: bool,
    },
    /// Propose to let a node through once, in the state it was refused in
    ///
    /// For a node that an update of its firmware locked out. Another administrator
    /// approves it with `ccnode proposal approve`; then the node has some minutes
    /// (`allow-once-lifetime`) to boot in the very state of the refusal, which must
    /// be `platform-unknown` or `pair-not-allowed` with a known image. All else is
    /// judged as ever. To allow it for good: `ccnode platform record --refusal`.
    AllowOnce {
        /// Name
        name: NodeName,
        /// Number of its refusal, as `ccnode refusal list` prints it
        #[arg(long, value_name = "ID", value_parser = refusal_id)]
        refusal: u64,
        /// Why; whoever approves reads it
        #[arg(long)]
        reason: Option<String>,
    },
    /// Propose to hand a node over to the machine that its disk was moved to
    ///
    /// OLD is the node; NEW is the name under which the other machine waits for
    /// approval, or was refused as unknown, in the same pool. Another administrator
    /// approves it with `ccnode proposal approve`; then OLD's name, volumes and
    /// resources are the new machine's, and the old machine is retired.
    Rebind {
        /// Name of the node
        old: NodeName,
        /// Name of the other machine
        new: NodeName,
        /// Why; whoever approves reads it
        #[arg(long)]
        reason: Option<String>,
    },
    /// Destroy a node's keys for good; its disk becomes unreadable, its record stays
    Retire {
        #[command(flatten)]
        on: OnNode,
        /// Confirm that the disk's content may be lost
        #[arg(long)]
        yes: bool,
    },
    /// Delete a node: first its keys, as `retire` does, then its record
    Delete {
        /// Name
        name: NodeName,
        /// Confirm that the disk's content may be lost
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct OnNode {
    /// Name
    pub(crate) name: NodeName,
    /// Why; kept in the audit log
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Refusal {
    /// List refusals, newest first
    List {
        /// Of this pool alone
        #[arg(long)]
        pool: Option<PoolName>,
        /// Of this node alone
        #[arg(long)]
        node: Option<NodeName>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show why a boot was refused, event by event
    Show {
        /// Number, as `list` prints it, or correlation id, as consoles and logs do
        #[arg(value_parser = refusal_name)]
        id: RefusalName,
        /// Write the kept firmware log here
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// List decisions, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

/// A refusal's number. Consoles and logs show its correlation id, which is taken for it easily.
pub(crate) fn refusal_id(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "no number of a refusal: see `ccnode refusal list`".to_owned())
}

/// What a refusal is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RefusalName {
    /// By the service's list.
    Number(u64),
    /// By consoles and logs.
    Correlation(String),
}

/// A correlation id may be of digits alone, but is longer than any number.
fn refusal_name(text: &str) -> Result<RefusalName, String> {
    if let Ok(number) = text.parse() {
        return Ok(RefusalName::Number(number));
    }
    let graphic = text.bytes().all(|b| b.is_ascii_graphic());
    match graphic && (8..=64).contains(&text.len()) {
        true => Ok(RefusalName::Correlation(text.to_owned())),
        false => Err("neither a number nor a correlation id: see `ccnode refusal list`".to_owned()),
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum UnknownArg {
    /// Refuse them
    Refuse,
    /// Record them as pending; an administrator approves
    Ask,
    /// Enrol them, if the evidence satisfies the pool
    Enrol,
}

impl From<UnknownArg> for OnUnknown {
    fn from(arg: UnknownArg) -> Self {
        match arg {
            UnknownArg::Refuse => Self::Refuse,
            UnknownArg::Ask => Self::Ask,
            UnknownArg::Enrol => Self::Enrol,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForeignArg {
    /// Refuse, and change nothing
    Refuse,
    /// Overwrite it; never open it
    Wipe,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum InitDataArg {
    /// Refuse nodes that were given any
    Refuse,
    /// Take nodes whose PCR 8 holds what they were given
    Allow,
}

impl InitDataArg {
    pub(crate) fn is_allowed(self) -> bool {
        matches!(self, Self::Allow)
    }
}

impl From<ForeignArg> for OnForeignDisk {
    fn from(arg: ForeignArg) -> Self {
        match arg {
            ForeignArg::Refuse => Self::Refuse,
            ForeignArg::Wipe => Self::Wipe,
        }
    }
}

/// `FILE:LEVEL`.
#[derive(Clone)]
pub(crate) struct EkRootArg {
    pub(crate) file: PathBuf,
    pub(crate) level: TrustLevel,
}

impl std::str::FromStr for EkRootArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "write FILE:hypervisor-vtpm or FILE:discrete-tpm";
        let (file, level) = text.rsplit_once(':').ok_or_else(|| format!("no level: {hint}"))?;
        let level = match level {
            "hypervisor-vtpm" => TrustLevel::HypervisorVtpm,
            "discrete-tpm" => TrustLevel::DiscreteTpm,
            other => return Err(format!("`{other}` is no level of a TPM: {hint}")),
        };
        Ok(Self { file: file.into(), level })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn refusals_have_a_number_and_a_correlation_id() {
        assert_eq!(refusal_name("17"), Ok(RefusalName::Number(17)));
        for id in ["6200e2b5cda14b41a4ee94f070a86843", "99999999999999999999999999999999"] {
            assert_eq!(refusal_name(id), Ok(RefusalName::Correlation(id.to_owned())));
        }
        for bad in ["", "-1", "x", "a b c d e f g", &"a".repeat(65)] {
            assert!(refusal_name(bad).unwrap_err().contains("`ccnode refusal list`"), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_fits_80_columns() {
        fn walk(command: &mut clap::Command) {
            for line in command.clone().term_width(80).render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands_mut().for_each(walk);
        }
        let mut command = Args::command();
        command.build();
        walk(&mut command);
    }
}
