//! Each check of a quote without a session: what is proven, and one mutation that is not.

use ccnode_appraise::standalone::{
    AkChain, PcrBank, PcrReplay, QuoteEvidence, QuoteKey, QuoteReport, Reason, SignatureForm, Status,
    Subject, Verdict,
};
use ccnode_appraise::{AttributeFault, QuoteError, UnixTime};
use ccnode_evidence::{Code, EventLogs, HashAlg, PcrSet, QuoteParts};
use ccnode_testkit::{AK_ATTRIBUTES, AkKind, Boot, EkProfile, Lies, MakerCa, NOW, Seat, SoftTpm, pcr};

/// A quote of a TPM that booted, and all that goes with it.
struct Held {
    quote: QuoteParts,
    key: QuoteKey,
    pcrs: Vec<PcrBank>,
    nonce: Vec<u8>,
    logs: EventLogs,
}

fn tpm(kind: AkKind) -> SoftTpm {
    SoftTpm::new(&MakerCa::new("Test Maker"), Seat::A).with_ak(kind)
}

impl Held {
    fn of(tpm: &SoftTpm) -> Self {
        let quote = tpm.sign_quote([7; 32]);
        let values = quote.pcrs.0.iter().map(|(pcr, value)| (*pcr, value.0.to_vec())).collect();
        Self {
            key: QuoteKey::tpmt_public(&tpm.offer().ak_public).unwrap(),
            pcrs: vec![PcrBank::new(HashAlg::Sha256, values).unwrap()],
            nonce: vec![7; 32],
            logs: tpm.read_logs(),
            quote,
        }
    }

    fn new() -> Self {
        Self::of(&tpm(AkKind::default()))
    }

    fn evidence(&self) -> QuoteEvidence<'_> {
        QuoteEvidence {
            message: &self.quote.message,
            signature: Some(SignatureForm::Tpmt(&self.quote.signature)),
            key: Some(&self.key),
            pcrs: &self.pcrs,
            nonce: Some(&self.nonce),
            log: Some(&self.logs.event_log.0),
            ..Default::default()
        }
    }

    fn verify(&self) -> QuoteReport {
        self.evidence().verify()
    }
}

/// The one reason of `status` about `subject`.
fn reason(report: &QuoteReport, subject: Subject, status: Status) -> &Reason {
    let of = report.findings.iter().filter(|finding| finding.subject == subject && finding.status == status);
    match of.collect::<Vec<_>>().as_slice() {
        [one] => one.reason.as_ref().unwrap(),
        other => panic!("{other:?} in {:#?}", report.findings),
    }
}

fn lying(lies: Lies) -> QuoteReport {
    let tpm = tpm(AkKind::default());
    let key = QuoteKey::tpmt_public(&tpm.offer().ak_public).unwrap();
    tpm.lie(lies);
    Held { key, ..Held::of(&tpm) }.verify()
}

#[test]
fn good_quotes_of_every_key_are_valid() {
    for kind in AkKind::ALL {
        let report = Held::of(&tpm(kind)).verify();
        assert_eq!(report.verdict(), Verdict::Valid, "{kind:?}: {:#?}", report.findings);
        for subject in [
            Subject::Quote,
            Subject::Signature,
            Subject::Key,
            Subject::Selection,
            Subject::Pcrs,
            Subject::Nonce,
            Subject::Log,
        ] {
            assert!(report.proven(subject), "{kind:?}: {subject:?}");
        }
        // IMA extended PCR 10, and the firmware's log does not say so.
        assert_eq!(report.codes(), [Code::EventLogIncomplete]);
        let log = report.log.unwrap();
        assert_eq!(log.pcrs[&pcr(10)], PcrReplay::Silent);
        assert_eq!(log.pcrs.values().filter(|replay| **replay == PcrReplay::Equal).count(), 15);
    }
}

#[test]
fn t10_malformed_quotes_are_invalid() {
    let report = lying(Lies { magic: Some(1), ..Default::default() });
    assert_eq!(report.verdict(), Verdict::Invalid);
    assert_eq!(*reason(&report, Subject::Quote, Status::Refuted), Reason::Malformed(QuoteError::Magic(1)));
    assert_eq!(report.codes(), [Code::QuoteMalformed]);
    let tpm12 = [&[1, 1, 0, 0][..], b"QUOT", &[7; 40]].concat();
    let report = QuoteEvidence { message: &tpm12, ..Default::default() }.verify();
    assert_eq!((report.verdict(), report.codes()), (Verdict::Invalid, vec![Code::Tpm12]));
}

