//! Hardware in words for people: what a pool demands of it, and what a node's report proved.

use crate::output::word;
use ccnode_appraise::HardwarePolicy;
use ccnode_protocol::admin::{HardwareClaims, HardwareRecord};
use serde_json::Value;

type Field = (&'static str, String);

/// Level, kinds and TCBs that a pool takes, and each of its settings that gives something up.
pub(crate) fn demanded(policy: &HardwarePolicy) -> Vec<Field> {
    let any = || "any".to_owned();
    let kinds = |kinds: &std::collections::BTreeSet<_>| kinds.iter().map(word).collect::<Vec<_>>().join(", ");
    let mut fields = vec![
        ("level", policy.least_level.as_ref().map_or_else(any, |level| format!("at least {level}"))),
        ("evidence", policy.kinds.as_ref().map_or_else(any, kinds)),
    ];
    for (product, floor) in &policy.snp.minimum_tcb {
        let parts = match serde_json::to_value(floor) {
            Ok(Value::Object(parts)) => parts.iter().map(|(name, least)| format!("{name} {least}")).collect(),
            _ => Vec::new(),
        };
        fields.push(("snp-tcb", format!("{} at least {}", word(product), parts.join(", "))));
    }
    let statuses: Vec<String> = policy.tdx.tcb_statuses.iter().map(word).collect();
    fields.push(("tdx-tcb", statuses.join(", ")));
    let mut dangers = Vec::new();
    if let Ok(settings) = serde_json::to_value(policy) {
        find_dangers(&settings, "", &mut dangers);
    }
    fields.extend(dangers.into_iter().map(|danger| ("danger", danger)));
    fields
}

/// Settings that loosen have `danger` in their names; those that are off loosen nothing.
fn find_dangers(value: &Value, path: &str, found: &mut Vec<String>) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let on = match value {
            Value::Bool(on) => *on,
            Value::Number(number) => number.as_u64() != Some(0),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        };
        if name.starts_with("danger-") && on {
            found.push(path);
        } else {
            find_dangers(value, &path, found);
        }
    }
}

/// Platform, TCB, chip and launch that a report proved.
pub(crate) fn proven(record: &HardwareRecord) -> Vec<Field> {
    let covers = if record.covers_tpm { "the report covers the vTPM" } else { "the report covers no TPM" };
    let root = |danger: bool| if danger { ", under a root that the pool adds" } else { "" };
    match &record.claims {
        HardwareClaims::Snp(snp) => {
            let provider = snp.provider.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            let hardware = format!(
                "SEV-SNP {}, {}{provider}{}; {covers}",
                snp.product,
                snp.signing_key,
                root(snp.danger_root)
            );
            vec![
                ("hardware", hardware),
                ("tcb", snp.tcb.to_string()),
                ("chip", snp.chip_id.clone().unwrap_or_else(|| "hidden by its host".to_owned())),
                ("measurement", snp.measurement.clone()),
            ]
        }
        HardwareClaims::Tdx(tdx) => {
            let status = tdx.tcb_status.as_deref().unwrap_or("not known");
            let mut tcb = format!("{status}, TEE_TCB_SVN {}", tdx.tee_tcb_svn);
            if !tdx.advisories.is_empty() {
                tcb.push_str("; advisories ");
                tcb.push_str(&tdx.advisories.join(", "));
            }
            vec![
                ("hardware", format!("TDX, FMSPC {}{}; {covers}", tdx.fmspc, root(tdx.danger_root))),
                ("tcb", tcb),
                ("measurement", tdx.mr_td.clone()),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(fields: &[Field]) -> String {
        fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    #[test]
    fn a_policy_in_words() {
        let plain = demanded(&HardwarePolicy::default());
        assert_eq!(text(&plain), "level: any\nevidence: any\ntdx-tcb: up-to-date\n");
        let policy = json!({
            "least-level": "tee-bound-vtpm", "kinds": ["snp", "az-tdx-vtpm"],
            "snp": {"minimum-tcb": {"milan": {"snp": 24, "microcode": 219}}, "danger-debug": true},
            "tdx": {"tcb-statuses": ["up-to-date", "out-of-date"], "collateral": {"danger-grace-days": 3}},
            "azure": {"danger-stale-report": false},
        });
        let policy = serde_json::from_value(policy).unwrap();
        let due = "level: at least tee-bound-vtpm\nevidence: snp, az-tdx-vtpm\n\
                   snp-tcb: milan at least snp 24, microcode 219\ntdx-tcb: up-to-date, out-of-date\n\
                   danger: snp.danger-debug\ndanger: tdx.collateral.danger-grace-days\n";
        let got = text(&demanded(&policy));
        let sorted = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().map(|l| l.replace("microcode 219, snp 24", "snp 24, microcode 219")).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&got), sorted(due));
    }

    #[test]
    fn a_report_in_words() {
        let tcb = json!({"bootloader": 4, "tee": 1, "snp": 24, "microcode": 219});
        let snp = json!({"kind": "snp", "covers-tpm": true, "snp": {
            "product": "Milan", "chip-id": null, "signing-key": "VLEK", "provider": "CN=cloud", "tcb": tcb,
            "launch-tcb": tcb, "measurement": "11", "host-data": "", "id-key-digest": null,
            "author-key-digest": null, "policy": "0x30000", "vmpl": 0, "report-id": "", "root": "",
            "danger-root": false, "crl-checked": false,
        }});
        let due = "hardware: SEV-SNP Milan, VLEK of CN=cloud; the report covers the vTPM\n\
                   tcb: bootloader 4, tee 1, snp 24, microcode 219\nchip: hidden by its host\nmeasurement: 11\n";
        assert_eq!(text(&proven(&serde_json::from_value(snp).unwrap())), due);
        let tdx = json!({"kind": "tdx", "covers-tpm": false, "tdx": {
            "fmspc": "b0c06f000000", "tcb-status": "OutOfDate", "advisories": ["INTEL-SA-1", "INTEL-SA-2"],
            "tee-tcb-svn": "0501", "mr-td": "22", "rtmrs": ["", "", "", ""], "mr-config-id": "",
            "attributes": "", "xfam": "", "root": "", "danger-root": true,
        }});
        let due = "hardware: TDX, FMSPC b0c06f000000, under a root that the pool adds; the report covers no TPM\n\
                   tcb: OutOfDate, TEE_TCB_SVN 0501; advisories INTEL-SA-1, INTEL-SA-2\nmeasurement: 22\n";
        assert_eq!(text(&proven(&serde_json::from_value(tdx).unwrap())), due);
    }
}
