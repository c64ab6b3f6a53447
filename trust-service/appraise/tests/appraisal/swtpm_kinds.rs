//! What no recording has, made by swtpm: attestation keys of every kind, the SHA-384 bank, and ECC endorsement keys.

use crate::machine::Machine;
use ccnode_appraise::TpmIdentity;
use ccnode_appraise::standalone::{
    PcrBank, QuoteEvidence, QuoteKey, SignatureForm, Status, Subject, Verdict,
};
use ccnode_evidence::{Code, HashAlg, PcrIndex, Secret, Sha256Digest};
use ccnode_testkit::{EkProfile, MakerCa};
use rsa::rand_core::OsRng;

const NONCE: [u8; 8] = [9; 8];

/// The bank as a TPM that was only started has it.
fn started(alg: HashAlg) -> PcrBank {
    let value = |pcr: PcrIndex| vec![if (17..=22).contains(&pcr.get()) { 0xff } else { 0 }; alg.size()];
    PcrBank::new(alg, PcrIndex::all().map(|pcr| (pcr, value(pcr))).collect()).unwrap()
}

#[test]
fn t10_real_quotes_of_every_kind_of_key_and_bank() {
    let machine = Machine::bare("sha1,sha256,sha384");
    for (kind, hash, scheme) in [
        ("-G rsa -g sha256 -s rsassa", "sha256", "RSASSA with sha256"),
        ("-G rsa -g sha384 -s rsassa", "sha384", "RSASSA with sha384"),
        ("-G rsa -g sha256 -s rsapss", "sha256", "RSAPSS with sha256"),
        ("-G rsa -g sha384 -s rsapss", "sha384", "RSAPSS with sha384"),
        ("-G ecc -g sha256 -s ecdsa", "sha256", "ECDSA with sha256"),
        ("-G ecc384 -g sha384 -s ecdsa", "sha384", "ECDSA with sha384"),
    ] {
        machine.create_ak(kind);
        let key = QuoteKey::detect(&machine.file("ak.pub")).unwrap();
        assert_eq!(key.name().unwrap(), machine.file("ak.name"), "{kind}");
        for alg in [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha1] {
            let by = kind.rsplit(' ').next().unwrap();
            let args = format!(
                "-c ak.ctx --scheme {by} -l {}:all -q {} -g {hash} -m message -s signature",
                alg.name(),
                hex::encode(NONCE)
            );
            machine.tool("tpm2_quote", &args);
            machine.flush();
            let (message, signature) = (machine.file("message"), machine.file("signature"));
            let evidence = QuoteEvidence {
                message: &message,
                signature: Some(SignatureForm::Tpmt(&signature)),
                key: Some(&key),
                pcrs: &[started(alg)],
                nonce: Some(&NONCE),
                ..Default::default()
            };
            let report = evidence.verify();
            let at = format!("{kind} {}: {:#?}", alg.name(), report.findings);
            assert_eq!(report.verdict(), Verdict::Valid, "{at}");
            for subject in [Subject::Signature, Subject::Key, Subject::Pcrs, Subject::Nonce] {
                assert!(report.proven(subject), "{at}");
            }
            assert_eq!(report.claims.unwrap().scheme.unwrap().to_string(), scheme, "{at}");
            let weak = report.findings.iter().find(|finding| finding.status == Status::Weak);
            let due = (alg == HashAlg::Sha1).then_some(Code::QuoteBankWeak);
            assert_eq!(weak.and_then(|finding| finding.code()), due, "{at}");
            // Every byte of what was signed counts.
            let mut other = message.clone();
            *other.last_mut().unwrap() ^= 1;
            let report = QuoteEvidence { message: &other, ..evidence }.verify();
            assert_eq!(report.verdict(), Verdict::Invalid, "{at}");
        }
    }
}

#[test]
fn t06_swtpm_activates_with_its_p384_key() {
    let machine = Machine::start();
    machine.tool("tpm2_nvread", "-C o 0x1c00016 -o ek384.der");
    let identity = TpmIdentity::parse(&machine.file("ek384.der"), &machine.ak_public()).unwrap();
    machine.tool("tpm2_readpublic", "-c 0x81010016 -n ek384.name");
    assert_eq!(
        identity.node_id(ccnode_evidence::EvidenceKind::Tpm),
        Sha256Digest::of(&machine.file("ek384.name"))
    );
    let secret = Secret::new([0x5a; 32]);
    let (credential, encrypted) = identity.make_credential(&secret, &mut OsRng).unwrap();
    // Template H-3 has userWithAuth: its empty password opens.
    let opened = machine.activate_with("0x81010016", &credential, &encrypted, None);
    assert_eq!(opened.unwrap(), secret);
    let rsa = machine.identity().make_credential(&secret, &mut OsRng).unwrap();
    assert!(machine.activate_with("0x81010016", &rsa.0, &rsa.1, None).is_none(), "made for another key");
}

#[test]
fn t06_swtpm_activates_with_a_p256_key() {
    let machine = Machine::start();
    machine.tool("tpm2_createek", "-G ecc -c 0x8101000a -u ek256.pub -f pem");
    machine.flush();
    let spki = machine.file("ek256.pub");
    let spki = x509_parser::pem::parse_x509_pem(&spki).unwrap().1.contents;
    let certificate = MakerCa::new("Test Maker").certify_spki(&spki, &EkProfile::default());
    let identity = TpmIdentity::parse(&certificate, &machine.ak_public()).unwrap();
    machine.tool("tpm2_readpublic", "-c 0x8101000a -n ek256.name");
    assert_eq!(
        identity.node_id(ccnode_evidence::EvidenceKind::Tpm),
        Sha256Digest::of(&machine.file("ek256.name"))
    );
    let secret = Secret::new([0x5a; 32]);
    let (credential, encrypted) = identity.make_credential(&secret, &mut OsRng).unwrap();
    let opened = machine.activate_with("0x8101000a", &credential, &encrypted, Some("session.ctx"));
    assert_eq!(opened.unwrap(), secret);
    let mut other = credential;
    *other.last_mut().unwrap() ^= 1;
    assert!(machine.activate_with("0x8101000a", &other, &encrypted, Some("session.ctx")).is_none());
}
