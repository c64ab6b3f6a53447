//! Attestation keys of every kind: judged good, read strictly, and each weakness with a variant of its own.

use crate::world::{World, with_evidence};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::{Curve, PublicError, QuoteError, Rejection, SchemeKind, TpmIdentity};
use ccnode_evidence::Code;
use ccnode_testkit::{AkKind, Boot, EkProfile, Lies, MakerCa, Seat, SoftTpm};

fn world(kind: AkKind) -> World {
    let maker = MakerCa::new("Test Maker");
    let tpm = SoftTpm::with(&maker, Seat::A, &EkProfile::default(), Boot::standard()).with_ak(kind);
    World::of(maker, tpm)
}

#[test]
fn t06_every_kind_of_key_is_judged() {
    for kind in AkKind::ALL {
        let verdict = world(kind).run().unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
        let len = if kind == AkKind::EcdsaP384 { 50 } else { 34 };
        assert_eq!(verdict.tpm.unwrap().ak_name.len(), len, "{kind:?}");
    }
}

#[test]
fn t10_signature_of_another_key_is_refused_whatever_the_kind() {
    for kind in AkKind::ALL {
        let world = world(kind);
        world.tpm.lie(Lies { signer: Some(Seat::B), ..Default::default() });
        let rejection = world.refused().rejection;
        assert!(matches!(rejection, Rejection::QuoteSignature), "{kind:?}: {rejection}");
        world.tpm.lie(Lies { sent_ak: Some(Seat::B), ..Default::default() });
        let rejection = world.refused().rejection;
        assert!(matches!(rejection, Rejection::TranscriptMismatch { .. }), "{kind:?}: {rejection}");
    }
}

#[test]
fn t10_every_byte_of_the_signature_counts() {
    for kind in AkKind::ALL {
        let world = world(kind);
        let answer = world.answer();
        let text = answer.tee_evidence.primary_evidence["tpm_quote"]["signature"].clone();
        let signature = STANDARD.decode(text.as_str().unwrap()).unwrap();
        assert!(world.judge(&answer).is_ok());
        // The head, the sizes, and both ends of each number.
        let len = signature.len();
        for i in (0..16).chain(len / 2 - 4..len / 2 + 8).chain(len - 8..len) {
            let mut bad = signature.clone();
            bad[i] ^= 0x01;
            let answer = with_evidence(answer.clone(), |e| {
                e["tpm_quote"]["signature"] = STANDARD.encode(&bad).into();
            });
            let rejection = world.judge(&answer).unwrap_err().rejection;
            assert!(
                matches!(rejection, Rejection::QuoteSignature | Rejection::QuoteMalformed(_)),
                "{kind:?} byte {i}: {rejection}"
            );
        }
    }
}

#[test]
fn t10_short_coordinates_are_the_same_numbers() {
    // Some TPMs drop leading zeros: find a signature that has one.
    let world = world(AkKind::EcdsaP256);
    for _ in 0..4096 {
        world.tpm.reboot(Boot::standard());
        let answer = world.answer();
        let text = answer.tee_evidence.primary_evidence["tpm_quote"]["signature"].clone();
        let signature = STANDARD.decode(text.as_str().unwrap()).unwrap();
        if signature[6] != 0 {
            continue;
        }
        let short = [&signature[..4], &[0, 31], &signature[7..]].concat();
        let answer = with_evidence(answer, |e| e["tpm_quote"]["signature"] = STANDARD.encode(short).into());
        assert!(world.judge(&answer).is_ok());
        return;
    }
    panic!("no signature with a leading zero");
}

#[test]
fn t10_quote_digest_is_of_the_schemes_hash() {
    // A digest by SHA-256 where the key hashes with SHA-384.
    let world = world(AkKind::RsassaSha384);
    let sha256 = AkKind::RsassaSha256;
    let honest = self::world(sha256).tpm.sign_quote([0; 32]);
    let digest = honest.message[honest.message.len() - 32..].to_vec();
    world.tpm.lie(Lies { pcr_digest: Some(digest), ..Default::default() });
    let rejection = world.refused().rejection;
    assert!(matches!(rejection, Rejection::QuotePcrDigest { .. }), "{rejection}");
}

fn refused_key(world: &World, public: Vec<u8>) -> PublicError {
    match TpmIdentity::parse(&world.tpm.ek_cert(), &public).unwrap_err() {
        Rejection::AkMalformed(error) => error,
        other => panic!("{other}"),
    }
}

/// TPMT_PUBLIC with one field changed: offset from the start, new bytes.
fn patched(kind: AkKind, offset: usize, bytes: &[u8]) -> PublicError {
    let world = world(kind);
    let mut public = world.tpm.offer().ak_public;
    public[offset..offset + bytes.len()].copy_from_slice(bytes);
    refused_key(&world, public)
}

