//! The judgement of a quote without a session.

use super::key::{Form, QuoteKey};
use super::log::{self, LogReplay};
use super::report::{Finding, QuoteClaims, QuoteReport, Reason, Status, Subject};
use super::{AkChain, KeyFormError, PcrBank};
use crate::AkGuarded;
use crate::composite::PcrDigest;
use crate::quote::{hex, same_scheme, words};
use crate::tpm::{Quote, QuoteError, Scheme, SchemeKind, Selection, Signature, SignatureValue};
use ccnode_evidence::{HashAlg, PcrIndex, PcrSet};
use std::collections::BTreeMap;

/// A signature as it came.
#[derive(Clone, Copy, Debug)]
pub enum SignatureForm<'a> {
    /// TPMT_SIGNATURE as a TPM marshals it.
    Tpmt(&'a [u8]),
    /// The bytes of RSASSA-PKCS1-v1_5 with SHA-256 alone, as Azure's evidence has them.
    RawRsassaSha256(&'a [u8]),
}

/// A quote with what goes with it; what is missing is not judged, and said so.
#[derive(Clone, Copy, Default, Debug)]
pub struct QuoteEvidence<'a> {
    /// TPMS_ATTEST, the bytes that are signed.
    pub message: &'a [u8],
    /// The signature over it.
    pub signature: Option<SignatureForm<'a>>,
    /// The key that should have signed.
    pub key: Option<&'a QuoteKey>,
    /// The certificate of the key, DER, where the key came beside it in another form.
    pub certificate: Option<&'a [u8]>,
    /// What stands above the key's certificate.
    pub chain: Option<AkChain<'a>>,
    /// PCR values, by bank; of a bank twice the first counts.
    pub pcrs: &'a [PcrBank],
    /// What extraData must be.
    pub nonce: Option<&'a [u8]>,
    /// The firmware's event log.
    pub log: Option<&'a [u8]>,
}

