//! Azure's confidential VMs: the vTPM's quote, the HCL report that names its key, and the hardware report inside.

use super::detect::Kind;
use super::input::{decode_base64, decode_hex};
use super::report::{Branch, Report};
use super::{Given, certs, snp as raw_snp, tdx as raw_tdx, tpm as raw_tpm};
use anyhow::Result;
use ccnode_appraise::standalone::{PcrBank, QuoteEvidence, QuoteKey, SignatureForm};
use ccnode_evidence::{Code, HashAlg, PcrIndex};
use ccnode_hcl::{HardwareReport, HclReport, RuntimeProven};
use ccnode_tdx::TdReport;
use serde_json::Value;

/// Judges an HCL report alone; the TD report in one is proven by a quote, which it does not hold.
pub(crate) fn report(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("hcl", "Azure HCL report");
    let _ = runtime(bytes, &[], None, given, &mut report)?;
    Ok(report)
}

/// Judges the evidence of an Azure VM in each of the forms that its attesters have sent.
pub(crate) fn evidence(kind: Kind, bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new(kind.name(), format!("evidence `{}`", kind.name()));
    let sent = match serde_json::from_slice::<Value>(bytes)
        .map_err(|e| e.to_string())
        .and_then(|v| Sent::read(&v))
    {
        Ok(sent) => sent,
        Err(reason) => {
            report.wrong(Code::MalformedRequest, format!("not evidence of this form: {reason}"));
            return Ok(report);
        }
    };
    let wants_quote = matches!(kind, Kind::AzTdxVtpm);
    if wants_quote != sent.td_quote.is_some() {
        report.wrong(Code::MalformedRequest, "`az-tdx-vtpm` has a td_quote, and `az-snp-vtpm` has none");
        return Ok(report);
    }
    let Some(proven) = runtime(&sent.hcl_report, &sent.vcek, sent.td_quote.as_deref(), given, &mut report)?
    else {
        return Ok(report);
    };
    made_for(&proven, given, &mut report);
    let ak = proven.data().ak();
    let key = match QuoteKey::rsa(ak.modulus(), ak.exponent()) {
        Ok(key) => key,
        Err(error) => {
            report.wrong(error.code(), error);
            return Ok(report);
        }
    };
    let values = PcrIndex::all().zip(sent.pcrs).collect();
    let banks = match PcrBank::new(HashAlg::Sha256, values) {
        Ok(bank) => vec![bank],
        Err(error) => {
            report.wrong(error.code(), error);
            return Ok(report);
        }
    };
    let quote = QuoteEvidence {
        message: &sent.message,
        signature: Some(SignatureForm::RawRsassaSha256(&sent.signature)),
        key: Some(&key),
        pcrs: &banks,
        nonce: given.nonce.as_deref(),
        log: given.log.as_deref(),
        ..Default::default()
    };
    let mut part = Report::new(kind.name(), "quote of the vTPM, by the key that the runtime data name");
    raw_tpm::tell(&quote.verify(), given.log.is_some(), &mut part);
    report.absorb("quote", part);
    Ok(report)
}

/// Leads the runtime data to a hardware root: report inside, its signature, its REPORT_DATA over the runtime data.
fn runtime(
    bytes: &[u8],
    vcek: &[u8],
    td_quote: Option<&[u8]>,
    given: &Given,
    report: &mut Report,
) -> Result<Option<RuntimeProven>> {
    let hcl = match HclReport::parse(bytes) {
        Ok(hcl) => hcl,
        Err(rejection) => {
            report.wrong(rejection.code(), rejection);
            return Ok(None);
        }
    };
    report.claim("hcl-version", hcl.version());
    let mut part;
    let report_data = match hcl.hardware() {
        HardwareReport::Snp(raw) => {
            part = Report::new("snp", "hardware report");
            snp_report_data(raw, vcek, given, &mut part)?
        }
        HardwareReport::Tdx(raw) => {
            part = Report::new("tdx", "hardware report");
            tdx_report_data(raw, td_quote, given, &mut part)?
        }
    };
    report.absorb("hardware", part);
    let Some(report_data) = report_data else { return Ok(None) };
    match hcl.bound_to(&report_data) {
        Ok(proven) => {
            describe(&hcl, &proven, report);
            Ok(Some(proven))
        }
        Err(rejection) => {
            report.wrong(rejection.code(), rejection);
            Ok(None)
        }
    }
}

/// The quote answers the nonce; whether the hardware report was made then, too, its user data say.
fn made_for(proven: &RuntimeProven, given: &Given, report: &mut Report) {
    let Some(nonce) = &given.nonce else { return };
    let mut wanted = [0; 64];
    wanted.iter_mut().zip(nonce).for_each(|(to, from)| *to = *from);
    match proven.is_fresh(&wanted) {
        Ok(()) => report.push(Branch::proven("the hardware report was made for the nonce given")),
        Err(rejection) => report.unproven(format!("that the hardware report is as fresh: {rejection}")),
    }
}

fn describe(hcl: &HclReport<'_>, proven: &RuntimeProven, report: &mut Report) {
    let vm = proven.data().vm();
    let mut branch =
        Branch::proven(format!("the hardware report covers the runtime data ({})", hcl.hash_name()))
            .with(Branch::plain("they name the vTPM's attestation key"));
    if let Some(id) = &vm.vm_unique_id {
        branch.push(Branch::plain(format!("VM {id}")));
    }
    report.push(branch);
    if vm.tpm_persisted == Some(false) {
        report.push(Branch::plain(
            "the vTPM is made anew at each boot: it is nobody from one boot to the next",
        ));
    }
    report.claim("secure-boot", vm.secure_boot);
    report.claim("tpm-persisted", vm.tpm_persisted);
    report.claim("vm-id", &vm.vm_unique_id);
    report.claim("user-data", proven.data().user_data().map(hex::encode));
}