#[test]
fn t10_signatures_are_judged() {
    let report = lying(Lies { signer: Some(Seat::B), ..Default::default() });
    assert_eq!(*reason(&report, Subject::Signature, Status::Refuted), Reason::Signature);
    assert_eq!((report.verdict(), report.codes().contains(&Code::QuoteSignature)), (Verdict::Invalid, true));

    let held = Held::new();
    let unsigned = QuoteEvidence { signature: None, ..held.evidence() }.verify();
    assert_eq!(*reason(&unsigned, Subject::Signature, Status::Unproven), Reason::SignatureMissing);
    assert!(unsigned.codes().contains(&Code::QuoteSignatureMissing));
    assert_eq!(unsigned.verdict(), Verdict::Incomplete);
    let keyless = QuoteEvidence { key: None, ..held.evidence() }.verify();
    assert_eq!(*reason(&keyless, Subject::Signature, Status::Unproven), Reason::KeyMissing);
    assert!(keyless.codes().contains(&Code::QuoteKeyMissing));
    assert_eq!(keyless.verdict(), Verdict::Incomplete);
    let garbage = QuoteEvidence { signature: Some(SignatureForm::Tpmt(b"x")), ..held.evidence() }.verify();
    assert!(matches!(
        reason(&garbage, Subject::Signature, Status::Refuted),
        Reason::Malformed(QuoteError::Short(_))
    ));
    // Of a scheme that the key's public area does not allow.
    let other = Held::of(&tpm(AkKind::RsassaSha384));
    let other = SignatureForm::Tpmt(&other.quote.signature);
    let mixed = QuoteEvidence { signature: Some(other), ..held.evidence() }.verify();
    let mixed = reason(&mixed, Subject::Signature, Status::Refuted);
    assert!(matches!(mixed, Reason::Malformed(QuoteError::SchemeMismatch { .. })), "{mixed}");
}

#[test]
fn raw_signatures_are_read() {
    let held = Held::new();
    let raw = SignatureForm::RawRsassaSha256(&held.quote.signature[6..]);
    let evidence = QuoteEvidence { signature: Some(raw), ..held.evidence() };
    assert_eq!(evidence.verify().verdict(), Verdict::Valid);
    let with_head = SignatureForm::RawRsassaSha256(&held.quote.signature);
    let report = QuoteEvidence { signature: Some(with_head), ..held.evidence() }.verify();
    assert_eq!(*reason(&report, Subject::Signature, Status::Refuted), Reason::Signature);
}

#[test]
fn t06_what_guards_the_key_is_said() {
    let tpm = tpm(AkKind::default());
    tpm.lie(Lies { ak_attributes: Some(AK_ATTRIBUTES & !(1 << 16)), ..Default::default() });
    let report = Held::of(&tpm).verify();
    let fault = reason(&report, Subject::Key, Status::Refuted);
    assert!(matches!(fault, Reason::Attributes(AttributeFault::Missing(_))), "{fault}");
    assert_eq!((report.verdict(), report.codes().contains(&Code::AkAttributes)), (Verdict::Invalid, true));
    let held = Held::new();
    let bare = QuoteKey::spki(&held.quote.ak_public).unwrap();
    let report = QuoteEvidence { key: Some(&bare), ..held.evidence() }.verify();
    assert_eq!(*reason(&report, Subject::Key, Status::Unproven), Reason::AttributesUnknown);
    assert_eq!(report.verdict(), Verdict::Valid);
}

#[test]
fn t10_banks_are_named() {
    let selected =
        |selections: Vec<(u16, Vec<u8>)>| lying(Lies { selections: Some(selections), ..Default::default() });
    let sha1 = selected(vec![(4, vec![0xff, 0xff, 0])]);
    assert!(
        matches!(reason(&sha1, Subject::Selection, Status::Weak), Reason::BankWeak(words) if words.starts_with("sha1:"))
    );
    assert!(sha1.codes().contains(&Code::QuoteBankWeak));
    assert!(!sha1.proven(Subject::Selection));
    for strange in
        [vec![], vec![(11, vec![0, 0, 0])], vec![(0x27, vec![1, 0, 0])], vec![(11, vec![0, 0, 0, 1])]]
    {
        let report = selected(strange);
        assert!(matches!(reason(&report, Subject::Selection, Status::Unproven), Reason::Selection(_)));
        assert!(report.codes().contains(&Code::QuoteSelection) && !report.proven(Subject::Pcrs));
    }
}

