//! Reference values as stock administrators post them: lists of PCR values and of attestation keys, by names of their own.

use ccnode_evidence::{Base64Std, PcrIndex, Sha256Digest};
use serde::Deserialize as _;
use serde_json::Value;
use std::collections::BTreeMap;

/// The name of the list of attestation keys.
pub const TRUSTED_AKS: &str = "trusted_aks";
/// PCRs that must be among the values where any are posted: what was booted, Secure Boot's state, and who vouched for what was booted.
pub const MUST: [u8; 3] = [4, 7, 14];

/// Values in a list, at most.
const LIST: usize = 4096;

/// Why something is no reference value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReferenceValueError {
    /// Nothing here compares by this name.
    #[error("nothing is compared with `{0}`: the names are tpm_pcr0 to tpm_pcr23 and {TRUSTED_AKS}")]
    Name(String),
    /// Not a text or a list of texts.
    #[error("`{0}` is neither a text nor a list of at most {LIST} texts")]
    List(String),
    /// Not a value of its kind.
    #[error("`{name}`: {value} is not {due}")]
    Value {
        /// The name.
        name: String,
        /// The value, shortened.
        value: String,
        /// What it should be.
        due: &'static str,
    },
}

/// The reference values of a pool. An empty list allows nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReferenceValues {
    pcrs: BTreeMap<PcrIndex, Vec<Sha256Digest>>,
    /// SubjectPublicKeyInfo, DER.
    aks: Option<Vec<Vec<u8>>>,
}

impl ReferenceValues {
    /// Takes the list of one name in; it replaces the one before.
    pub fn add(&mut self, name: &str, value: &Value) -> Result<(), ReferenceValueError> {
        let texts = texts(name, value)?;
        let wrong = |value: &str, due| ReferenceValueError::Value {
            name: short(name),
            value: format!("`{}`", short(value)),
            due,
        };
        if name == TRUSTED_AKS {
            let key = |text: &&str| {
                let due = "base64 of an RSA key's SubjectPublicKeyInfo in DER";
                let der = Base64Std::deserialize(Value::String((*text).to_owned()))
                    .map_err(|_| wrong(text, due))?;
                super::read_ak(&der.0).map_err(|_| wrong(text, due))
            };
            self.aks = Some(texts.iter().map(key).collect::<Result<_, _>>()?);
            return Ok(());
        }
        let index =
            name.strip_prefix("tpm_pcr").filter(|digits| !digits.starts_with(['+', '0']) || *digits == "0");
        let index = index.and_then(|digits| digits.parse().ok()).and_then(|n| PcrIndex::new(n).ok());
        let index = index.ok_or_else(|| ReferenceValueError::Name(short(name)))?;
        let digest = |text: &&str| {
            let lower = Value::String(text.to_ascii_lowercase());
            Sha256Digest::deserialize(lower).map_err(|_| wrong(text, "64 hexadecimal digits"))
        };
        let values = texts.iter().map(digest).collect::<Result<_, _>>()?;
        self.pcrs.insert(index, values);
        Ok(())
    }

    /// PCRs that must be among the values and are not, by the values' names.
    pub fn missing(&self) -> Vec<String> {
        let named = |pcr: &u8| self.pcrs.keys().any(|index| index.get() == *pcr);
        MUST.iter().filter(|pcr| !named(pcr)).map(|pcr| format!("tpm_pcr{pcr}")).collect()
    }

    /// The lists by PCR.
    pub fn pcrs(&self) -> &BTreeMap<PcrIndex, Vec<Sha256Digest>> {
        &self.pcrs
    }

    /// The attestation keys (SubjectPublicKeyInfo in DER), where a list of them was posted.
    pub fn trusted_aks(&self) -> Option<&[Vec<u8>]> {
        self.aks.as_deref()
    }
}

fn texts<'a>(name: &str, value: &'a Value) -> Result<Vec<&'a str>, ReferenceValueError> {
    let fail = || ReferenceValueError::List(short(name));
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(list) if list.len() <= LIST => {
            list.iter().map(|item| item.as_str().ok_or_else(fail)).collect()
        }
        _ => Err(fail()),
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !ccnode_evidence::is_obeyed(*c)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_values_are_strict() {
        let mut values = ReferenceValues::default();
        let digest = "Ab".repeat(32);
        values.add("tpm_pcr4", &json!(digest)).unwrap();
        values.add("tpm_pcr14", &json!([digest, digest])).unwrap();
        assert_eq!(values.missing(), ["tpm_pcr7"]);
        values.add("tpm_pcr7", &json!([])).unwrap();
        assert!(values.missing().is_empty());
        assert_eq!(values.pcrs().values().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
        for name in ["svn", "tpm_pcr24", "tpm_pcr+4", "tpm_pcr04", "tpm_pcr", "TPM_PCR4", ""] {
            assert_eq!(values.add(name, &json!([])), Err(ReferenceValueError::Name(name.into())), "{name}");
        }
        for (name, value) in [("tpm_pcr4", json!(4)), ("tpm_pcr4", json!([4])), ("trusted_aks", json!({}))] {
            assert_eq!(values.add(name, &value), Err(ReferenceValueError::List(name.into())));
        }
        for (name, value) in [("tpm_pcr4", "aa"), ("trusted_aks", "aa"), ("trusted_aks", "!")] {
            assert!(matches!(values.add(name, &json!([value])), Err(ReferenceValueError::Value { .. })));
        }
    }
}
