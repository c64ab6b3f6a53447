//! Every member of Intel's collateral: changed and signed anew, it is refused by a variant of its own; left out, it is missed by its name;
//! unsigned, the signature is wrong. The rows leave no member out.

use crate::world::{platform, prove_with, valid, valid_json};
use ccnode_tdx::{
    CollateralError, CollateralItem as Item, ModuleError, QeIdentityError, Rejection, TcbStatus, TdxPolicy,
};
use ccnode_testkit::tdx::{Collateral, TdQuote};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What comes of a change.
enum Due {
    Refused(fn(&Rejection) -> bool),
    /// Taken, and the claim is another.
    Informs,
    /// Taken, and not told: nothing reads it.
    Silent,
}

struct Row {
    /// Arrays of which each member is alike are `[]`.
    member: &'static str,
    /// A pointer to one place of it.
    at: &'static str,
    to: Value,
    /// Makes the member count, where with honest values it would not.
    before: fn(&mut Collateral, &mut TdQuote),
    due: Due,
}

fn row(member: &'static str, at: &'static str, to: Value, due: Due) -> Row {
    Row { member, at, to, before: |_, _| (), due }
}

macro_rules! refused {
    ($pattern:pat) => {
        Due::Refused(|got| matches!(got, $pattern))
    };
}

macro_rules! status {
    ($status:ident) => {
        refused!(Rejection::TcbStatus { seen: TcbStatus::$status, .. })
    };
}

/// Collateral whose levels all count, and a quote of it.
fn honest() -> (Collateral, TdQuote) {
    (Collateral::default(), TdQuote::v4())
}

fn old_module(_: &mut Collateral, quote: &mut TdQuote) {
    quote.td.tee_tcb_svn[1] = 0;
}

fn odd_old_module(collateral: &mut Collateral, quote: &mut TdQuote) {
    old_module(collateral, quote);
    quote.td.seam_attributes = 1;
    collateral.tcb_info["tdxModule"]["attributes"] = json!("0100000000000000");
}

fn odd_module(collateral: &mut Collateral, quote: &mut TdQuote) {
    quote.td.seam_attributes = 1;
    collateral.tcb_info["tdxModuleIdentities"][1]["attributes"] = json!("0100000000000000");
}

fn masked_misc(collateral: &mut Collateral, quote: &mut TdQuote) {
    quote.qe.misc_select = 1;
    collateral.qe_identity["miscselectMask"] = json!("00000000");
}

fn masked_attributes(collateral: &mut Collateral, quote: &mut TdQuote) {
    quote.qe.attributes[1] = 1;
    collateral.qe_identity["attributesMask"] = json!("FB00FFFFFFFFFFFF0000000000000000");
}