#[test]
fn t10_values_are_those_that_are_quoted() {
    let mut held = Held::new();
    let none = QuoteEvidence { pcrs: &[], log: None, ..held.evidence() }.verify();
    assert_eq!(*reason(&none, Subject::Pcrs, Status::Unproven), Reason::PcrsMissing);
    assert!(none.codes().contains(&Code::PcrValuesMissing));
    assert_eq!(none.verdict(), Verdict::Valid);
    let values: Vec<u8> = held.quote.pcrs.0.values().flat_map(|value| value.0).collect();
    held.pcrs = vec![PcrBank::concatenated(HashAlg::Sha256, PcrSet::CCNODE, &values).unwrap()];
    assert!(held.verify().proven(Subject::Pcrs));
    let mut other = values.clone();
    other[40] ^= 1;
    held.pcrs = vec![PcrBank::concatenated(HashAlg::Sha256, PcrSet::CCNODE, &other).unwrap()];
    let report = held.verify();
    let refuted = reason(&report, Subject::Pcrs, Status::Refuted);
    assert!(matches!(refuted, Reason::PcrDigest { .. }), "{refuted}");
    assert_eq!((report.verdict(), report.codes().contains(&Code::QuotePcrDigest)), (Verdict::Invalid, true));
    // Another bank's, and one value too few.
    held.pcrs = vec![PcrBank::new(HashAlg::Sha1, Default::default()).unwrap()];
    assert_eq!(*reason(&held.verify(), Subject::Pcrs, Status::Unproven), Reason::PcrsMissing);
    let mut values = held.quote.pcrs.0.clone();
    values.remove(&pcr(3));
    let values = values.into_iter().map(|(pcr, value)| (pcr, value.0.to_vec())).collect();
    held.pcrs = vec![PcrBank::new(HashAlg::Sha256, values).unwrap()];
    assert_eq!(*reason(&held.verify(), Subject::Pcrs, Status::Unproven), Reason::PcrsMissing);
}

#[test]
fn t09_nonces_are_compared_whole() {
    let held = Held::new();
    for nonce in [vec![], vec![7; 31], vec![7; 33], vec![8; 32]] {
        let report = QuoteEvidence { nonce: Some(&nonce), ..held.evidence() }.verify();
        assert!(matches!(reason(&report, Subject::Nonce, Status::Refuted), Reason::Nonce { .. }));
        assert_eq!((report.verdict(), report.codes().contains(&Code::QuoteNonce)), (Verdict::Invalid, true));
    }
    let report = QuoteEvidence { nonce: None, ..held.evidence() }.verify();
    assert_eq!(*reason(&report, Subject::Nonce, Status::Unproven), Reason::NonceMissing);
    assert!(report.codes().contains(&Code::QuoteNonceMissing));
}

#[test]
fn t11_logs_are_compared_pcr_by_pcr() {
    let held = Held::new();
    let with = |log: &[u8]| QuoteEvidence { log: Some(log), ..held.evidence() }.verify();
    let other = Boot::new("2022.11", "init=/bin/sh", b"initrd").logs().event_log.0;
    let report = with(&other);
    assert_eq!(
        (report.verdict(), report.codes().contains(&Code::EventLogMismatch)),
        (Verdict::Invalid, true)
    );
    let differs: Vec<u8> = report
        .log
        .as_ref()
        .unwrap()
        .pcrs
        .iter()
        .filter_map(|(pcr, replay)| matches!(replay, PcrReplay::Differs { .. }).then_some(pcr.get()))
        .collect();
    assert_eq!(differs, [4, 9, 11]);
    let report = with(b"bogus");
    assert!(matches!(reason(&report, Subject::Log, Status::Refuted), Reason::LogMalformed(_)));
    assert!(report.codes().contains(&Code::EventLogMalformed));
    // A log of another bank proves nothing and refutes nothing.
    let mut sha384 = held.logs.event_log.0[..65].to_vec();
    let at = sha384.windows(4).position(|w| w == [0x0b, 0x00, 0x20, 0x00]).unwrap();
    (sha384[at], sha384[at + 2]) = (0x0c, 0x30);
    let report = with(&sha384);
    assert!(matches!(reason(&report, Subject::Log, Status::Unproven), Reason::LogBank(_)));
    assert_eq!(report.verdict(), Verdict::Valid);
    // A log without the firmware's own events is not silent about them: it is not the log of this boot.
    let report = with(&held.logs.event_log.0[..65]);
    assert!(report.codes().contains(&Code::EventLogMismatch));
}

