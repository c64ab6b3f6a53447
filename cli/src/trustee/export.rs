//! A pool as Confidential Containers Trustee can hold it, and what is lost on the way: pure.

use super::rego::{self, Allowed, Readers};
use super::tdx::{self, Tdx};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::{EvidenceKind, ImageTuple, PlatformTuple, Sha256Digest};
use ccnode_protocol::admin::{Pool, ResourceRecord, Rule};
use ccnode_protocol::{NodeName, PoolName};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the service holds of a pool.
pub(crate) struct Source {
    pub(crate) pool: Pool,
    pub(crate) hardware: HardwarePolicy,
    pub(crate) platforms: BTreeMap<Sha256Digest, PlatformTuple>,
    pub(crate) images: BTreeMap<Sha256Digest, ImageTuple>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) resources: Vec<ResourceRecord>,
}

/// An active node.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) kind: Option<EvidenceKind>,
    /// Its attestation key as Trustee's claims have it: base64 of the SubjectPublicKeyInfo.
    pub(crate) ak: Option<String>,
}

/// What is posted, and what is lost.
pub(crate) struct Export {
    /// By the names that confidential clusters use.
    pub(crate) values: BTreeMap<String, Vec<String>>,
    pub(crate) attestation: String,
    pub(crate) resources: String,
    pub(crate) warnings: Vec<String>,
}

/// What no Trustee enforces, whatever the pool.
const LOST: [&str; 10] = [
    "no endorsement key is asked for and no credential activated: the attestation keys of today's nodes are pinned in its place",
    "PCR 5 and 10 are not judged: only an event log tells what is in them, and Trustee reads none",
    "nothing is bound to a volume: no header digest, no generation, no verity hash of the root",
    "keys are not granted once a boot: PCR 15 must be zero, and a node that was never capped can ask again",
    "counters are not compared: a copied or restored TPM is not noticed, and nobody is quarantined",
    "a report of Azure may be of an earlier session, as with azure.danger-stale-report: only the quote beside it is fresh",
    "machines whose claims name no key (SEV-SNP, TDX, Azure) need not be registered: any that is affirmed reads what the whole pool may read",
    "no kubelet certificate is issued",
    "refusals are not explained, and nothing is written into this service's audit log",
    "trust levels are not derived: Trustee takes a vTPM of the host for any other TPM",
];

impl Source {
    /// The pool for Trustee.
    pub(crate) fn export(&self) -> Export {
        let name = self.pool.name.as_str();
        let mut warnings: Vec<String> = LOST.iter().map(|text| (*text).to_owned()).collect();
        let tuples = self.tuples(&mut warnings);
        let aks = self.aks(&mut warnings);
        let allowed = Allowed {
            tuples: tuples.iter().map(|tuple| json!(tuple)).collect(),
            aks: json!(aks),
            snp_launches: self.launches(),
            snp_floor: self.floor(&mut warnings),
            snp_keepers: self.keepers(&mut warnings),
            tdx: Tdx::of(&self.hardware, &self.images(), &mut warnings),
            init_data: self.pool.allow_init_data,
        };
        self.lost(&mut warnings);
        let readers = self.readers(&aks, &mut warnings);
        Export {
            values: values(&tuples, &aks, &allowed),
            attestation: rego::attestation(name, &allowed),
            resources: rego::resources(name, &readers),
            warnings,
        }
    }

    /// Each allowed pair's registers.
    fn tuples(&self, warnings: &mut Vec<String>) -> Vec<BTreeMap<String, String>> {
        let mut out = Vec::new();
        for pair in &self.pool.pairs {
            let found = self.platforms.get(&pair.platform).zip(self.images.get(&pair.image));
            let Some((platform, image)) = found else {
                warnings.push(format!("the pair of {} and {} is not registered", pair.platform, pair.image));
                continue;
            };
            let registers = platform.pcrs.0.iter().chain(&image.pcrs.0);
            out.push(registers.map(|(pcr, value)| (format!("pcr{:02}", pcr.get()), value.hex())).collect());
        }
        if out.is_empty() {
            warnings.push("the pool allows no pair of a platform and an image: no TPM passes".to_owned());
        }
        out
    }

    fn aks(&self, warnings: &mut Vec<String>) -> BTreeMap<String, NodeName> {
        let mut out = BTreeMap::new();
        for node in &self.nodes {
            match &node.ak {
                Some(ak) if node.kind == Some(EvidenceKind::Tpm) => {
                    out.insert(ak.clone(), node.name.clone());
                }
                _ => warnings.push(format!(
                    "{}: Trustee's claims name no key of it ({}), so no resource can be bound to it",
                    node.name,
                    node.kind.map_or("no evidence is kept", EvidenceKind::as_str)
                )),
            }
        }
        out
    }

    /// Of the allowed pairs.
    fn images(&self) -> BTreeSet<&Sha256Digest> {
        self.pool.pairs.iter().map(|pair| &pair.image).collect()
    }

    fn launches(&self) -> Vec<String> {
        let images = self.images();
        let launches = self.hardware.snp_launches.iter().filter(|launch| images.contains(&launch.image));
        let listed = self.hardware.snp.measurements.as_ref();
        let launches = launches.filter(|launch| listed.is_none_or(|list| list.contains(&launch.measurement)));
        launches.map(|launch| hex::encode(launch.measurement.0)).collect()
    }

