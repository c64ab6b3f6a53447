//! TDX: what a pool demands of TDs, as data that the attestation policy compares with Trustee's claims, and its rules.

use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::Sha256Digest;
use ccnode_tdx::{Flags, Measurement, TcbStatus, TdxPolicy, attributes};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Members of `[tdx]` that no rule stands for beside the collateral's own end: Trustee has collateral and roots of its own.
pub(crate) const LOST: [&str; 2] = ["collateral", "danger-roots"];

/// The demands, by names of the quote's body in Trustee's claims.
#[derive(Serialize)]
pub(crate) struct Tdx {
    /// Registers of each launch that covers an allowed image, whole.
    launches: Vec<BTreeMap<&'static str, String>>,
    /// MRTD of paravisors that keep a vTPM.
    keepers: Vec<String>,
    /// Statuses of the TCB that are taken.
    statuses: BTreeSet<String>,
    /// The least TCB evaluation data number.
    evaluation: u32,
    /// For each hexadecimal digit of the TD's attributes those that are taken.
    attributes: Vec<String>,
    /// The same of XFAM.
    xfam: Vec<String>,
    /// The least TEE_TCB_SVN: two digits for each byte.
    svn: Vec<String>,
    /// Measurements that are listed.
    listed: BTreeMap<&'static str, BTreeSet<String>>,
    /// Hashes of service TDs that are taken; quotes of TDX 1.0 name none, which is zero.
    service: BTreeSet<String>,
}

impl Tdx {
    /// The demands of `hardware`, and the launches of `images`; `warnings` is told of what Trustee is stricter in.
    pub(crate) fn of(
        hardware: &HardwarePolicy,
        images: &BTreeSet<&Sha256Digest>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let policy = &hardware.tdx;
        // All of them: a demand that comes anew must be exported here, or be lost by name.
        let TdxPolicy {
            tcb_statuses,
            collateral,
            minimum_tcb_evaluation,
            minimum_tee_tcb_svn,
            danger_debug,
            danger_sept_ve: _,
            attributes_required: _,
            attributes_allowed: _,
            xfam_required,
            xfam_allowed,
            mr_seam,
            mr_signer_seam,
            mr_td,
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            mr_config_id,
            mr_owner,
            mr_owner_config,
            mr_service_td,
            danger_roots: _,
        } = policy;
        if tcb_statuses.contains(&TcbStatus::NoMatchingLevel) {
            warnings.push("Trustee has no word for danger-no-matching-level of tdx.tcb-statuses: such TDs are not taken".to_owned());
        }
        if collateral.danger_grace_days > 0 {
            warnings.push("tdx.collateral.danger-grace-days is not given: TDs whose collateral has expired are not taken".to_owned());
        }
        let (Flags(required), Flags(allowed)) = policy.attributes();
        let debug = if *danger_debug { attributes::UNDER_DEBUG } else { 0 };
        let launches = hardware.tdx_launches.iter().filter(|launch| images.contains(&launch.image));
        let lists = [
            ("mr_seam", mr_seam),
            ("mrsigner_seam", mr_signer_seam),
            ("mr_td", mr_td),
            ("rtmr_0", rtmr0),
            ("rtmr_1", rtmr1),
            ("rtmr_2", rtmr2),
            ("rtmr_3", rtmr3),
            ("mr_config_id", mr_config_id),
            ("mr_owner", mr_owner),
            ("mr_owner_config", mr_owner_config),
        ];
        let all = |list: &BTreeSet<Measurement>| list.iter().map(hex).collect();
        Self {
            launches: launches
                .map(|launch| {
                    let registers = [
                        ("mr_td", &launch.mr_td),
                        ("rtmr_0", &launch.rtmr0),
                        ("rtmr_1", &launch.rtmr1),
                        ("rtmr_2", &launch.rtmr2),
                        // Who has capped RTMR 3 has had its keys.
                        ("rtmr_3", &Measurement::ZERO),
                    ];
                    registers.map(|(name, value)| (name, hex(value))).into()
                })
                .collect(),
            keepers: hardware.vtpm_keepers.tdx_mr_td.iter().map(hex).collect(),
            statuses: tcb_statuses.iter().flat_map(|status| names(*status)).collect(),
            evaluation: *minimum_tcb_evaluation,
            attributes: digits(required, allowed | debug),
            xfam: digits(xfam_required.0, xfam_allowed.0),
            svn: minimum_tee_tcb_svn.map_or([0; 16], |least| least.0).map(|b| format!("{b:02x}")).into(),
            listed: lists
                .iter()
                .filter_map(|(name, list)| list.as_ref().map(|list| (*name, all(list))))
                .collect(),
            service: all(mr_service_td),
        }
    }

