//! EK certificates as makers issue them, with their oddities, and everything else that is none.

use crate::world::World;
use ccnode_appraise::{
    CertError, EkCertError, EkPublicError, Hardware, References, Rejection, Session, Shelf, TpmIdentity,
};
use ccnode_evidence::{Code, EvidenceKind};
use ccnode_testkit::{EkKind, EkProfile, MakerCa, Seat, SoftTpm, add_extension};
use rcgen::{ExtendedKeyUsagePurpose as Purpose, KeyUsagePurpose as Usage};
use rsa::pkcs8::EncodePublicKey as _;
use rsa::rand_core::OsRng;

/// rsaEncryption and id-RSAES-OAEP, as DER.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSAES_OAEP: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07];

fn world(profile: &EkProfile, kind: EkKind) -> World {
    let maker = MakerCa::new("Test Maker");
    let tpm = SoftTpm::new(&maker, Seat::A).with_ek(kind, &maker, profile);
    World::of(maker, tpm)
}

/// Why the identity is refused at once.
fn malformed(profile: EkProfile) -> EkCertError {
    refused(&world(&profile, EkKind::Rsa2048).tpm.ek_cert())
}

fn refused(cert: &[u8]) -> EkCertError {
    let rejection = TpmIdentity::parse(cert, &World::new().tpm.offer().ak_public).unwrap_err();
    let due = matches!(rejection, Rejection::EkCertMalformed(EkCertError::Tpm12));
    assert_eq!(rejection.code(), if due { Code::Tpm12 } else { Code::EkCertMalformed });
    match rejection {
        Rejection::EkCertMalformed(error) => error,
        other => panic!("{other}"),
    }
}

fn accepted(profile: EkProfile) {
    let world = world(&profile, EkKind::Rsa2048);
    assert!(world.run().is_ok(), "{profile:?}");
}

#[test]
fn t06_keys_without_a_certificate_are_read_strictly() {
    let ak = World::new().tpm.offer().ak_public;
    for kind in [EkKind::Rsa2048, EkKind::P256, EkKind::P384] {
        let world = world(&EkProfile::default(), kind);
        let certified = world.identity().unwrap();
        let public = certified.ek_public();
        let bare = TpmIdentity::from_ek_public(&public, &ak).unwrap();
        assert_eq!(
            (bare.node_id(EvidenceKind::Tpm), bare.ek_cert()),
            (certified.node_id(EvidenceKind::Tpm), None)
        );
        assert_eq!(bare.ek_rsa(), certified.ek_rsa());
        assert_eq!(bare.ek_rsa().is_some(), kind == EkKind::Rsa2048);
        let (credential, secret) = bare.make_credential(&world.secret, &mut OsRng).unwrap();
        assert_eq!(world.tpm.open(&credential, &secret).unwrap(), world.secret);
        // It is good for nothing by itself.
        let answer = world.answer();
        let session = Session::of_tpm(&world.nonce, &bare, &world.secret);
        let references = References {
            platforms: &[],
            images: &[],
            pairs: &[],
            ek_roots: &world.roots,
            allow_init_data: false,
            hardware: &Hardware::default(),
            collateral: &Shelf::default(),
        };
        let refused = ccnode_appraise::appraise(&session, &answer, &references, world.now).unwrap_err();
        assert!(matches!(refused.rejection, Rejection::EkUncertified(_)), "{}", refused.rejection);
        assert_eq!(refused.rejection.code(), Code::EkUncertified);

        let error = |bytes: &[u8]| match TpmIdentity::from_ek_public(bytes, &ak).unwrap_err() {
            rejection @ Rejection::EkMalformed(_) => {
                assert_eq!(rejection.code(), Code::EkMalformed);
                let Rejection::EkMalformed(error) = rejection else { unreachable!() };
                error
            }
            other => panic!("{other}"),
        };
        for len in 0..public.len() {
            assert_eq!(error(&public[..len]), EkPublicError::Short, "{kind:?} {len}");
        }
        assert_eq!(error(&[&public[..], &[0]].concat()), EkPublicError::Trailing(1));
        assert_eq!(error(&[7; 1025]), EkPublicError::Size(1025));
        let mut other = public.clone();
        *other.last_mut().unwrap() ^= 1;
        match kind {
            EkKind::Rsa2048 => assert!(TpmIdentity::from_ek_public(&other, &ak).is_ok(), "another modulus"),
            _ => assert!(matches!(error(&other), EkPublicError::Key(_)), "no point"),
        }
    }
    let old = [&[0, 0, 0, 1, 0, 1, 0, 2][..], &[7; 280]].concat();
    let rejection = TpmIdentity::from_ek_public(&old, &ak).unwrap_err();
    assert!(matches!(rejection, Rejection::EkMalformed(EkPublicError::Tpm12)));
    assert_eq!(rejection.code(), Code::Tpm12);
}