fn snp_report_data(raw: &[u8], vcek: &[u8], given: &Given, report: &mut Report) -> Result<Option<[u8; 64]>> {
    let Some(mut certificates) = certs::given(given, report) else { return Ok(None) };
    if !vcek.is_empty()
        && let Err(error) = certificates.add(vcek)
    {
        report.wrong(Code::SnpCertMalformed, format!("vcek: {error}"));
        return Ok(None);
    }
    let proven = raw_snp::prove(raw, &certificates, given, report)?;
    Ok(proven.map(|proven| proven.report().report_data))
}

/// A TD report is believed as far as a proven quote repeats it.
fn tdx_report_data(
    raw: &[u8],
    quote: Option<&[u8]>,
    given: &Given,
    report: &mut Report,
) -> Result<Option<[u8; 64]>> {
    let td_report = match TdReport::parse(raw) {
        Ok(td_report) => td_report,
        Err(error) => {
            report.wrong(Code::TdxReport, error);
            return Ok(None);
        }
    };
    let Some(quote) = quote else {
        report.missing(
            Code::TdxReport,
            "the TD quote that was made from this TD report: verify evidence that has both (`az-tdx-vtpm`)",
        );
        return Ok(None);
    };
    let Some(proven) = raw_tdx::prove(quote, given, report)? else { return Ok(None) };
    match proven.was_made_from(&td_report) {
        Ok(same) => {
            report.push(Branch::proven("the quote was made from the HCL's TD report"));
            Ok(Some(*same.report_data()))
        }
        Err(rejection) => {
            report.wrong(rejection.code(), rejection);
            Ok(None)
        }
    }
}

/// Evidence as it was sent, whichever version wrote it.
struct Sent {
    message: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Vec<Vec<u8>>,
    hcl_report: Vec<u8>,
    vcek: Vec<u8>,
    td_quote: Option<Vec<u8>>,
}

/// PCRs that a bank has.
const PCRS: usize = 24;

impl Sent {
    /// Version 0 has lists of numbers, and other names for SEV-SNP; later ones have text.
    fn read(value: &Value) -> Result<Self, String> {
        let member = |names: &[&str]| {
            let found = names.iter().find_map(|name| value.get(name));
            found.ok_or_else(|| format!("`{}` is missing", names.first().unwrap_or(&"")))
        };
        let quote = member(&["tpm_quote", "quote"])?;
        let of_quote = |name: &str| {
            quote
                .get(name)
                .and_then(octets)
                .ok_or_else(|| format!("`tpm_quote.{name}` is missing or not bytes"))
        };
        let pcrs = quote.get("pcrs").and_then(Value::as_array).ok_or("`tpm_quote.pcrs` is missing")?;
        if pcrs.len() > PCRS {
            return Err(format!("{} PCR values, {PCRS} at most", pcrs.len()));
        }
        let pcrs = pcrs.iter().map(octets).collect::<Option<_>>().ok_or("`tpm_quote.pcrs` are not bytes")?;
        let hcl_report = octets(member(&["hcl_report", "report"])?).ok_or("`hcl_report` is not bytes")?;
        let vcek = match value.get("vcek") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(pem)) if pem.contains("-----BEGIN ") => pem.as_bytes().to_vec(),
            Some(other) => octets(other).ok_or("`vcek` is not bytes")?,
        };
        let td_quote =
            value.get("td_quote").map(|quote| octets(quote).ok_or("`td_quote` is not bytes")).transpose()?;
        Ok(Self {
            message: of_quote("message")?,
            signature: of_quote("signature")?,
            pcrs,
            hcl_report,
            vcek,
            td_quote,
        })
    }
}

/// Bytes as numbers, hex or base64.
fn octets(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Array(numbers) => numbers.iter().map(|n| u8::try_from(n.as_u64()?).ok()).collect(),
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::String(text) => decode_hex(text.as_bytes()).or_else(|| decode_base64(text.as_bytes())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_version_is_read() {
        let new = json!({
            "version": 2, "hcl_report": "SENM", "vcek": "",
            "tpm_quote": {"message": "ff", "signature": "00", "pcrs": ["00"]},
        });
        let sent = Sent::read(&new).unwrap();
        assert_eq!((sent.hcl_report.as_slice(), sent.message.as_slice()), (&b"HCL"[..], &[0xff][..]));
        let old = json!({
            "report": [72, 67, 76], "vcek": "-----BEGIN CERTIFICATE-----",
            "quote": {"message": [255], "signature": [0], "pcrs": [[0]]},
        });
        assert_eq!(Sent::read(&old).unwrap().hcl_report, b"HCL");
        for (member, words) in
            [("hcl_report", "`hcl_report` is missing"), ("tpm_quote", "`tpm_quote` is missing")]
        {
            let mut cut = new.clone();
            cut.as_object_mut().unwrap().remove(member);
            assert_eq!(Sent::read(&cut).err().unwrap(), words);
        }
        let mut long = new.clone();
        long["tpm_quote"]["pcrs"] = json!(vec!["00"; 25]);
        assert!(Sent::read(&long).err().unwrap().contains("25 PCR values"));
        for bad in [json!([256]), json!("!"), json!(1)] {
            assert_eq!(octets(&bad), None);
        }
    }
}
