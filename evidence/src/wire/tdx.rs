//! Evidence of the TEE `tdx` as it travels: the quote and, where there is one, the CCEL.

use crate::Base64Std;
use serde::{Deserialize, Serialize};

/// Primary evidence of the TEE `tdx`; unknown members are ignored by the stock service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TdxEvidence {
    /// The CCEL: the log of what was extended into RTMRs, in the TCG crypto-agile form; null where the guest has none.
    pub cc_eventlog: Option<Base64Std>,
    /// A TD quote of version 4 or 5, as the quoting enclave made it; zero bytes may follow.
    pub quote: Base64Std,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_form_reads_and_writes() {
        let text = r#"{"cc_eventlog":null,"quote":"BAAC"}"#;
        let evidence: TdxEvidence = serde_json::from_str(text).unwrap();
        assert_eq!(evidence.quote.0, [4, 0, 2]);
        assert_eq!(serde_json::to_string(&evidence).unwrap(), text);

        let with_log = r#"{"cc_eventlog":"AQ==","quote":"BAAC","more":1}"#;
        let evidence: TdxEvidence = serde_json::from_str(with_log).unwrap();
        assert_eq!(evidence.cc_eventlog.unwrap().0, [1]);
        assert!(serde_json::from_str::<TdxEvidence>(r#"{"cc_eventlog":null}"#).is_err());
        assert!(serde_json::from_str::<TdxEvidence>(r#"{"quote":"!"}"#).is_err());
    }
}