#[test]
fn t06_rsa_key_is_read_strictly() {
    // type 0, nameAlg 2, attributes 4, authPolicy size 8, symmetric 10, scheme 12, hash 14, keyBits 16, exponent 18, modulus 22.
    let patched = |offset: usize, bytes: &[u8]| patched(AkKind::RsassaSha256, offset, bytes);
    assert_eq!(patched(0, &[0x00, 0x25]), PublicError::Type(0x0025));
    assert_eq!(patched(2, &[0x00, 0x04]), PublicError::NameAlg(0x0004));
    assert_eq!(patched(4, &[0x80]), PublicError::Reserved(0x8000_0000));
    assert_eq!(patched(7, &[0x73]), PublicError::Reserved(1));
    assert_eq!(patched(8, &[0x00, 0x10]), PublicError::AuthPolicy(16));
    assert_eq!(patched(10, &[0x00, 0x06]), PublicError::Symmetric(0x0006));
    assert_eq!(patched(12, &[0x00, 0x15]), PublicError::Scheme { scheme: 0x0015, hash: 0x000b });
    assert_eq!(patched(12, &[0x00, 0x18]), PublicError::Scheme { scheme: 0x0018, hash: 0x000b });
    assert_eq!(patched(12, &[0x00, 0x10]), PublicError::Scheme { scheme: 0x0010, hash: 0 });
    assert_eq!(patched(14, &[0x00, 0x0d]), PublicError::Scheme { scheme: 0x0014, hash: 0x000d });
    assert_eq!(patched(16, &[0x0c, 0x00]), PublicError::Modulus(3072));
    assert_eq!(patched(16, &[0x20, 0x00]), PublicError::Bits(8192));
    assert_eq!(patched(24, &[0x00]), PublicError::Modulus(2048));
    let world = World::new();
    let public = world.tpm.offer().ak_public;
    assert_eq!(refused_key(&world, [&public[..], &[0]].concat()), PublicError::Trailing(1));
    assert_eq!(refused_key(&world, vec![0; 1025]), PublicError::Size(1025));
    for len in 0..public.len() {
        assert_eq!(refused_key(&world, public[..len].to_vec()), PublicError::Short);
    }
}

#[test]
fn t06_ecc_key_is_read_strictly() {
    // As above up to the hash; then curve 16, kdf 18, x 20, y 54.
    let patched = |offset: usize, bytes: &[u8]| patched(AkKind::EcdsaP256, offset, bytes);
    assert_eq!(patched(12, &[0x00, 0x14]), PublicError::Scheme { scheme: 0x0014, hash: 0x000b });
    assert_eq!(patched(12, &[0x00, 0x1a]), PublicError::Scheme { scheme: 0x001a, hash: 0x000b });
    assert_eq!(patched(16, &[0x00, 0x05]), PublicError::Curve(5));
    assert!(matches!(
        patched(16, &[0x00, 0x04]),
        PublicError::CurveHash { curve: Curve::P384, scheme } if scheme.kind == SchemeKind::Ecdsa
    ));
    assert_eq!(patched(18, &[0x00, 0x20]), PublicError::Kdf(0x0020));
    assert_eq!(patched(53, &[0x00]), PublicError::Point(Curve::P256));
    assert_eq!(patched(54, &[0x00, 0x1f]), PublicError::Trailing(1));
    let world = world(AkKind::EcdsaP384);
    let public = world.tpm.offer().ak_public;
    assert_eq!(refused_key(&world, [&public[..], &[0]].concat()), PublicError::Trailing(1));
    for len in 0..public.len() {
        assert_eq!(refused_key(&world, public[..len].to_vec()), PublicError::Short);
    }
    // A coordinate with a byte more than the curve has.
    let long = [&public[..20], &[0, 49, 0], &public[22..]].concat();
    assert_eq!(refused_key(&world, long), PublicError::Point(Curve::P384));
}

#[test]
fn t06_weak_keys_are_named() {
    let weak = |offset: usize, bytes: &[u8]| {
        let world = World::new();
        let mut public = world.tpm.offer().ak_public;
        public[offset..offset + bytes.len()].copy_from_slice(bytes);
        let rejection = TpmIdentity::parse(&world.tpm.ek_cert(), &public).unwrap_err();
        assert_eq!(rejection.code(), Code::AkWeak, "{rejection}");
        let Rejection::AkMalformed(error) = rejection else { panic!("{rejection}") };
        assert!(error.is_weak());
        error
    };
    assert_eq!(weak(14, &[0x00, 0x04]), PublicError::Sha1Scheme(SchemeKind::Rsassa));
    assert_eq!(weak(16, &[0x04, 0x00]), PublicError::WeakBits(1024));
    assert_eq!(weak(18, &[0, 0, 0, 3]), PublicError::Exponent(3));
    let strange = TpmIdentity::parse(&World::new().tpm.ek_cert(), b"strange").unwrap_err();
    assert_eq!(strange.code(), Code::AkMalformed);
}

#[test]
fn t06_tpm12_keys_are_refused_by_name() {
    let world = World::new();
    let (pubkey, key) = ([0, 0, 0, 1, 0, 1, 0, 2], [1, 1, 0, 0, 0, 0x10, 0, 0]);
    for head in [pubkey, key, [0x00, 0x28, 0, 0, 0, 0x10, 0, 0]] {
        let public = [&head[..], &[7; 280]].concat();
        let rejection = TpmIdentity::parse(&world.tpm.ek_cert(), &public).unwrap_err();
        assert!(matches!(rejection, Rejection::AkMalformed(PublicError::Tpm12)), "{rejection}");
        assert_eq!(rejection.code(), Code::Tpm12);
    }
}

#[test]
fn t10_signature_is_of_the_keys_scheme() {
    // Both are RSASSA's numbers; the key's public area allows one hash.
    let (good, other) = (world(AkKind::RsassaSha256), world(AkKind::RsassaSha384));
    let answer = good.answer();
    let message = answer.tee_evidence.primary_evidence["tpm_quote"]["message"].clone();
    let message = STANDARD.decode(message.as_str().unwrap()).unwrap();
    let forged = other.tpm.sign(&message);
    let answer = with_evidence(answer, |e| e["tpm_quote"]["signature"] = STANDARD.encode(forged).into());
    let rejection = good.judge(&answer).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::QuoteMalformed(QuoteError::SchemeMismatch { .. })), "{rejection}");
}