#[rustfmt::skip]
fn tcb_info() -> Vec<Row> {
    let platform = || refused!(Rejection::CollateralPlatform { .. });
    let mut rows = vec![
        row("id", "/id", json!("SGX"), refused!(Rejection::CollateralKind { item: Item::TcbInfo, .. })),
        row("version", "/version", json!(2), refused!(Rejection::CollateralMalformed { item: Item::TcbInfo, error: CollateralError::Version { seen: 2, .. } })),
        row("issueDate", "/issueDate", json!("2025-06-16T00:00:00Z"), refused!(Rejection::CollateralNotYetValid { item: Item::TcbInfo, .. })),
        row("nextUpdate", "/nextUpdate", json!("2025-06-14T00:00:00Z"), refused!(Rejection::CollateralExpired { item: Item::TcbInfo, .. })),
        row("fmspc", "/fmspc", json!("00806F050000"), platform()),
        row("pceId", "/pceId", json!("0001"), platform()),
        row("tcbType", "/tcbType", json!(1), refused!(Rejection::CollateralMalformed { item: Item::TcbInfo, error: CollateralError::TcbType(1) })),
        row("tcbEvaluationDataNumber", "/tcbEvaluationDataNumber", json!(16), refused!(Rejection::EvaluationNumber { seen: 16, wanted: 17 })),
        Row { before: old_module, ..row("tdxModule.mrsigner", "/tdxModule/mrsigner", json!("11".repeat(48)), refused!(Rejection::Module(ModuleError::MrSigner { .. }))) },
        Row { before: old_module, ..row("tdxModule.attributes", "/tdxModule/attributes", json!("0100000000000000"), refused!(Rejection::Module(ModuleError::Attributes { .. }))) },
        Row { before: odd_old_module, ..row("tdxModule.attributesMask", "/tdxModule/attributesMask", json!("0000000000000000"), refused!(Rejection::Module(ModuleError::Attributes { .. }))) },
        row("tdxModuleIdentities[].id", "/tdxModuleIdentities/1/id", json!("TDX_09"), refused!(Rejection::Module(ModuleError::Unknown { version: 1 }))),
        row("tdxModuleIdentities[].mrsigner", "/tdxModuleIdentities/1/mrsigner", json!("11".repeat(48)), refused!(Rejection::Module(ModuleError::MrSigner { .. }))),
        row("tdxModuleIdentities[].attributes", "/tdxModuleIdentities/1/attributes", json!("0100000000000000"), refused!(Rejection::Module(ModuleError::Attributes { .. }))),
        Row { before: odd_module, ..row("tdxModuleIdentities[].attributesMask", "/tdxModuleIdentities/1/attributesMask", json!("0000000000000000"), refused!(Rejection::Module(ModuleError::Attributes { .. }))) },
        row("tdxModuleIdentities[].tcbLevels[].tcb.isvsvn", "/tdxModuleIdentities/1/tcbLevels/0/tcb/isvsvn", json!(6), status!(OutOfDate)),
        row("tdxModuleIdentities[].tcbLevels[].tcbDate", "/tdxModuleIdentities/1/tcbLevels/0/tcbDate", json!("2020-01-01T00:00:00Z"), Due::Informs),
        row("tdxModuleIdentities[].tcbLevels[].tcbStatus", "/tdxModuleIdentities/1/tcbLevels/0/tcbStatus", json!("Revoked"), status!(Revoked)),
        row("tdxModuleIdentities[].tcbLevels[].advisoryIDs[]", "/tdxModuleIdentities/1/tcbLevels/0/advisoryIDs", json!(["INTEL-SA-1"]), Due::Informs),
        row("tcbLevels[].tcb.pcesvn", "/tcbLevels/1/tcb/pcesvn", json!(12), status!(OutOfDate)),
        row("tcbLevels[].tcbDate", "/tcbLevels/1/tcbDate", json!("2020-01-01T00:00:00Z"), Due::Informs),
        row("tcbLevels[].tcbStatus", "/tcbLevels/1/tcbStatus", json!("ConfigurationNeeded"), status!(ConfigurationNeeded)),
        row("tcbLevels[].advisoryIDs[]", "/tcbLevels/1/advisoryIDs", json!(["INTEL-SA-1"]), Due::Informs),
    ];
    for kind in ["sgx", "tdx"] {
        let member = |name: &str| -> &'static str { format!("tcbLevels[].tcb.{kind}tcbcomponents[].{name}").leak() };
        for n in 0..16 {
            let at: &'static str = format!("/tcbLevels/1/tcb/{kind}tcbcomponents/{n}/svn").leak();
            // The first two TDX components are the module's, whose identity has them.
            let due = if kind == "tdx" && n < 2 { Due::Silent } else { status!(OutOfDate) };
            rows.push(row(member("svn"), at, json!(9), due));
        }
        for name in ["category", "type"] {
            let at: &'static str = format!("/tcbLevels/1/tcb/{kind}tcbcomponents/0/{name}").leak();
            rows.push(row(member(name), at, json!("x"), Due::Silent));
        }
    }
    rows
}