    /// Single registers of the launches, by the names that Trustee's own policy has for them.
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        ["mr_td", "rtmr_0", "rtmr_1", "rtmr_2"].into_iter().map(|name| {
            let all: BTreeSet<&String> = self.launches.iter().filter_map(|launch| launch.get(name)).collect();
            (name.to_owned(), all.into_iter().cloned().collect())
        })
    }
}

fn hex(Measurement(bytes): &Measurement) -> String {
    hex::encode(bytes)
}

/// What Trustee calls a status; older ones say it in the words of Intel's library. What is known to be bad has no name.
fn names(status: TcbStatus) -> Vec<String> {
    let older = match status {
        TcbStatus::UpToDate => Some("OK"),
        TcbStatus::SwHardeningNeeded => Some("SoftwareHardeningNeeded"),
        TcbStatus::ConfigurationAndSwHardeningNeeded => Some("ConfigurationAndSoftwareHardeningNeeded"),
        TcbStatus::NoMatchingLevel | TcbStatus::Revoked => return Vec::new(),
        _ => None,
    };
    std::iter::once(status.to_string()).chain(older.map(str::to_owned)).collect()
}

/// For each hexadecimal digit of 64 flags, lowest byte first, the digits that have all of `required` and nothing beyond both.
fn digits(required: u64, allowed: u64) -> Vec<String> {
    let nibbles = required.to_le_bytes().into_iter().zip(allowed.to_le_bytes());
    let nibbles = nibbles.flat_map(|(must, may)| [(must >> 4, may >> 4), (must & 15, may & 15)]);
    let fits = |must: u8, may: u8| move |digit: &u8| digit & must == must && digit & !(must | may) == 0;
    nibbles
        .map(|(must, may)| (0..16).filter(fits(must, may)).map(|digit| format!("{digit:x}")).collect())
        .collect()
}

/// The rules, for the end of the attestation policy.
pub(crate) const RULES: &str = r#"
# TDX, and Azure

no_service := "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

# One launch must agree in all of its registers.
td_allowed if {
	some launch in tdx.launches
	every name, value in launch {
		lower(input.tdx.quote.body[name]) == value
	}
}

executables := 3 if td_allowed

configuration := 2 if {
	td_allowed
	td_settled(input.tdx.quote.body)
	no_init_data
}

configuration := 2 if {
	td_allowed
	td_settled(input.tdx.quote.body)
	init_data_allowed
}

hardware := 2 if td_genuine(input.tdx)

hardware := 2 if {
	lower(input["az-tdx-vtpm"].quote.body.mr_td) in tdx.keepers
	td_genuine(input["az-tdx-vtpm"])
}

td_genuine(claims) if {
	claims.quote.header.tee_type == "81000000"
	claims.tcb_status in tdx.statuses
	claims.collateral_expiration_status == "0"
	evaluation := object.get(claims, "tcb_eval_num", 0)
	is_number(evaluation)
	evaluation >= tdx.evaluation
	td_settled(claims.quote.body)
	reaches(claims.quote.body.tcb_svn)
	reaches(object.get(claims.quote.body, "tee_tcb_svn2", claims.quote.body.tcb_svn))
	lower(object.get(claims.quote.body, "mr_servicetd", no_service)) in tdx.service
	every name, values in tdx.listed {
		lower(claims.quote.body[name]) in values
	}
}

td_settled(body) if {
	fits(body.td_attributes, tdx.attributes)
	fits(body.xfam, tdx.xfam)
}

fits(text, digits) if {
	count(text) == count(digits)
	every at, taken in digits {
		contains(taken, substring(lower(text), at, 1))
	}
}

reaches(text) if {
	count(text) == 32
	every at, least in tdx.svn {
		substring(lower(text), at * 2, 2) >= least
	}
}
"#;