#[test]
fn a_log_may_stand_for_the_values() {
    let tpm = tpm(AkKind::default());
    tpm.reboot(Boot::standard().without_ima());
    let held = Held::of(&tpm);
    let report = QuoteEvidence { pcrs: &[], ..held.evidence() }.verify();
    assert!(report.proven(Subject::Pcrs) && report.proven(Subject::Log), "{:#?}", report.findings);
    assert!(report.codes().is_empty());
    // With IMA on, the log does not give what is quoted, and claims nothing of it.
    let held = Held::new();
    let report = QuoteEvidence { pcrs: &[], ..held.evidence() }.verify();
    assert_eq!(*reason(&report, Subject::Pcrs, Status::Unproven), Reason::LogNotWhole);
    assert_eq!(report.verdict(), Verdict::Valid);
}

#[test]
fn t06_certificates_vouch_for_their_key_alone() {
    let maker = MakerCa::new("Test Maker");
    let profile =
        EkProfile { key_usages: vec![rcgen::KeyUsagePurpose::DigitalSignature], ..Default::default() };
    let (tpm, other) = (SoftTpm::new(&maker, Seat::A), SoftTpm::new(&maker, Seat::B));
    let certify = |tpm: &SoftTpm| maker.certify_spki(&tpm.sign_quote([0; 32]).ak_public, &profile);
    let (certificate, others) = (certify(&tpm), certify(&other));
    let held = Held::of(&tpm);
    let (roots, intermediates) = ([maker.root()], [maker.intermediate()]);
    let chain = |at| AkChain { intermediates: &intermediates, roots: &roots, at: UnixTime(at) };
    let judge = |certificate: Option<&[u8]>, chain: Option<AkChain<'_>>| {
        let report = QuoteEvidence { certificate, chain, ..held.evidence() }.verify();
        let of = report.findings.iter().find(|finding| finding.subject == Subject::Chain).cloned();
        of.map(|finding| (finding.status, finding.code()))
    };
    let (refuted, unproven) = (Status::Refuted, Status::Unproven);
    assert_eq!(judge(None, None), None);
    assert_eq!(judge(Some(&certificate), Some(chain(NOW))), Some((Status::Proven, None)));
    assert_eq!(judge(None, Some(chain(NOW))), Some((unproven, Some(Code::AkChainMissing))));
    assert_eq!(judge(Some(&certificate), None), Some((unproven, Some(Code::AkChainMissing))));
    let rootless = AkChain { roots: &[], ..chain(NOW) };
    assert_eq!(judge(Some(&certificate), Some(rootless)), Some((unproven, Some(Code::AkChainMissing))));
    assert_eq!(judge(Some(&others), Some(chain(NOW))), Some((refuted, Some(Code::AkCertMismatch))));
    assert_eq!(judge(Some(&certificate), Some(chain(1))), Some((refuted, Some(Code::AkCertExpired))));
    let strangers = [MakerCa::new("Other Maker").root()];
    let strange = AkChain { roots: &strangers, ..chain(NOW) };
    assert_eq!(judge(Some(&certificate), Some(strange)), Some((refuted, Some(Code::AkCertUntrusted))));
    let malformed = Some((refuted, Some(Code::AkCertMalformed)));
    assert_eq!(judge(Some(b"x"), Some(chain(NOW))), malformed);
    assert_eq!(judge(Some(&tpm.ek_cert()), Some(chain(NOW))), malformed, "an EK's certificate");
    assert_eq!(judge(Some(&maker.intermediate()), Some(chain(NOW))), malformed, "a CA's");
}