/// Replaces the first place of `from` by `to`, of the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn t06_every_kind_of_endorsement_key_is_activated_and_judged() {
    for kind in [EkKind::Rsa2048, EkKind::P256, EkKind::P384] {
        let world = world(&EkProfile::default(), kind);
        let verdict = world.run().unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
        assert_eq!(verdict.node_id, world.identity().unwrap().node_id(EvidenceKind::Tpm));
        // Another TPM of this kind does not open what was made for this one.
        let (credential, secret) =
            world.identity().unwrap().make_credential(&world.secret, &mut OsRng).unwrap();
        assert_eq!(world.tpm.open(&credential, &secret).unwrap(), world.secret);
        let other = SoftTpm::new(&world.maker, Seat::B).with_ek(kind, &world.maker, &EkProfile::default());
        assert!(other.open(&credential, &secret).is_err(), "{kind:?}");
    }
}

#[test]
fn odd_certificates_of_makers_are_taken() {
    accepted(EkProfile { serial: Some(0), ..Default::default() });
    // Before version 2.1 of the profile there was no extended key usage; the names say what it is.
    accepted(EkProfile { usage: false, ..Default::default() });
    // Since then names may stand elsewhere.
    accepted(EkProfile { names: false, ..Default::default() });
    let more = vec![Usage::KeyEncipherment, Usage::DataEncipherment];
    accepted(EkProfile { key_usages: more, ..Default::default() });
    let aik = Purpose::Other(vec![2, 23, 133, 8, 3]);
    accepted(EkProfile { more_usages: vec![aik], ..Default::default() });
}

#[test]
fn key_may_be_called_one_that_decrypts() {
    let world = World::new();
    let cert = world.maker.resign(&world.tpm.ek_cert(), |tbs| replace(tbs, RSA, RSAES_OAEP));
    let offer = world.tpm.offer();
    let odd = TpmIdentity::parse(&cert, &offer.ak_public).unwrap();
    assert_eq!(odd.node_id(EvidenceKind::Tpm), world.identity().unwrap().node_id(EvidenceKind::Tpm));
    world.tpm.lie(ccnode_testkit::Lies { ek_cert: Some(cert), ..Default::default() });
    assert!(world.run().is_ok());
}

#[test]
fn t06_certificates_of_other_kinds_are_refused() {
    assert_eq!(malformed(EkProfile { ca: true, ..Default::default() }), EkCertError::Ca);
    let nameless = EkProfile { usage: false, names: false, ..Default::default() };
    assert_eq!(malformed(nameless), EkCertError::Nameless);
    let aik = vec![Purpose::Other(vec![2, 23, 133, 8, 3])];
    let other = EkProfile { usage: false, more_usages: aik, ..Default::default() };
    assert_eq!(malformed(other), EkCertError::Usage);
    for tls in [Purpose::ServerAuth, Purpose::ClientAuth, Purpose::CodeSigning, Purpose::Any] {
        let both = EkProfile { more_usages: vec![tls], ..Default::default() };
        assert_eq!(malformed(both), EkCertError::OtherUsage);
    }
    let signs = EkProfile { key_usages: vec![Usage::DigitalSignature], ..Default::default() };
    assert_eq!(malformed(signs), EkCertError::KeyUsage("key encipherment"));
    let ca = EkProfile { key_usages: vec![Usage::KeyEncipherment, Usage::KeyCertSign], ..Default::default() };
    assert_eq!(malformed(ca), EkCertError::Signs);
    let strange = EkCertError::Cert(CertError::Critical("1.3.6.1.4.1.57264.1".into()));
    assert_eq!(malformed(EkProfile { strange: true, ..Default::default() }), strange);
    let rsa_usage = EkProfile { key_usages: vec![Usage::KeyEncipherment], ..Default::default() };
    let cert = world(&rsa_usage, EkKind::P256).tpm.ek_cert();
    assert_eq!(refused(&cert), EkCertError::KeyUsage("key agreement"));
}

