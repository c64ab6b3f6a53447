//! The forms that keys and PCR values come in.

use ccnode_appraise::standalone::{
    AkCertError, KbsTpm, KbsTpmError, KeyFormError, PcrBank, PcrBankError, QuoteKey,
};
use ccnode_appraise::{CertError, KeyError, PublicError};
use ccnode_evidence::{Base64Std, Code, HashAlg, PcrSet, Sha256Digest, TpmEvidence, TpmQuote};
use ccnode_testkit::{AkKind, EkProfile, MakerCa, Seat, SoftTpm, pcr};
use rcgen::{ExtendedKeyUsagePurpose as Purpose, KeyUsagePurpose as Usage};
use rsa::pkcs8::EncodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

fn tpm(kind: AkKind) -> SoftTpm {
    SoftTpm::new(&MakerCa::new("Test Maker"), Seat::A).with_ak(kind)
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn every_form_of_a_key_is_found_out() {
    let maker = MakerCa::new("Test Maker");
    for kind in AkKind::ALL {
        let tpm = tpm(kind);
        let (public, spki) = (tpm.offer().ak_public, tpm.sign_quote([0; 32]).ak_public);
        let profile = EkProfile { key_usages: vec![Usage::DigitalSignature], ..Default::default() };
        let certificate = maker.certify_spki(&spki, &profile);
        let sized = [&u16::try_from(public.len()).unwrap().to_be_bytes()[..], &public].concat();
        let preamble = format!("Certificate:\n    Data:\n{}", pem("CERTIFICATE", &certificate));
        for (form, bytes) in [
            ("TPMT_PUBLIC", public),
            ("TPM2B_PUBLIC", sized),
            ("SPKI", spki.clone()),
            ("SPKI PEM", pem("PUBLIC KEY", &spki).into_bytes()),
            ("certificate", certificate.clone()),
            ("certificate PEM", preamble.into_bytes()),
        ] {
            let key = QuoteKey::detect(&bytes).unwrap_or_else(|e| panic!("{kind:?} {form}: {e}"));
            assert_eq!(key.spki_der(), spki, "{kind:?} {form}");
            assert_eq!(key.certificate_der().is_some(), form.starts_with("cert"), "{kind:?} {form}");
            assert_eq!(key.name().is_some(), form.starts_with("TPM"), "{kind:?} {form}");
        }
    }
}

#[test]
fn numbers_of_a_json_web_key_are_a_key() {
    let spki = tpm(AkKind::RsassaSha256).sign_quote([0; 32]).ak_public;
    let key = <rsa::RsaPublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(&spki).unwrap();
    let (n, e) = (key.n().to_bytes_be(), key.e().to_bytes_be());
    assert_eq!(QuoteKey::rsa(&n, &e).unwrap().spki_der(), spki);
    assert_eq!(QuoteKey::rsa(&[&[0], &n[..]].concat(), &[0, 1, 0, 1]).unwrap().spki_der(), spki);
    let code = |n: &[u8], e: &[u8]| QuoteKey::rsa(n, e).unwrap_err().code();
    assert_eq!(QuoteKey::rsa(&n, &[3]).unwrap_err(), KeyFormError::Key(KeyError::Exponent));
    assert_eq!(code(&n, &[3]), Code::AkWeak);
    assert_eq!(QuoteKey::rsa(&n[..128], &e).unwrap_err(), KeyFormError::Key(KeyError::WeakBits(1024)));
    assert_eq!(code(&n[..128], &e), Code::AkWeak);
    assert_eq!(QuoteKey::rsa(&[0xff; 1024], &e).unwrap_err(), KeyFormError::Key(KeyError::Bits(8192)));
    assert_eq!(code(&[0xff; 1024], &e), Code::AkMalformed);
    assert_eq!(QuoteKey::rsa(&[], &[]).unwrap_err(), KeyFormError::Key(KeyError::WeakBits(0)));
}

#[test]
fn keys_in_der_are_read_strictly() {
    let spki = tpm(AkKind::RsassaSha256).sign_quote([0; 32]).ak_public;
    let error = |der: &[u8]| match QuoteKey::spki(der).unwrap_err() {
        KeyFormError::Key(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(error(&[&spki[..], &[0]].concat()), KeyError::Der);
    for len in 0..spki.len() {
        assert_eq!(error(&spki[..len]), KeyError::Der);
    }
    let p521 = p521_spki();
    assert_eq!(error(&p521), KeyError::Algorithm);
    let mut off = tpm(AkKind::EcdsaP256).sign_quote([0; 32]).ak_public;
    *off.last_mut().unwrap() ^= 1;
    assert!(matches!(error(&off), KeyError::Point(_)));
    let small = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
    let small = rsa::RsaPublicKey::from(&small).to_public_key_der().unwrap();
    assert_eq!(error(small.as_bytes()), KeyError::WeakBits(1024));
}

/// The head of a key on P-521, with a point that nobody looks at.
fn p521_spki() -> Vec<u8> {
    let head = [
        0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
        0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00, 0x04,
    ];
    [&head[..], &[1; 132]].concat()
}

#[test]
fn what_is_no_key_is_refused() {
    let code = |bytes: &[u8]| QuoteKey::detect(bytes).unwrap_err().code();
    assert_eq!(QuoteKey::detect(b"").unwrap_err(), KeyFormError::Unknown);
    assert_eq!(code(b""), Code::AkMalformed);
    assert_eq!(code(b"key"), Code::AkMalformed);
    assert_eq!(QuoteKey::detect(&[7; 2000]).unwrap_err(), KeyFormError::Unknown);
    let private = pem("PRIVATE KEY", b"secret");
    assert_eq!(QuoteKey::detect(private.as_bytes()).unwrap_err(), KeyFormError::Unknown);
    assert_eq!(code(b"-----BEGIN PUBLIC KEY-----\nA"), Code::AkMalformed);
    assert_eq!(QuoteKey::tpm2b_public(&[0, 9, 1]).unwrap_err(), KeyFormError::Unknown);
    // TPM_PUBKEY of a TPM 1.2.
    let old = [&[0, 0, 0, 1, 0, 1, 0, 2][..], &[7; 280]].concat();
    assert_eq!(QuoteKey::detect(&old).unwrap_err(), KeyFormError::Public(PublicError::Tpm12));
    assert_eq!(code(&old), Code::Tpm12);
}

#[test]
fn certificates_of_other_keys_are_refused() {
    let maker = MakerCa::new("Test Maker");
    let spki = tpm(AkKind::RsassaSha256).sign_quote([0; 32]).ak_public;
    let signs = || EkProfile { key_usages: vec![Usage::DigitalSignature], ..Default::default() };
    let error =
        |profile: EkProfile| match QuoteKey::certificate(&maker.certify_spki(&spki, &profile)).unwrap_err() {
            KeyFormError::Certificate(error) => {
                assert_eq!(error.code(), Code::AkCertMalformed);
                error
            }
            other => panic!("{other}"),
        };
    assert_eq!(error(EkProfile { ca: true, ..signs() }), AkCertError::Ca);
    assert_eq!(error(EkProfile { usage: false, ..signs() }), AkCertError::Usage);
    let tls = EkProfile { usage: false, more_usages: vec![Purpose::ServerAuth], ..signs() };
    assert_eq!(error(tls), AkCertError::Usage);
    assert_eq!(error(EkProfile::default()), AkCertError::KeyUsage);
    let strange = AkCertError::Cert(CertError::Critical("1.3.6.1.4.1.57264.1".into()));
    assert_eq!(error(EkProfile { strange: true, ..signs() }), strange);
    let aik =
        EkProfile { usage: false, more_usages: vec![Purpose::Other(vec![2, 23, 133, 8, 3])], ..signs() };
    assert!(QuoteKey::certificate(&maker.certify_spki(&spki, &aik)).is_ok());
}

#[test]
fn values_are_those_of_a_bank() {
    let value = |len| [(pcr(3), vec![0; len])].into();
    assert!(PcrBank::new(HashAlg::Sha384, value(48)).is_ok());
    let wrong = PcrBank::new(HashAlg::Sha384, value(32)).unwrap_err();
    assert_eq!(wrong, PcrBankError::Length { pcr: pcr(3), alg: HashAlg::Sha384, found: 32 });
    assert_eq!(wrong.code(), Code::PcrValuesMalformed);
    let count = PcrBank::concatenated(HashAlg::Sha256, PcrSet::CCNODE, &[0; 511]).unwrap_err();
    assert_eq!(count, PcrBankError::Count { found: 511, due: 512 });
}

/// `tpm2_quote -o` of sha256:15,16 as tpm2-tools serialize it.
fn serialized() -> Vec<u8> {
    let mut out = 1u32.to_le_bytes().to_vec();
    out.extend([0x0b, 0x00, 3, 0, 0x80, 1, 0, 0]);
    out.resize(4 + 16 * 8, 0);
    out.extend(1u32.to_le_bytes());
    out.extend(2u32.to_le_bytes());
    for fill in [1u8, 2] {
        out.extend(32u16.to_le_bytes());
        out.extend([fill; 32]);
        out.extend([0; 32]);
    }
    out.resize(4 + 16 * 8 + 4 + 4 + 8 * 66, 0);
    out
}

#[test]
fn values_of_tpm2_tools_are_read_strictly() {
    let good = serialized();
    let banks = PcrBank::serialized(&good).unwrap();
    let [bank] = banks.as_slice() else { panic!("{banks:?}") };
    assert_eq!(bank.alg(), HashAlg::Sha256);
    assert_eq!(
        bank.values().iter().map(|(pcr, value)| (pcr.get(), value[0])).collect::<Vec<_>>(),
        [(15, 1), (16, 2)]
    );
    let patched = |offset: usize, byte: u8| {
        let mut bad = good.clone();
        bad[offset] = byte;
        PcrBank::serialized(&bad).unwrap_err()
    };
    assert_eq!(patched(0, 17), PcrBankError::Form, "more selections than there are");
    assert_eq!(patched(4, 0x27), PcrBankError::Bank(0x27));
    assert_eq!(patched(6, 5), PcrBankError::Form, "a bitmap of more bytes than there are");
    assert_eq!(patched(8, 0x81), PcrBankError::Form, "a PCR without a value");
    assert_eq!(patched(9, 0), PcrBankError::Form, "a value without a PCR");
    assert_eq!(patched(132, 2), PcrBankError::Form, "a list that is not there");
    assert_eq!(patched(136, 9), PcrBankError::Form, "more values than a list has");
    assert_eq!(patched(140, 65), PcrBankError::Form, "a value longer than its room");
    assert!(matches!(patched(140, 31), PcrBankError::Length { found: 31, .. }));
    for len in 0..good.len() {
        assert_eq!(PcrBank::serialized(&good[..len]), Err(PcrBankError::Form));
    }
    assert_eq!(PcrBank::serialized(&[&good[..], &[0]].concat()), Err(PcrBankError::Form));
}

#[test]
fn stock_evidence_is_read() {
    let tpm = tpm(AkKind::RsassaSha256);
    let quote = tpm.sign_quote([7; 32]);
    let evidence = |ak_public: Vec<u8>, count: usize| TpmEvidence {
        tpm_quote: TpmQuote {
            signature: quote.signature.clone().into(),
            message: quote.message.clone().into(),
            pcrs: quote.pcrs.0.values().copied().chain([Sha256Digest::ZERO; 9]).take(count).collect(),
        },
        ak_public: Base64Std(ak_public),
        ccnode: None,
    };
    let good = KbsTpm::new(evidence(quote.ak_public.clone(), 16)).unwrap();
    assert!(good.quote(Some(&[7; 32])).verify().proven(ccnode_appraise::standalone::Subject::Nonce));
    let keyless = KbsTpm::new(evidence(vec![], 16)).unwrap_err();
    assert_eq!(
        (&keyless, keyless.code()),
        (&KbsTpmError::Key(KeyFormError::Key(KeyError::Der)), Code::AkMalformed)
    );
    let many = KbsTpm::new(evidence(quote.ak_public.clone(), 25)).unwrap_err();
    assert_eq!((&many, many.code()), (&KbsTpmError::Values(25), Code::PcrValuesMalformed));
}
