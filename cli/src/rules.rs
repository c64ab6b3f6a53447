//! What loosens a pool, and what stock administrators posted for it: the command line's part, and what people are told.

use crate::output;
use anyhow::Result;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::Rule;
use clap::{Subcommand, ValueEnum};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub(crate) enum ReferenceValues {
    /// Show them; while there are some, they decide over stock clients in place of platforms and images
    Show {
        /// The pool
        pool: PoolName,
    },
    /// Take them all away: platforms and images decide again
    Clear {
        /// The pool
        pool: PoolName,
        /// Confirm that stock clients are judged otherwise then
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
#[expect(clippy::enum_variant_names, reason = "each name says that something is given up")]
pub(crate) enum RuleArg {
    /// Nodes on a TPM that the host controls may enrol by themselves
    DangerHostIsTrusted,
    /// Clients of the stock transcript may attest: no endorsement key, no credential activation, no event log
    DangerNoActivation,
    /// Anybody may put an attestation key on the list of nodes that wait
    DangerOpenRegistration,
}

impl From<RuleArg> for Rule {
    fn from(arg: RuleArg) -> Self {
        match arg {
            RuleArg::DangerHostIsTrusted => Self::DangerHostIsTrusted,
            RuleArg::DangerNoActivation => Self::DangerNoActivation,
            RuleArg::DangerOpenRegistration => Self::DangerOpenRegistration,
        }
    }
}

/// One line a value, its name in front.
pub(crate) fn values(json: bool, posted: &BTreeMap<String, Value>) -> Result<()> {
    if json {
        return output::json(posted);
    }
    let mut rows: Vec<[String; 2]> = Vec::new();
    for (name, value) in posted {
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        rows.extend(list.iter().map(|item| [name.clone(), item.as_str().unwrap_or_default().to_owned()]));
        if list.is_empty() {
            rows.push([name.clone(), "(nothing is allowed)".to_owned()]);
        }
    }
    output::table(["name", "value"], &rows)
}

/// What the rules that are on give up.
pub(crate) fn notes(rules: &[Rule]) {
    if rules.contains(&Rule::DangerHostIsTrusted) {
        eprintln!("note: danger-host-is-trusted: whoever runs these hosts can forge what their vTPMs say");
    }
    if rules.contains(&Rule::DangerNoActivation) {
        eprintln!(
            "note: danger-no-activation: of stock clients, a key made up in software passes for a TPM's"
        );
    }
    if rules.contains(&Rule::DangerOpenRegistration) {
        eprintln!("note: danger-open-registration: anybody can put keys on the list of nodes that wait");
    }
}