type Patch = fn(&mut [u8]);

/// What comes of a change to a field of the certificate, signed anew by its maker.
enum Due {
    /// Refused when it is read.
    Read(fn(&EkCertError) -> bool),
    /// Refused when it is judged.
    Judged(fn(&Rejection) -> bool),
    /// Taken: nothing judges it.
    Silent,
}

macro_rules! read {
    ($pattern:pat $(if $guard:expr)?) => {
        Due::Read(|got| matches!(got, $pattern $(if $guard)?))
    };
}

macro_rules! cert {
    ($pattern:pat) => {
        read!(EkCertError::Cert($pattern))
    };
}

/// Field, change to its bytes, and what comes of it.
#[rustfmt::skip]
fn rows() -> Vec<(&'static str, Patch, Due)> {
    fn last(bytes: &mut [u8]) -> &mut u8 {
        bytes.last_mut().unwrap()
    }
    vec![
        ("version", |b| *last(b) = 0, cert!(CertError::Version(1))),
        // Of makers' own choice.
        ("serialNumber", |b| *last(b) ^= 1, Due::Silent),
        ("signature", |b| *last(b) = 3, cert!(CertError::Algorithm)),
        ("issuer", |b| *last(b) ^= 1, Due::Judged(|got| matches!(got, Rejection::EkUntrusted { .. }))),
        // To 2020 in place of 2040; from 2040 in place of 2020.
        ("validity", |b| { let at = b.len() - 13; b[at..at + 2].copy_from_slice(b"20"); }, Due::Judged(|got| matches!(got, Rejection::EkCertExpired { .. }))),
        ("validity", |b| b[4..6].copy_from_slice(b"39"), Due::Judged(|got| matches!(got, Rejection::EkCertExpired { .. }))),
        // Empty, and must be a name.
        ("subject", |b| b[0] = 0x31, read!(EkCertError::Cert(_))),
        ("subjectPublicKeyInfo", |b| replace(b, RSA, &[&RSA[..10], &[0x0a]].concat()), read!(EkCertError::Key(error) if !error.is_weak())),
        ("subjectPublicKeyInfo", |b| *last(b) = 3, read!(EkCertError::Key(error) if error.is_weak())),
        // Another modulus: the credential is for a key that this TPM does not have.
        ("subjectPublicKeyInfo", |b| { let at = b.len() - 8; b[at] ^= 1; }, Due::Judged(|got| matches!(got, Rejection::ActivationFailed))),
        ("2.5.29.15", |b| { *last(b) = 0x80; let at = b.len() - 2; b[at] = 7; }, read!(EkCertError::KeyUsage("key encipherment"))),
        ("2.5.29.37", |b| *last(b) = 2, read!(EkCertError::Usage)),
        ("2.5.29.37", |b| replace(b, &[0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x01], &[0xff; 7]), cert!(CertError::Extension(_) | CertError::Der)),
        ("2.5.29.17", |b| b[4] = 0x24, cert!(CertError::Critical(_) | CertError::Extension(_))),
    ]
}

/// Fields that have no value of their own, or whose value the rows of others change.
const OTHERS: [&str; 5] =
    ["head", "head of the signed part", "extensions", "signatureAlgorithm", "signatureValue"];

