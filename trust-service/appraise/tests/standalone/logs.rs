//! Event logs beside quotes of the SHA-384 bank: what counts, and what is a hint.

use ccnode_appraise::standalone::{
    PcrBank, PcrReplay, QuoteEvidence, QuoteKey, QuoteReport, SignatureForm, Subject,
};
use ccnode_evidence::{Code, HashAlg, PcrIndex};
use ccnode_testkit::{Lies, MakerCa, Seat, SoftTpm, pcr};
use ccnode_tpm_eventlog::{EventLog, Proof};
use sha2::{Digest as _, Sha256, Sha384};
use std::collections::BTreeMap;

const EV_NO_ACTION: u32 = 3;
const EV_S_CRTM_VERSION: u32 = 8;
const EV_IPL: u32 = 0xd;
const SHA256: u16 = 0x000b;
const SHA384: u16 = 0x000c;

/// A crypto-agile log with both banks.
struct Log(Vec<u8>);

impl Log {
    fn new() -> Self {
        let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x02\0\0\0".to_vec();
        for (bank, size) in [(SHA256, 32u16), (SHA384, 48)] {
            spec.extend(bank.to_le_bytes());
            spec.extend(size.to_le_bytes());
        }
        spec.push(0);
        let len = u32::try_from(spec.len()).unwrap().to_le_bytes();
        Self([&[0; 4][..], &EV_NO_ACTION.to_le_bytes(), &[0; 20], &len, &spec].concat())
    }

    /// An event whose digests are those of `measured`.
    fn event(mut self, pcr: u32, event_type: u32, data: &[u8], measured: &[u8]) -> Self {
        self.0.extend([pcr.to_le_bytes(), event_type.to_le_bytes(), 2u32.to_le_bytes()].concat());
        self.0.extend(SHA256.to_le_bytes());
        self.0.extend(Sha256::digest(measured));
        self.0.extend(SHA384.to_le_bytes());
        self.0.extend(Sha384::digest(measured));
        self.0.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        self.0.extend(data);
        self
    }

    fn locality(self, locality: u8) -> Self {
        self.event(0, EV_NO_ACTION, &[b"StartupLocality\0", &[locality][..]].concat(), b"never extended")
    }
}

/// sha384:0-15 after these extensions, PCR 0 having begun with a locality.
fn bank(locality: u8, extensions: &[(u8, &[u8])]) -> BTreeMap<PcrIndex, Vec<u8>> {
    let mut values: BTreeMap<PcrIndex, Vec<u8>> = (0..16).map(|index| (pcr(index), vec![0; 48])).collect();
    *values.get_mut(&pcr(0)).unwrap().last_mut().unwrap() = locality;
    for (index, measured) in extensions {
        let value = values.get_mut(&pcr(*index)).unwrap();
        *value =
            Sha384::new().chain_update(&*value).chain_update(Sha384::digest(measured)).finalize().to_vec();
    }
    values
}

/// A TPM's quote over this bank, judged with `log`.
fn quoted(values: &BTreeMap<PcrIndex, Vec<u8>>, log: &Log) -> QuoteReport {
    let tpm = SoftTpm::new(&MakerCa::new("Test Maker"), Seat::A);
    let digest = Sha256::digest(values.values().flatten().copied().collect::<Vec<u8>>()).to_vec();
    let selections = Some(vec![(SHA384, vec![0xff, 0xff, 0])]);
    tpm.lie(Lies { selections, pcr_digest: Some(digest), ..Default::default() });
    let quote = tpm.sign_quote([7; 32]);
    let key = QuoteKey::tpmt_public(&tpm.offer().ak_public).unwrap();
    QuoteEvidence {
        message: &quote.message,
        signature: Some(SignatureForm::Tpmt(&quote.signature)),
        key: Some(&key),
        pcrs: &[PcrBank::new(HashAlg::Sha384, values.clone()).unwrap()],
        nonce: Some(&[7; 32]),
        log: Some(&log.0),
        ..Default::default()
    }
    .verify()
}

fn differs(report: &QuoteReport) -> Vec<u8> {
    let log = report.log.as_ref().unwrap();
    let of = |(pcr, replay): (&PcrIndex, &PcrReplay)| {
        matches!(replay, PcrReplay::Differs { .. }).then_some(pcr.get())
    };
    log.pcrs.iter().filter_map(of).collect()
}

fn equal(report: &QuoteReport) {
    assert!(report.codes().is_empty() && report.proven(Subject::Log), "{:#?}", report.findings);
    assert_eq!(report.log.as_ref().unwrap().alg, HashAlg::Sha384);
}

#[test]
fn t11_startup_locality_counts_in_the_sha384_bank() {
    let values = bank(3, &[(0, b"version")]);
    let with = |log: Log| log.event(0, EV_S_CRTM_VERSION, b"version", b"version");
    equal(&quoted(&values, &with(Log::new().locality(3))));
    for log in [with(Log::new()), with(Log::new().locality(4)), with(Log::new().locality(0))] {
        let report = quoted(&values, &log);
        assert_eq!(differs(&report), [0]);
        assert!(report.codes().contains(&Code::EventLogMismatch));
    }
    // Once PCR 0 was extended it is too late, and there is no locality 2.
    let wrong = [
        with(Log::new()).locality(3),
        with(Log::new().locality(2)),
        with(Log::new().locality(3).locality(3)),
    ];
    for log in wrong {
        let report = quoted(&values, &log);
        assert!(report.log.is_none() && report.codes().contains(&Code::EventLogIncomplete));
    }
}

#[test]
fn t11_event_types_are_hints_and_digests_are_facts() {
    let values = bank(0, &[(4, b"loader"), (4, b"kernel")]);
    let log = |first: u32, second: u32| {
        Log::new().event(4, first, b"loader", b"loader").event(4, second, b"kernel", b"kernel")
    };
    equal(&quoted(&values, &log(EV_IPL, EV_IPL)));
    equal(&quoted(&values, &log(EV_S_CRTM_VERSION, EV_IPL)));
    // What says that it extends nothing, and did.
    assert_eq!(differs(&quoted(&values, &log(EV_NO_ACTION, EV_IPL))), [4]);
    // What was extended in another order, in another register, or not at all.
    let order = Log::new().event(4, EV_IPL, b"kernel", b"kernel").event(4, EV_IPL, b"loader", b"loader");
    assert_eq!(differs(&quoted(&values, &order)), [4]);
    let register = Log::new().event(4, EV_IPL, b"loader", b"loader").event(5, EV_IPL, b"kernel", b"kernel");
    assert_eq!(differs(&quoted(&values, &register)), [4, 5]);
    assert_eq!(differs(&quoted(&values, &Log::new().event(4, EV_IPL, b"loader", b"loader"))), [4]);
}

#[test]
fn t11_digests_are_recomputed_in_the_sha384_bank() {
    // The digest replays; what the log says was measured is believed only where the digest covers it.
    let values = bank(0, &[(9, b"initrd")]);
    let log = |data: &[u8]| Log::new().event(9, EV_IPL, data, b"initrd");
    let (honest, claimed) = (log(b"initrd"), log(b"another"));
    equal(&quoted(&values, &honest));
    equal(&quoted(&values, &claimed));
    let proof = |log: &Log| EventLog::parse(&log.0).unwrap().events[1].proof(HashAlg::Sha384);
    assert_eq!((proof(&honest), proof(&claimed)), (Proof::Data, Proof::None));
}