#[rustfmt::skip]
fn qe_identity() -> Vec<Row> {
    vec![
        row("id", "/id", json!("QE"), refused!(Rejection::CollateralKind { item: Item::QeIdentity, .. })),
        row("version", "/version", json!(1), refused!(Rejection::CollateralMalformed { item: Item::QeIdentity, error: CollateralError::Version { seen: 1, .. } })),
        row("issueDate", "/issueDate", json!("2025-06-16T00:00:00Z"), refused!(Rejection::CollateralNotYetValid { item: Item::QeIdentity, .. })),
        row("nextUpdate", "/nextUpdate", json!("2025-06-14T00:00:00Z"), refused!(Rejection::CollateralExpired { item: Item::QeIdentity, .. })),
        row("tcbEvaluationDataNumber", "/tcbEvaluationDataNumber", json!(16), refused!(Rejection::EvaluationNumber { seen: 16, wanted: 17 })),
        row("miscselect", "/miscselect", json!("01000000"), refused!(Rejection::QeIdentity(QeIdentityError::MiscSelect { wanted: 1, .. }))),
        Row { before: masked_misc, ..row("miscselectMask", "/miscselectMask", json!("01000000"), refused!(Rejection::QeIdentity(QeIdentityError::MiscSelect { mask: 1, .. }))) },
        row("attributes", "/attributes", json!("11010000000000000000000000000000"), refused!(Rejection::QeIdentity(QeIdentityError::Attributes { .. }))),
        Row { before: masked_attributes, ..row("attributesMask", "/attributesMask", json!("FBFFFFFFFFFFFFFF0000000000000000"), refused!(Rejection::QeIdentity(QeIdentityError::Attributes { .. }))) },
        row("mrsigner", "/mrsigner", json!("11".repeat(32)), refused!(Rejection::QeIdentity(QeIdentityError::MrSigner { .. }))),
        row("isvprodid", "/isvprodid", json!(3), refused!(Rejection::QeIdentity(QeIdentityError::IsvProdId { wanted: 3, .. }))),
        row("tcbLevels[].tcb.isvsvn", "/tcbLevels/0/tcb/isvsvn", json!(7), status!(OutOfDate)),
        row("tcbLevels[].tcbDate", "/tcbLevels/0/tcbDate", json!("2020-01-01T00:00:00Z"), Due::Informs),
        row("tcbLevels[].tcbStatus", "/tcbLevels/0/tcbStatus", json!("Revoked"), status!(Revoked)),
        row("tcbLevels[].advisoryIDs[]", "/tcbLevels/0/advisoryIDs", json!(["INTEL-SA-1"]), Due::Informs),
    ]
}

/// The paths of all leaves.
fn members(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members_of) => {
            for (name, value) in members_of {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                members(value, &path, out);
            }
        }
        Value::Array(values) if path.ends_with("advisoryIDs") => {
            let _ = (values, out.insert(format!("{path}[]")));
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, &format!("{path}[]"), out)),
        _ => drop(out.insert(path.to_owned())),
    }
}

fn judged(collateral: &Collateral, quote: &TdQuote) -> Result<String, Rejection> {
    let proven = prove_with(quote, Some(&valid(collateral, platform())?))?;
    let policy = TdxPolicy { minimum_tcb_evaluation: 17, ..TdxPolicy::default() };
    policy.check(&proven)?;
    Ok(format!("{:?}", proven.tcb().unwrap()))
}

fn every_member(part: fn(&mut Collateral) -> &mut Value, item: Item, rows: Vec<Row>) {
    let mut there = BTreeSet::new();
    members(part(&mut honest().0), "", &mut there);
    assert_eq!(there, rows.iter().map(|row| row.member.to_owned()).collect::<BTreeSet<_>>());
    for Row { member, at, to, before, due } in rows {
        let (mut collateral, mut quote) = honest();
        before(&mut collateral, &mut quote);
        let good = judged(&collateral, &quote).unwrap_or_else(|e| panic!("{member}: {e}"));
        let without = {
            let mut collateral = collateral.clone();
            let (parent, last) = at.rsplit_once('/').unwrap();
            let parent = part(&mut collateral).pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().remove(last);
            judged(&collateral, &quote)
        };
        let last = at.rsplit('/').next().unwrap();
        match without {
            Err(Rejection::CollateralMalformed { item: seen, error: CollateralError::Json(why) }) => {
                assert!(seen == item && why.contains(&format!("missing field `{last}`")), "{member}: {why}");
            }
            Err(Rejection::CollateralKind { .. }) if last == "id" => {}
            Ok(taken) if matches!(last, "advisoryIDs" | "category" | "type") => assert_eq!(taken, good),
            other => panic!("{member} left out: {other:?}"),
        }
        let mut json = collateral.sign(platform());
        *part(&mut collateral).pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = to;
        // Unsigned: the text is another, and the signature is of the one before.
        let name = if item == Item::TcbInfo { "tcb_info" } else { "qe_identity" };
        json[name] = json!(part(&mut collateral).to_string());
        assert_eq!(
            valid_json(&json, platform()).unwrap_err(),
            Rejection::CollateralSignature(item),
            "{member}"
        );
        match (judged(&collateral, &quote), due) {
            (Err(got), Due::Refused(is)) => assert!(is(&got), "{member}: {got:?}"),
            (Ok(taken), Due::Informs) => assert_ne!(taken, good, "{member}"),
            (Ok(taken), Due::Silent) => assert_eq!(taken, good, "{member}"),
            (got, _) => panic!("{member}: {got:?}"),
        }
    }
}