impl QuoteEvidence<'_> {
    /// Judges it.
    pub fn verify(&self) -> QuoteReport {
        let mut report = QuoteReport { findings: Vec::new(), claims: None, log: None };
        let quote = match Quote::parse(self.message) {
            Ok(quote) => quote,
            Err(error) => {
                report.findings.push(Finding::refuted(Subject::Quote, Reason::Malformed(error)));
                return report;
            }
        };
        let text = "a TPM 2.0 quote, with TPM_GENERATED_VALUE".to_owned();
        report.findings.push(Finding::proven(Subject::Quote, text));
        let scheme = self.signature(&mut report.findings);
        self.key(&mut report.findings);
        self.selection(&quote, scheme, &mut report);
        self.nonce(&quote, &mut report.findings);
        report.findings.sort_by_key(|finding| finding.subject);
        report.claims = Some(QuoteClaims {
            extra_data: quote.extra.to_vec(),
            clock: quote.clock,
            firmware_version: quote.firmware_version,
            pcr_digest: PcrDigest::new(quote.pcr_digest),
            qualified_signer: quote.signer.to_vec(),
            selections: quote.selections,
            scheme,
            key: self.key.map(QuoteKey::describe),
        });
        report
    }

    /// The signature's scheme, once it can be read.
    fn signature(&self, findings: &mut Vec<Finding>) -> Option<Scheme> {
        let malformed = |error| Finding::refuted(Subject::Signature, Reason::Malformed(error));
        let parsed = match self.signature {
            None => {
                findings.push(Finding::unproven(Subject::Signature, Reason::SignatureMissing));
                return None;
            }
            Some(SignatureForm::Tpmt(bytes)) => Signature::parse(bytes),
            Some(SignatureForm::RawRsassaSha256(bytes)) => Ok(Signature {
                scheme: Scheme { kind: SchemeKind::Rsassa, hash: HashAlg::Sha256 },
                value: SignatureValue::Rsa(bytes),
            }),
        };
        let signature = match parsed {
            Ok(signature) => signature,
            Err(error) => {
                findings.push(malformed(error));
                return None;
            }
        };
        findings.push(match self.key {
            None => Finding::unproven(Subject::Signature, Reason::KeyMissing),
            Some(key) => match self.signed(key, &signature) {
                Err(error) => malformed(error),
                Ok(false) => Finding::refuted(Subject::Signature, Reason::Signature),
                Ok(true) => {
                    let text =
                        format!("signed by the key at hand ({}), {}", key.describe(), signature.scheme);
                    Finding::proven(Subject::Signature, text)
                }
            },
        });
        Some(signature.scheme)
    }

    fn signed(&self, key: &QuoteKey, signature: &Signature<'_>) -> Result<bool, QuoteError> {
        if let Form::Tpm(key) = &key.0 {
            same_scheme(key, signature)?;
        }
        Ok(key.public().signed(self.message, signature))
    }

    /// What guards the key, and who vouches for it.
    fn key(&self, findings: &mut Vec<Finding>) {
        let Some(key) = self.key else { return };
        findings.push(match &key.0 {
            Form::Tpm(public) => match AkGuarded::of(public.attributes) {
                Ok(AkGuarded { .. }) => {
                    let text = "a restricted signing key that its TPM made and does not let go".to_owned();
                    Finding::proven(Subject::Key, text)
                }
                Err(fault) => Finding::refuted(Subject::Key, Reason::Attributes(fault)),
            },
            Form::Bare(_) | Form::Certificate(..) => {
                Finding::unproven(Subject::Key, Reason::AttributesUnknown)
            }
        });
        findings.extend(self.chain(key));
    }

    fn chain(&self, key: &QuoteKey) -> Option<Finding> {
        let of = match key.certificate_der().or(self.certificate) {
            Some(certificate) => certificate,
            None if self.chain.is_some() => {
                let reason = Reason::ChainMissing("the key came without a certificate");
                return Some(Finding::unproven(Subject::Chain, reason));
            }
            None => return None,
        };
        match QuoteKey::certificate(of) {
            Ok(certified) if certified.public() == key.public() => {}
            Ok(_) => return Some(Finding::refuted(Subject::Chain, Reason::OtherKey)),
            Err(KeyFormError::Certificate(error)) => {
                return Some(Finding::refuted(Subject::Chain, Reason::Chain(error)));
            }
            Err(error) => return Some(Finding::refuted(Subject::Chain, Reason::Key(error))),
        }
        let chain = self.chain.as_ref().filter(|chain| !chain.roots.is_empty());
        Some(match chain.map(|chain| chain.check(of)) {
            None => {
                let reason = Reason::ChainMissing("no root is at hand to judge the key's certificate by");
                Finding::unproven(Subject::Chain, reason)
            }
            Some(Ok(root)) => {
                Finding::proven(Subject::Chain, format!("the key's certificate leads to `{root}`"))
            }
            Some(Err(error)) => Finding::refuted(Subject::Chain, Reason::Chain(error)),
        })
    }

    /// Banks, values, and the log that explains them.
    fn selection(&self, quote: &Quote<'_>, scheme: Option<Scheme>, report: &mut QuoteReport) {
        let selections: Vec<&Selection> = quote.selections.iter().filter(|s| !s.is_empty()).collect();
        let known = |s: &&Selection| Some((s.alg()?, s.pcrs()?));
        let banks: Option<Vec<(HashAlg, PcrSet)>> = selections.iter().map(known).collect();
        let Some(banks) = banks.filter(|banks| !banks.is_empty()) else {
            let reason = Reason::Selection(words(&quote.selections));
            report.findings.push(Finding::unproven(Subject::Selection, reason));
            return;
        };
        let named = |(alg, set): &(HashAlg, PcrSet)| format!("{}:{}", alg.name(), indices(*set));
        let text = banks.iter().map(named).collect::<Vec<_>>().join(", ");
        report.findings.push(match banks.iter().any(|(alg, _)| *alg == HashAlg::Sha1) {
            true => Finding::with(Subject::Selection, Status::Weak, Reason::BankWeak(text)),
            false => Finding::proven(Subject::Selection, format!("the quote selects {text}")),
        });
        let replay = match (self.log, banks.as_slice()) {
            (Some(log), [(alg, _)]) => log::replay(log, *alg).map(Some).unwrap_or_else(|finding| {
                report.findings.push(finding);
                None
            }),
            (Some(_), _) => {
                let text = "the quote selects several banks; a log is compared with one".to_owned();
                report.findings.push(Finding::unproven(Subject::Log, Reason::LogBank(text)));
                None
            }
            (None, _) => None,
        };
        // Without values at hand, the log's own may be those that the quote covers.
        let from_log = match (&replay, banks.as_slice()) {
            (Some(replay), [(alg, set)]) if self.pcrs.is_empty() => {
                let value = |pcr: PcrIndex| Some((pcr, replay.value(pcr.get().into())?.to_vec()));
                PcrBank::new(*alg, set.iter().filter_map(value).collect()).ok()
            }
            _ => None,
        };
        let at_hand = from_log.as_ref().map_or(self.pcrs, std::slice::from_ref);
        let Some(proven) = values(quote, &banks, at_hand, scheme, from_log.is_some(), &mut report.findings)
        else {
            return;
        };
        if let Some(replay) = replay {
            let log = LogReplay::of(&replay, &proven);
            report.findings.extend(log.findings());
            report.log = Some(log);
        }
    }

    fn nonce(&self, quote: &Quote<'_>, findings: &mut Vec<Finding>) {
        findings.push(match self.nonce {
            None => Finding::unproven(Subject::Nonce, Reason::NonceMissing),
            Some(due) if due == quote.extra => {
                Finding::proven(Subject::Nonce, format!("the quote answers the nonce {}", hex(due)))
            }
            Some(due) => {
                let reason = Reason::Nonce { found: quote.extra.to_vec(), due: due.to_vec() };
                Finding::refuted(Subject::Nonce, reason)
            }
        });
    }
}