#[test]
fn t06_every_field_of_the_certificate_mutated_has_its_own_rejection() {
    let world = World::new();
    let good = world.tpm.ek_cert();
    let fields = ccnode_testkit::signed_fields(&good, ccnode_testkit::CERTIFICATE);
    ccnode_vectors::assert_tiled(
        good.len(),
        fields.iter().map(|(name, range)| (name.as_str(), range.clone())),
    );
    for (name, _) in &fields {
        assert!(
            OTHERS.contains(&name.as_str()) || rows().iter().any(|(row, ..)| row == name),
            "no row for {name}"
        );
    }
    let run = |cert: Vec<u8>| -> Result<(), Rejection> {
        world.tpm.lie(ccnode_testkit::Lies { ek_cert: Some(cert), ..Default::default() });
        let identity = world.identity()?;
        let (credential, secret) = identity.make_credential(&world.secret, &mut OsRng)?;
        let guess = ccnode_evidence::Secret::new([0; 32]);
        let opened = world.tpm.open(&credential, &secret).unwrap_or(guess);
        world.judge(&world.answer_with(&opened)).map(drop).map_err(|refused| refused.rejection)
    };
    run(good.clone()).unwrap();
    // A turned bit, wherever it is, the signature left as it was.
    for (name, range) in &fields {
        for at in range.clone() {
            let mut turned = good.clone();
            turned[at] ^= 1;
            assert!(run(turned).is_err(), "{name}, byte {at}");
        }
    }
    let offset = fields[1].1.start;
    for (field, patch, due) in rows() {
        let (_, range) = fields.iter().find(|(name, _)| name == field).unwrap();
        let changed =
            world.maker.resign(&good, |tbs| patch(&mut tbs[range.start - offset..range.end - offset]));
        match (run(changed), due) {
            (Err(Rejection::EkCertMalformed(got)), Due::Read(is)) => assert!(is(&got), "{field}: {got:?}"),
            (Err(got), Due::Judged(is)) => assert!(is(&got), "{field}: {got:?}"),
            (Ok(()), Due::Silent) => {}
            (got, _) => panic!("{field}: {got:?}"),
        }
    }
}

#[test]
fn key_must_be_of_a_template() {
    let maker = MakerCa::new("Test Maker");
    let key = |bits| rsa::RsaPublicKey::from(&rsa::RsaPrivateKey::new(&mut OsRng, bits).unwrap());
    let weak = refused(&maker.certify(&key(1024), &EkProfile::default()));
    assert!(matches!(weak, EkCertError::Key(error) if error.is_weak()));
    let strange = refused(&maker.certify(&key(2304), &EkProfile::default()));
    assert_eq!(strange, EkCertError::Template("RSA of 2304 bits".into()));
    // RSA-3072 is template H-6.
    let spki = key(3072).to_public_key_der().unwrap();
    let cert = maker.certify_spki(spki.as_bytes(), &EkProfile::default());
    let identity = TpmIdentity::parse(&cert, &World::new().tpm.offer().ak_public).unwrap();
    let (credential, secret) =
        identity.make_credential(&ccnode_evidence::Secret::new([1; 32]), &mut OsRng).unwrap();
    assert_eq!((credential.len(), secret.len()), (2 + 2 + 48 + 34, 2 + 384));
}

#[test]
fn t06_certificate_of_a_tpm12_is_refused_by_name() {
    // The maker's claim about the TPM: family "1.2", level 2, revision 116, in place of the key usage.
    let maker = MakerCa::new("Test Maker");
    let cert = SoftTpm::new(&maker, Seat::A).ek_cert();
    let attributes = |family: &[u8]| {
        let specification =
            [&[0x30, 0x0b, 0x0c, 0x03], family, &[0x02, 0x01, 0x02, 0x02, 0x01, 0x74]].concat();
        let attribute =
            [&[0x06, 0x05, 0x67, 0x81, 0x05, 0x02, 0x10, 0x31, 0x0d], &specification[..]].concat();
        let all = [&[0x30, 0x18, 0x30, 0x16], &attribute[..]].concat();
        [&[0x30, 0x21, 0x06, 0x03, 0x55, 0x1d, 0x09, 0x04, 0x1a], &all[..]].concat()
    };
    let with = |family: &[u8]| {
        let extension = attributes(family);
        maker.resign(&cert, |tbs| add_extension(tbs, &extension))
    };
    let offer = World::new().tpm.offer();
    assert!(TpmIdentity::parse(&with(b"2.0"), &offer.ak_public).is_ok());
    assert_eq!(refused(&with(b"1.2")), EkCertError::Tpm12);
}
