//! go-tpm-tools attestations: read strictly as protocol buffers, and judged quote by quote.

use ccnode_appraise::standalone::{Attestation, AttestationError, QuoteKey, Verdict};
use ccnode_evidence::Code;
use ccnode_testkit::{MakerCa, Seat, SoftTpm};

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
    out
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn entry(pcr: u64, value: &[u8]) -> Vec<u8> {
    bytes(2, &[number(1, pcr), bytes(2, value)].concat())
}

/// The parts of an attestation: key, quote, signature, values.
struct Parts {
    tpm: SoftTpm,
    quote: ccnode_evidence::QuoteParts,
}

impl Parts {
    fn new() -> Self {
        let tpm = SoftTpm::new(&MakerCa::new("Test Maker"), Seat::A);
        let quote = tpm.sign_quote([7; 32]);
        Self { tpm, quote }
    }

    fn values(&self) -> Vec<u8> {
        let entries = self.quote.pcrs.0.iter().flat_map(|(pcr, value)| entry(pcr.get().into(), &value.0));
        [number(1, 0x0b), entries.collect()].concat()
    }

    fn quote(&self, values: &[u8]) -> Vec<u8> {
        [bytes(1, &self.quote.message), bytes(2, &self.quote.signature), bytes(3, values)].concat()
    }

    fn with_quote(&self, quote: &[u8]) -> Vec<u8> {
        [bytes(1, &self.tpm.offer().ak_public), bytes(2, quote)].concat()
    }

    fn message(&self) -> Vec<u8> {
        self.with_quote(&self.quote(&self.values()))
    }
}

fn error(message: &[u8]) -> AttestationError {
    let error = Attestation::parse(message).unwrap_err();
    let values = matches!(error, AttestationError::Pcrs(_));
    assert_eq!(error.code(), if values { Code::PcrValuesMalformed } else { Code::AttestationMalformed });
    error
}

#[test]
fn attestations_are_judged() {
    let parts = Parts::new();
    let instance =
        [bytes(1, b"zone"), bytes(2, b"project"), number(3, 5), bytes(4, b"name"), number(5, u64::MAX)];
    let more = [
        bytes(3, &parts.tpm.read_logs().event_log.0),
        bytes(4, &instance.concat()),
        bytes(7, b"one"),
        bytes(7, b"two"),
        bytes(8, b"report"),
        // Fields of tomorrow, of every type.
        bytes(100, b"x"),
        number(101, 7),
        [varint(102 << 3 | 1), vec![0; 8]].concat(),
        [varint(103 << 3 | 5), vec![0; 4]].concat(),
    ];
    let attestation = Attestation::parse(&[parts.message(), more.concat()].concat()).unwrap();
    let instance = attestation.instance.as_ref().unwrap();
    assert_eq!((instance.zone.as_str(), instance.project_number), ("zone", 5));
    assert_eq!((instance.instance_name.as_str(), instance.instance_id), ("name", u64::MAX));
    assert!(attestation.has_tee_report && attestation.intermediate_certs.len() == 2);
    let key = QuoteKey::tpmt_public(&attestation.ak_pub).unwrap();
    let verdicts = |nonce: &[u8]| {
        let reports = attestation.verify(&key, Some(nonce), None);
        reports.iter().map(|report| report.verdict()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&[7; 32]), [Verdict::Valid]);
    assert_eq!(verdicts(&[8; 32]), [Verdict::Invalid]);
}

#[test]
fn messages_are_read_strictly() {
    let parts = Parts::new();
    let good = parts.message();
    assert!(Attestation::parse(&good).is_ok());
    assert_eq!(error(&[]), AttestationError::Missing("ak_pub"));
    assert_eq!(error(&bytes(1, b"key")), AttestationError::Missing("quotes"));
    for len in 1..good.len() {
        let error = error(&good[..len]);
        assert!(
            matches!(error, AttestationError::Wire(_) | AttestationError::Missing("quotes")),
            "{len}: {error}"
        );
    }
    assert_eq!(error(&vec![0; 2 * 1024 * 1024 + 1]), AttestationError::Size(2 * 1024 * 1024 + 1));
    let twice = [good.clone(), bytes(1, b"x")].concat();
    assert_eq!(error(&twice), AttestationError::Twice { message: "Attestation", field: 1 });
    let typed = [good.clone(), number(3, 1)].concat();
    assert_eq!(error(&typed), AttestationError::Type { message: "Attestation", field: 3 });
    let numbered = parts.with_quote(&parts.quote(&bytes(1, b"x")));
    assert_eq!(error(&numbered), AttestationError::Type { message: "PCRs", field: 1 });
    let quote = parts.quote(&parts.values());
    let many = [bytes(1, b"key"), (0..17).flat_map(|_| bytes(2, &quote)).collect()].concat();
    assert_eq!(error(&many), AttestationError::TooMany("quotes"));
    let many = [good.clone(), (0..17).flat_map(|_| bytes(7, b"x")).collect()].concat();
    assert_eq!(error(&many), AttestationError::TooMany("certificates"));
    // Field 0, a group, a number of eleven bytes, one of more than 64 bits.
    for wire in
        [vec![0x02, 0], vec![0x0b], [vec![0x80; 10], vec![0]].concat(), [vec![0xff; 9], vec![2]].concat()]
    {
        let bad = [good.clone(), wire].concat();
        assert_eq!(error(&bad), AttestationError::Wire("Attestation"));
    }
    let text = [good, bytes(4, &bytes(1, &[0xff]))].concat();
    assert_eq!(error(&text), AttestationError::Wire("GCEInstanceInfo"));
}

#[test]
fn values_are_those_of_a_bank() {
    let parts = Parts::new();
    let pcrs = |values: &[u8]| error(&parts.with_quote(&parts.quote(values)));
    let wrong = AttestationError::Pcrs(0);
    assert_eq!(pcrs(&[]), wrong, "no bank");
    assert_eq!(pcrs(&number(1, 0x27)), wrong, "a bank that is not known");
    assert_eq!(pcrs(&[number(1, 0x0b), entry(24, &[0; 32])].concat()), wrong);
    assert_eq!(pcrs(&[number(1, 0x0b), entry(1 << 33, &[0; 32])].concat()), wrong);
    assert_eq!(pcrs(&[number(1, 0x0b), entry(1, &[0; 31])].concat()), wrong);
    assert_eq!(pcrs(&[number(1, 0x0b), entry(1, &[0; 32]), entry(1, &[0; 32])].concat()), wrong);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = Attestation::parse(&bytes);
        let _ = QuoteKey::detect(&bytes);
        let _ = ccnode_appraise::standalone::PcrBank::serialized(&bytes);
        let quote = ccnode_appraise::standalone::QuoteEvidence { message: &bytes, ..Default::default() };
        let _ = quote.verify();
    }
}