#[test]
fn t19_every_member_of_the_tcb_info_mutated_has_its_own_rejection() {
    every_member(|collateral| &mut collateral.tcb_info, Item::TcbInfo, tcb_info());
}

#[test]
fn t19_every_member_of_the_qe_identity_mutated_has_its_own_rejection() {
    every_member(|collateral| &mut collateral.qe_identity, Item::QeIdentity, qe_identity());
}

#[test]
fn t19_every_item_of_the_collateral_mutated_has_its_own_rejection() {
    use ccnode_tdx::ChainKind as Chain;
    let good = Collateral::default().sign(platform());
    let chain = |text: &str| json!(text.replacen("MII", "MIJ", 1));
    let list = |text: &str| {
        // The last byte of a list is its signature's.
        let (rest, last) = text.split_at(text.len() - 1);
        json!(format!("{rest}{}", if last == "0" { "1" } else { "0" }))
    };
    type Items = [(&'static str, Value, fn(&Rejection) -> bool); 9];
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    let items: Items = [
        ("pck_crl_issuer_chain", chain(&text("pck_crl_issuer_chain")), |got| {
            matches!(got, Rejection::Chain { chain: Chain::PckCrl, .. })
        }),
        ("root_ca_crl", list(&text("root_ca_crl")), |got| {
            matches!(got, Rejection::CollateralSignature(Item::RootCrl))
        }),
        ("pck_crl", list(&text("pck_crl")), |got| {
            matches!(got, Rejection::CollateralSignature(Item::PckCrl))
        }),
        ("tcb_info_issuer_chain", chain(&text("tcb_info_issuer_chain")), |got| {
            matches!(got, Rejection::Chain { chain: Chain::TcbInfo, .. })
        }),
        ("tcb_info", json!(text("tcb_info") + " "), |got| {
            matches!(got, Rejection::CollateralSignature(Item::TcbInfo))
        }),
        ("tcb_info_signature", json!("00"), |got| {
            matches!(
                got,
                Rejection::CollateralMalformed { item: Item::TcbInfo, error: CollateralError::Signature }
            )
        }),
        ("qe_identity_issuer_chain", chain(&text("qe_identity_issuer_chain")), |got| {
            matches!(got, Rejection::Chain { chain: Chain::QeIdentity, .. })
        }),
        ("qe_identity", json!(text("qe_identity") + " "), |got| {
            matches!(got, Rejection::CollateralSignature(Item::QeIdentity))
        }),
        ("qe_identity_signature", json!("00"), |got| {
            matches!(
                got,
                Rejection::CollateralMalformed { item: Item::QeIdentity, error: CollateralError::Signature }
            )
        }),
    ];
    let there: BTreeSet<&str> = good.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(there, items.iter().map(|(name, ..)| *name).collect());
    for (name, to, is) in items {
        let mut changed = good.clone();
        changed[name] = to;
        let got = valid_json(&changed, platform()).unwrap_err();
        assert!(is(&got), "{name}: {got:?}");
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(name);
        let got = valid_json(&without, platform()).unwrap_err();
        assert!(
            matches!(&got, Rejection::CollateralMalformed { item: Item::Whole, error: CollateralError::Json(why) }
                if why.contains(&format!("missing field `{name}`"))),
            "{name}: {got:?}"
        );
    }
}
