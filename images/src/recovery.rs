//! Custodians that a node's configuration names: those that the node would refuse are refused before it is built.

use ccnode_evidence::Layout;
use ccnode_protocol::recovery::Custodians;

/// Refuses a table `[recovery]` that no node takes.
pub(crate) fn check(table: Option<&toml::Value>, layout: Layout) -> Result<(), String> {
    let Some(table) = table else { return Ok(()) };
    if layout == Layout::Ephemeral {
        return Err(format!("an image of layout {layout} keeps nothing that could be recovered"));
    }
    table.clone().try_into::<Custodians>().map(drop).map_err(|error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_recovery::CustodianKey;

    #[test]
    fn custodians_that_a_node_would_refuse_are_refused() {
        let table = |keys: Vec<String>, threshold: i64| {
            let mut table = toml::Table::new();
            table.insert("custodians".into(), keys.into());
            table.insert("threshold".into(), threshold.into());
            toml::Value::from(table)
        };
        let key = || CustodianKey::generate().public_pem().unwrap();
        let good = table(vec![key(), key()], 2);
        for layout in [Layout::LuksRoot, Layout::VerityRoot] {
            assert_eq!(check(Some(&good), layout), Ok(()));
        }
        assert!(check(Some(&good), Layout::Ephemeral).unwrap_err().contains("layout ephemeral"));
        assert_eq!(check(None, Layout::Ephemeral), Ok(()));
        for (bad, want) in [
            (table(vec![key(), key()], 1), "threshold 1 of 2 custodians"),
            (table(vec![key(), "x".into()], 2), "custodian 2: not a public key"),
            (toml::Value::from("ada"), "invalid type"),
        ] {
            let error = check(Some(&bad), Layout::LuksRoot).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