    /// Trustee 0.21 has measurements of Azure as base64, and others as hexadecimal digits.
    fn keepers(&self, warnings: &mut Vec<String>) -> Vec<String> {
        let keepers = &self.hardware.vtpm_keepers;
        if !keepers.snp_id_key_digests.is_empty() || !keepers.snp_author_key_digests.is_empty() {
            warnings.push(
                "vtpm-keepers by ID or author key are not among Trustee's claims: such machines are not taken".to_owned(),
            );
        }
        let taken = self.hardware.snp.measurements.as_ref();
        let listed =
            keepers.snp_measurements.iter().filter(|keeper| taken.is_none_or(|list| list.contains(keeper)));
        listed.flat_map(|listed| [STANDARD.encode(listed.0), hex::encode(listed.0)]).collect()
    }

    /// Trustee's claims don't say of which line a chip is, and lines count differently.
    fn floor(&self, warnings: &mut Vec<String>) -> Option<Value> {
        let floors = &self.hardware.snp.minimum_tcb;
        if floors.len() > 1 {
            warnings.push(
                "snp.minimum-tcb has several lines of processors, which Trustee's claims don't tell apart: no SEV-SNP \
                 platform is taken"
                    .to_owned(),
            );
            return None;
        }
        let mut out = Map::new();
        if let Some(floor) = floors.values().next() {
            let parts = [
                ("bootloader", floor.bootloader),
                ("tee", floor.tee),
                ("snp", floor.snp),
                ("microcode", floor.microcode),
            ];
            out.extend(parts.into_iter().filter_map(|(part, least)| {
                least.map(|least| (format!("reported_tcb_{part}"), json!(least)))
            }));
        }
        Some(Value::Object(out))
    }

    /// Demands of the pool that no rule of the policy stands for.
    fn lost(&self, warnings: &mut Vec<String>) {
        if !self.pool.ek_roots.is_empty() {
            let roots = self.pool.ek_roots.len();
            warnings.push(format!("the pool's roots of endorsement keys ({roots}) are not asked for"));
        }
        if self.pool.rules.contains(&Rule::DangerHostIsTrusted) {
            warnings.push("danger-host-is-trusted says nothing to Trustee, which never asks".to_owned());
        }
        let members = |value: Value| match value {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let default = |policy: HardwarePolicy| members(serde_json::to_value(policy).unwrap_or_default());
        let (own, usual) = (default(self.hardware.clone()), default(HardwarePolicy::default()));
        for (table, value) in own {
            // Each has rules or a warning of its own.
            let is_said = ["snp-launches", "tdx-launches", "vtpm-keepers"].contains(&table.as_str());
            if is_said || usual.get(&table) == Some(&value) {
                continue;
            }
            let standard = usual.get(&table).cloned().map(members).unwrap_or_default();
            let inner = members(value);
            if inner.is_empty() {
                warnings.push(format!("hardware demand {table} is not enforced"));
            }
            for (member, value) in inner {
                let exported = match table.as_str() {
                    "snp" => ["minimum-tcb", "measurements"].contains(&member.as_str()),
                    "tdx" => !tdx::LOST.contains(&member.as_str()),
                    "azure" => member == "danger-stale-report",
                    _ => false,
                };
                if !exported && standard.get(&member) != Some(&value) {
                    warnings.push(format!("hardware demand {table}.{member} is not enforced"));
                }
            }
        }
    }

    fn readers(&self, aks: &BTreeMap<String, NodeName>, warnings: &mut Vec<String>) -> Readers {
        let (mut nodes, mut pool) = (BTreeMap::new(), Vec::new());
        let known: BTreeSet<&NodeName> = aks.values().collect();
        for record in &self.resources {
            let path = format!("{:#}", record.name);
            let of_ours: Vec<&NodeName> = record.nodes.iter().filter(|node| known.contains(node)).collect();
            if !of_ours.is_empty() {
                nodes.insert(path.clone(), of_ours);
            }
            if record.pools.contains(&self.pool.name) {
                pool.push(path);
            }
        }
        if !self.resources.is_empty() {
            warnings.push(
                "resources are not copied: no interface of this service gives out what they hold".to_owned(),
            );
        }
        Readers { aks: json!(aks), nodes: json!(nodes), pool }
    }
}

/// Single registers, for tools that look at them; the policy compares whole pairs.
fn values(
    tuples: &[BTreeMap<String, String>],
    aks: &BTreeMap<String, NodeName>,
    allowed: &Allowed,
) -> BTreeMap<String, Vec<String>> {
    let of = |pcr: &str| -> Vec<String> {
        let all: BTreeSet<&String> = tuples.iter().filter_map(|tuple| tuple.get(pcr)).collect();
        all.into_iter().cloned().collect()
    };
    let mut out: BTreeMap<String, Vec<String>> =
        [4, 7, 11, 14].map(|n| (format!("tpm_pcr{n}"), of(&format!("pcr{n:02}")))).into();
    out.insert("trusted_aks".to_owned(), aks.keys().cloned().collect());
    out.insert("snp_launch_measurement".to_owned(), allowed.snp_launches.clone());
    out.extend(allowed.tdx.values());
    out.retain(|_, values| !values.is_empty());
    out
}

/// Names that `ccnode pool import` asks Trustee for.
pub(crate) fn names() -> impl Iterator<Item = String> {
    (0..16).map(|n| format!("tpm_pcr{n}")).chain(["trusted_aks".to_owned()])
}

/// The pool's name, for files.
pub(crate) fn file_name(pool: &PoolName, what: &str) -> String {
    format!("{pool}-{what}.rego")
}
