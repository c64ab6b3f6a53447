//! A TPM quote with what goes with it: key, signature, PCR values, nonce, log.

use super::report::{Branch, Report, Standing};
use super::{Given, certs, input};
use anyhow::{Context as _, Result};
use ccnode_appraise::standalone::{
    AkChain, Attestation, PcrBank, QuoteEvidence, QuoteKey, QuoteReport, SignatureForm, Status, Subject,
};
use ccnode_evidence::{Code, HashAlg, PcrIndex};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Judges a TPMS_ATTEST, or an attestation of go-tpm-tools.
pub(crate) fn judge(bytes: &[u8], given: &Given) -> Result<Report> {
    if is_alone(bytes) {
        return one(bytes, given);
    }
    let mut report = Report::new("tpm-quote", "attestation of go-tpm-tools");
    let attestation = match Attestation::parse(bytes) {
        Ok(attestation) => attestation,
        Err(error) => {
            report.wrong(error.code(), error);
            return Ok(report);
        }
    };
    let (intermediates, roots) = chain(given)?;
    let chain = AkChain { intermediates: &intermediates, roots: &roots, at: given.now };
    let nonce = given.nonce.as_deref();
    let key = match QuoteKey::detect(&attestation.ak_pub) {
        Ok(key) => key,
        Err(error) => {
            report.wrong(error.code(), format!("ak_pub: {error}"));
            return Ok(report);
        }
    };
    let verdicts = attestation.verify(&key, nonce, Some(chain).filter(|_| !roots.is_empty()));
    for (n, verdict) in verdicts.iter().enumerate() {
        let mut part = Report::new("tpm-quote", format!("quote {}", n.saturating_add(1)));
        tell(verdict, false, &mut part);
        report.absorb(&format!("quote-{}", n.saturating_add(1)), part);
    }
    if let Some(instance) = &attestation.instance {
        report.unproven(format!(
            "that it is instance {} in {} of project {}: the attestation says so",
            instance.instance_name, instance.zone, instance.project_id
        ));
    }
    Ok(report)
}

/// Whether it is a quote alone, to which all else is given beside.
pub(crate) fn is_alone(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xffTCG")
}

/// A quote in one file, the rest beside it.
fn one(message: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("tpm-quote", "TPM quote");
    let key = match given.key.as_deref().map(QuoteKey::detect).transpose() {
        Ok(key) => key,
        Err(error) => {
            report.wrong(error.code(), format!("--key: {error}"));
            return Ok(report);
        }
    };
    let banks = match &given.pcrs {
        None => Vec::new(),
        Some(bytes) => match banks(bytes) {
            Some(banks) => banks,
            None => {
                report.wrong(
                    Code::PcrValuesMalformed,
                    "--pcrs: neither a JSON list or map, nor tpm2_pcrread's YAML, nor what tpm2_quote -o writes",
                );
                return Ok(report);
            }
        },
    };
    let (intermediates, roots) = chain(given)?;
    let chain = AkChain { intermediates: &intermediates, roots: &roots, at: given.now };
    let evidence = QuoteEvidence {
        message,
        signature: given.signature.as_deref().map(signature),
        key: key.as_ref(),
        chain: Some(chain).filter(|_| !roots.is_empty()),
        pcrs: &banks,
        nonce: given.nonce.as_deref(),
        log: given.log.as_deref(),
        ..Default::default()
    };
    tell(&evidence.verify(), given.log.is_some(), &mut report);
    Ok(report)
}

/// TPMT_SIGNATURE begins with its scheme; anything else is taken for the bytes of RSASSA.
fn signature(bytes: &[u8]) -> SignatureForm<'_> {
    match bytes {
        [0x00, 0x14 | 0x16 | 0x18..=0x1c, 0x00, ..] => SignatureForm::Tpmt(bytes),
        _ => SignatureForm::RawRsassaSha256(bytes),
    }
}

type Ders = Vec<Vec<u8>>;

/// CAs of `--certs` and of `--danger-root`, DER.
fn chain(given: &Given) -> Result<(Ders, Ders)> {
    let mut intermediates = Vec::new();
    for (path, bytes) in &given.certs {
        let items = ccnode_bundle::read_items(bytes).with_context(|| path.display().to_string())?;
        for item in items {
            if let ccnode_bundle::Item::Certificate { der } = item {
                intermediates.push(der.0);
            }
        }
    }
    Ok((intermediates, certs::ders(given)?))
}

