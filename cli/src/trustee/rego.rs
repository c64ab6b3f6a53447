//! The policies in Rego: fixed rules over data of one pool, which stand in front of them as JSON.

use super::tdx::{self, Tdx};
use serde_json::{Value, json};

/// What a pool allows, as the attestation policy compares it.
pub(crate) struct Allowed {
    /// Each allowed pair of platform and image, whole: PCR name to lower-case hex.
    pub(crate) tuples: Vec<Value>,
    /// Attestation keys of the pool's active nodes (SubjectPublicKeyInfo, base64) to their names.
    pub(crate) aks: Value,
    /// Launch measurements that cover an allowed image.
    pub(crate) snp_launches: Vec<String>,
    /// The least TCB of SEV-SNP by component; `None` where none can be said: then no such platform is taken.
    pub(crate) snp_floor: Option<Value>,
    /// Launch measurements of Azure's paravisor, in either text that claims have them in.
    pub(crate) snp_keepers: Vec<String>,
    /// What is demanded of TDs.
    pub(crate) tdx: Tdx,
    /// Whether PCR 8 may hold init-data.
    pub(crate) init_data: bool,
}

/// Who reads what.
pub(crate) struct Readers {
    /// As in [`Allowed::aks`].
    pub(crate) aks: Value,
    /// Resource paths to names of nodes.
    pub(crate) nodes: Value,
    /// Resource paths that any node of the pool reads.
    pub(crate) pool: Vec<String>,
}

/// The attestation policy: only a pair, or a launch, that is allowed as a whole is `affirming`.
pub(crate) fn attestation(pool: &str, allowed: &Allowed) -> String {
    let Allowed { tuples, aks, snp_launches, snp_floor, snp_keepers, tdx, init_data } = allowed;
    let data = [
        ("tuples", json!(tuples)),
        ("aks", aks.clone()),
        ("snp_launches", json!(snp_launches)),
        ("snp_floor", snp_floor.clone().unwrap_or(Value::Null)),
        ("snp_keepers", json!(snp_keepers)),
        ("tdx", json!(tdx)),
        ("init_data_allowed", json!(init_data)),
    ];
    document(pool, &data, &[ATTESTATION, tdx::RULES].concat())
}

/// The resource policy: each node reads what its own key is bound to.
pub(crate) fn resources(pool: &str, readers: &Readers) -> String {
    let Readers { aks, nodes, pool: paths } = readers;
    document(
        pool,
        &[("aks", aks.clone()), ("readers", nodes.clone()), ("pool_paths", json!(paths))],
        RESOURCES,
    )
}

fn document(pool: &str, data: &[(&str, Value)], rules: &str) -> String {
    let mut out = format!(
        "# Made by `ccnode pool publish {pool}`: make it anew after a change of the pool, and don't edit it.\n\
         package policy\n\nimport rego.v1\n"
    );
    for (name, value) in data {
        // JSON is Rego.
        let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".to_owned());
        out.push_str(&format!("\n{name} := {text}\n"));
    }
    out.push_str(rules);
    out
}

// Values of the claims are those of AR4SI: 3 approved boot, 2 genuine, known or recognized; 33, 97 and 36 are their failures.
const ATTESTATION: &str = r#"
zero := "0000000000000000000000000000000000000000000000000000000000000000"

default executables := 33

default hardware := 97

default configuration := 36

default instance_identity := 0

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"instance-identity": instance_identity,
	"file-system": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

pcrs := input.tpm

pcrs := input["az-snp-vtpm"].tpm

pcrs := input["az-tdx-vtpm"].tpm

# One pair must agree in all of its registers: a platform of one pair with the image of another is no pair.
pair_allowed if {
	some tuple in tuples
	every name, value in tuple {
		lower(pcrs[name]) == value
	}
}

# Who has capped PCR 15, or measured a volume, has had its keys.
uncapped if lower(pcrs.pcr15) == zero

executables := 3 if {
	pair_allowed
	uncapped
}

configuration := 2 if {
	pair_allowed
	init_data_judged
}

init_data_judged if init_data_allowed

init_data_judged if lower(pcrs.pcr08) == zero

# TPM

hardware := 2 if aks[input.tpm.ak_public]

instance_identity := 2 if aks[input.tpm.ak_public]

# SEV-SNP, and Azure, whose claims are text

executables := 3 if input.snp.measurement in snp_launches

configuration := 2 if {
	input.snp.measurement in snp_launches
	sealed(input.snp)
	no_init_data
}

configuration := 2 if {
	input.snp.measurement in snp_launches
	sealed(input.snp)
	init_data_allowed
}

# Claims of init-data that was sent are never null.
no_init_data if object.get(input, "init_data_claims", null) == null

hardware := 2 if snp_genuine(input.snp)

# Any machine can put a TPM's key into its report: a paravisor that keeps its TPM is one of those that are listed.
hardware := 2 if {
	input["az-snp-vtpm"].measurement in snp_keepers
	snp_genuine(input["az-snp-vtpm"])
}

snp_genuine(claims) if {
	is_object(snp_floor)
	sealed(claims)
	every name, least in snp_floor {
		to_number(claims[name]) >= least
	}
}

sealed(claims) if {
	is_false(claims.policy_debug_allowed)
	is_false(claims.policy_migrate_ma)
}

is_false(value) if value == false

is_false(value) if value == "false"
"#;

const RESOURCES: &str = r#"
default allow := false

path := concat("/", data["resource-path"])

node := aks[input.submods.cpu0["ear.veraison.annotated-evidence"].tpm.ak_public]

# The machine itself, by the policy of machines, and whatever came along: a device alone is judged by policies that were not made here.
affirming if {
	input.submods.cpu0["ear.status"] == "affirming"
	every _, submod in input.submods {
		submod["ear.status"] == "affirming"
	}
}

one_resource if {
	data.plugin == "resource"
	count(data["resource-path"]) == 3
}

# A repository with a node's name is that node's.
allow if {
	one_resource
	affirming
	data["resource-path"][0] == node
}

allow if {
	one_resource
	affirming
	node in readers[path]
}

allow if {
	one_resource
	affirming
	path in pool_paths
}
"#;
