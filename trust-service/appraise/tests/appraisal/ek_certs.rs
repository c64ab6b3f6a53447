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
        assert_eq!(error(&[&public[..], &[0]].concat()), EkPublicError::Template);
        assert_eq!(error(&[7; 1025]), EkPublicError::Size(1025));
        // Everything in front of the key: type, nameAlg, attributes, policy, symmetric algorithm, scheme.
        let head = if kind == EkKind::P384 { 66 } else { 50 };
        for at in (0..head).filter(|at| ![8, 9].contains(at)) {
            let mut other = public.clone();
            other[at] ^= 0x40;
            assert!(
                matches!(error(&other), EkPublicError::Template | EkPublicError::Key(_)),
                "{kind:?} {at}"
            );
        }
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

/// A good certificate with its signed part changed and signed anew by its maker.
fn patched(patch: impl FnOnce(&mut Vec<u8>)) -> EkCertError {
    let maker = MakerCa::new("Test Maker");
    let cert = SoftTpm::new(&maker, Seat::A).ek_cert();
    refused(&maker.resign(&cert, patch))
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

#[test]
fn t06_every_field_of_the_certificate_is_judged() {
    // Of version 1; with another algorithm inside than outside; with an extension twice; with one that can't be read.
    let v1 = patched(|tbs| replace(tbs, &[0xa0, 0x03, 0x02, 0x01, 0x02], &[0xa0, 0x03, 0x02, 0x01, 0x00]));
    assert_eq!(v1, EkCertError::Cert(CertError::Version(1)));
    let ecdsa = |last| [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last];
    let inner = patched(|tbs| replace(tbs, &ecdsa(2), &ecdsa(3)));
    assert_eq!(inner, EkCertError::Cert(CertError::Algorithm));
    let twice = patched(|tbs| replace(tbs, &[0x06, 0x03, 0x55, 0x1d, 0x25], &[0x06, 0x03, 0x55, 0x1d, 0x0f]));
    assert!(
        matches!(twice, EkCertError::Cert(CertError::ExtensionTwice(_) | CertError::Extension(_))),
        "{twice}"
    );
    let garbage = patched(|tbs| replace(tbs, &[0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x01], &[0xff; 7]));
    assert!(matches!(garbage, EkCertError::Cert(CertError::Extension(_) | CertError::Der)), "{garbage}");
    let usage = patched(|tbs| replace(tbs, &[0x67, 0x81, 0x05, 0x08, 0x01], &[0x67, 0x81, 0x05, 0x08, 0x02]));
    assert_eq!(usage, EkCertError::Usage);
    // An exponent of 65539, and an algorithm that is none of RSA's or ECC's.
    let exponent =
        patched(|tbs| replace(tbs, &[0x02, 0x03, 0x01, 0x00, 0x01], &[0x02, 0x03, 0x01, 0x00, 0x03]));
    assert!(matches!(exponent, EkCertError::Key(error) if error.is_weak()));
    let algorithm = patched(|tbs| replace(tbs, RSA, &[&RSA[..10], &[0x0a]].concat()));
    assert!(matches!(algorithm, EkCertError::Key(error) if !error.is_weak()));
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