/// Puts the findings into a report. What nobody gave is told; the signature, and the log that somebody asked about by `--log`, decide
/// whether the verdict is complete.
pub(crate) fn tell(found: &QuoteReport, log_asked: bool, report: &mut Report) {
    let log_due = log_asked && !found.proven(Subject::Log);
    let mut log_told = false;
    for finding in &found.findings {
        let code = finding.code().unwrap_or(Code::Internal);
        // A log is held to the values that the quote covers: without them it is as little proven as by another bank.
        let of_log = matches!(finding.subject, Subject::Log | Subject::Pcrs | Subject::Selection);
        match finding.status {
            Status::Proven => report.push(Branch::proven(&finding.text)),
            Status::Refuted => report.wrong(code, &finding.text),
            Status::Unproven if finding.subject == Subject::Signature => report.missing(code, &finding.text),
            Status::Unproven if log_due && of_log => report.missing(code, &finding.text),
            Status::Weak => report.weak(code, &finding.text),
            Status::Unproven => report.unproven(&finding.text),
        }
        log_told |= of_log && matches!(finding.status, Status::Refuted | Status::Unproven);
    }
    if log_due && !log_told {
        report
            .missing(Code::EventLogIncomplete, "the quote says of no PCR what the log given must replay to");
    }
    let Some(claims) = &found.claims else { return };
    let mut says = Branch::new(Standing::Plain, "the quote says");
    let selections: Vec<String> = claims.selections.iter().map(ToString::to_string).collect();
    says.push(Branch::plain(format!("PCRs {}", selections.join(", "))));
    says.push(Branch::plain(format!("digest over them {}", claims.pcr_digest)));
    let clock = claims.clock;
    says.push(Branch::plain(format!(
        "reset {}, restart {}, clock {} ms{}",
        clock.reset_count,
        clock.restart_count,
        clock.clock,
        if clock.safe { "" } else { ", not safe" }
    )));
    report.push(says);
    report.claim("extra-data", hex::encode(&claims.extra_data));
    report.claim("selection", selections);
    report.claim("pcr-digest", claims.pcr_digest.to_string());
    report.claim("firmware-version", format!("{:#x}", claims.firmware_version));
    report.claim("qualified-signer", hex::encode(&claims.qualified_signer));
    report.claim("scheme", claims.scheme.map(|scheme| scheme.to_string()));
    report.claim("key", &claims.key);
    report.claim(
        "clock",
        json!({
            "clock": clock.clock, "reset-count": clock.reset_count, "restart-count": clock.restart_count,
            "safe": clock.safe,
        }),
    );
}

/// PCR values in the forms that tools write them.
fn banks(bytes: &[u8]) -> Option<Vec<PcrBank>> {
    if let Ok(banks) = PcrBank::serialized(bytes) {
        return Some(banks);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        return json_banks(&value);
    }
    yaml_banks(std::str::from_utf8(bytes).ok()?)
}

/// A list of values from PCR 0 upwards, or `{"sha256": {"0": value}}`.
fn json_banks(value: &Value) -> Option<Vec<PcrBank>> {
    match value {
        Value::Array(values) => {
            let values: Option<Vec<Vec<u8>>> =
                values.iter().map(|v| input::decode_hex(v.as_str()?.as_bytes())).collect();
            let values: BTreeMap<PcrIndex, Vec<u8>> = PcrIndex::all().zip(values?).collect();
            let size = values.values().next()?.len();
            let alg = BANKS.into_iter().find(|alg| alg.size() == size)?;
            PcrBank::new(alg, values).ok().map(|bank| vec![bank])
        }
        Value::Object(banks) => banks
            .iter()
            .map(|(name, values)| {
                let pairs =
                    values.as_object()?.iter().map(|(index, value)| Some((index.as_str(), value.as_str()?)));
                bank(name, pairs.collect::<Option<Vec<_>>>()?)
            })
            .collect(),
        _ => None,
    }
}

/// What `tpm2_pcrread` prints: `sha256:`, then `0 : 0x…` below it.
fn yaml_banks(text: &str) -> Option<Vec<PcrBank>> {
    let mut banks: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        match value.trim() {
            "" => banks.push((name.trim(), Vec::new())),
            value => banks.last_mut()?.1.push((name.trim(), value)),
        }
    }
    banks.retain(|(_, values)| !values.is_empty());
    let all: Option<Vec<PcrBank>> = banks.into_iter().map(|(name, values)| bank(name, values)).collect();
    all.filter(|banks| !banks.is_empty())
}

const BANKS: [HashAlg; 4] = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512, HashAlg::Sha1];

fn bank(name: &str, values: Vec<(&str, &str)>) -> Option<PcrBank> {
    let alg = BANKS.into_iter().find(|alg| alg.name().eq_ignore_ascii_case(name))?;
    let values = values.into_iter().map(|(index, value)| {
        let index = PcrIndex::new(index.parse().ok()?).ok()?;
        Some((index, input::decode_hex(value.as_bytes())?))
    });
    PcrBank::new(alg, values.collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_every_form() {
        let value = "00".repeat(32);
        for text in [
            format!(r#"["{value}","{value}"]"#),
            format!(r#"{{"sha256":{{"0":"{value}","1":"{value}"}}}}"#),
            format!("sha1:\n  sha256:\n    0 : 0x{value}\n    1 : 0x{value}\n"),
        ] {
            let banks = banks(text.as_bytes()).unwrap();
            assert_eq!((banks.len(), banks[0].values().len()), (1, 2), "{text}");
        }
        for text in
            ["", "{", "[1]", r#"["00"]"#, r#"{"sha256":{"24":"00"}}"#, "0 : 0x00", "sha256:\n 0 : 0x00"]
        {
            assert!(banks(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn signatures_are_told_apart() {
        assert!(matches!(signature(&[0, 0x14, 0, 0x0b]), SignatureForm::Tpmt(_)));
        assert!(matches!(signature(&[0x39; 256]), SignatureForm::RawRsassaSha256(_)));
    }
}