/// The values of the first bank, once they are those that the quote covers.
fn values(
    quote: &Quote<'_>,
    banks: &[(HashAlg, PcrSet)],
    at_hand: &[PcrBank],
    scheme: Option<Scheme>,
    from_log: bool,
    findings: &mut Vec<Finding>,
) -> Option<BTreeMap<PcrIndex, Vec<u8>>> {
    let find = |(alg, set): &(HashAlg, PcrSet)| at_hand.iter().find(|bank| bank.alg() == *alg)?.select(*set);
    let Some(selected) = banks.iter().map(find).collect::<Option<Vec<_>>>() else {
        findings.push(Finding::unproven(Subject::Pcrs, Reason::PcrsMissing));
        return None;
    };
    // The digest is by the scheme's hash; without a signature its length tells.
    let by_length =
        if quote.pcr_digest.len() == HashAlg::Sha384.size() { HashAlg::Sha384 } else { HashAlg::Sha256 };
    let hash = scheme.map_or(by_length, |scheme| scheme.hash);
    let found = PcrDigest::of(hash, selected.iter().flatten().copied());
    let quoted = PcrDigest::new(quote.pcr_digest);
    if found != quoted {
        findings.push(match from_log {
            // The log need not be whole: nothing at hand claims these values.
            true => Finding::unproven(Subject::Pcrs, Reason::LogNotWhole),
            false => Finding::refuted(Subject::Pcrs, Reason::PcrDigest { found, quoted }),
        });
        return None;
    }
    let source = if from_log { "what the event log replays to" } else { "the PCR values at hand" };
    findings.push(Finding::proven(Subject::Pcrs, format!("the quote covers {source}")));
    let (set, values) = (banks.first()?.1, selected.first()?);
    Some(set.iter().zip(values).map(|(pcr, value)| (pcr, value.to_vec())).collect())
}

fn indices(set: PcrSet) -> String {
    set.iter().map(|pcr| pcr.to_string()).collect::<Vec<_>>().join(",")
}
