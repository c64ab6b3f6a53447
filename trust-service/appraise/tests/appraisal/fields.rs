//! Every field of a quote, a signature and an attestation key: changed, and signed anew where that would hide it, it is refused by a variant
//! of its own. The rows leave no byte out.

use crate::world::{World, with_evidence};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::{
    Attribute, AttributeFault, Counters, Curve, EkPublicError, Member, PublicError, QuoteError, Rejection,
    TpmIdentity,
};
use ccnode_testkit::{AkKind, Boot, EkKind, EkProfile, Lies, MakerCa, Seat, SoftTpm};
use ccnode_vectors::assert_tiled;
use std::ops::Range;

type Refused = fn(&Rejection) -> bool;

/// What comes of a change.
#[derive(Clone, Copy)]
enum Due {
    Refused(Refused),
    /// Taken once it is signed, and the claim is another.
    Informs,
    /// Taken once it is signed: nothing reads it.
    Silent,
}

struct Row {
    field: &'static str,
    bytes: Range<usize>,
    at: Range<usize>,
    flip: u8,
    due: Due,
}

/// Rows of fields that follow one another.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    /// A field of `len` bytes: each of them changed.
    fn each(&mut self, field: &'static str, len: usize, flip: u8, due: Due) {
        let start = self.0.last().map_or(0, |row| row.bytes.end);
        self.0.push(Row { field, bytes: start..start + len, at: start..start + len, flip, due });
    }

    /// A field of `len` bytes, of which one is changed.
    fn one(&mut self, field: &'static str, len: usize, at: usize, flip: u8, due: Due) {
        self.each(field, len, flip, due);
        let row = self.0.last_mut().unwrap();
        row.at = row.bytes.start + at..row.bytes.start + at + 1;
    }

    /// Another change to the field before.
    fn too(&mut self, at: usize, flip: u8, due: Due) {
        let Row { field, bytes, .. } = self.0.last().unwrap();
        let at = bytes.start + at..bytes.start + at + 1;
        let row = Row { field, bytes: bytes.clone(), at, flip, due };
        self.0.push(row);
    }

    fn tile(&self, len: usize) {
        assert_tiled(len, self.0.iter().map(|row| (row.field, row.bytes.clone())));
    }
}

macro_rules! refused {
    ($pattern:pat) => {
        Due::Refused(|got| matches!(got, $pattern))
    };
}

macro_rules! quote {
    ($pattern:pat) => {
        refused!(Rejection::QuoteMalformed($pattern))
    };
}

macro_rules! key {
    ($pattern:pat) => {
        refused!(Rejection::AkMalformed($pattern))
    };
}

fn world(kind: AkKind) -> World {
    let maker = MakerCa::new("Test Maker");
    let tpm = SoftTpm::with(&maker, Seat::A, &EkProfile::default(), Boot::standard()).with_ak(kind);
    World::of(maker, tpm)
}

#[rustfmt::skip]
fn attest() -> Rows {
    let mut rows = Rows::default();
    rows.each("magic", 4, 1, quote!(QuoteError::Magic(_)));
    rows.each("type", 2, 1, quote!(QuoteError::Type(_)));
    rows.one("qualifiedSigner.size", 2, 0, 1, quote!(QuoteError::Short("TPMS_ATTEST")));
    rows.too(1, 1, quote!(QuoteError::Signer(35)));
    rows.each("qualifiedSigner.nameAlg", 2, 1, quote!(QuoteError::Signer(34)));
    // Of the key and all above it, which nobody outside the TPM knows; whose signature it is says the signature.
    rows.each("qualifiedSigner.digest", 32, 1, Due::Silent);
    rows.one("extraData.size", 2, 0, 1, quote!(QuoteError::Short("TPMS_ATTEST")));
    rows.too(1, 0x40, quote!(QuoteError::ExtraData(96)));
    rows.each("extraData", 32, 1, refused!(Rejection::QuoteNonce { .. }));
    rows.each("clockInfo.clock", 8, 1, Due::Informs);
    rows.each("clockInfo.resetCount", 4, 1, Due::Informs);
    rows.each("clockInfo.restartCount", 4, 1, Due::Informs);
    rows.each("clockInfo.safe", 1, 1, Due::Informs);
    rows.too(0, 2, quote!(QuoteError::Safe(3)));
    // Makers number as they please.
    rows.each("firmwareVersion", 8, 1, Due::Silent);
    rows.each("pcrSelect.count", 4, 0x20, quote!(QuoteError::Selections(_)));
    rows.too(3, 1, quote!(QuoteError::Trailing(..) | QuoteError::Short(_)));
    rows.each("pcrSelect.hash", 2, 1, refused!(Rejection::QuoteSelection { .. }));
    rows.too(1, 0x0f, refused!(Rejection::QuoteBankWeak { .. }));
    rows.each("pcrSelect.sizeofSelect", 1, 8, quote!(QuoteError::Bitmap(11)));
    rows.each("pcrSelect.pcrSelect", 3, 1, refused!(Rejection::QuoteSelection { .. }));
    rows.each("pcrDigest.size", 2, 1, quote!(QuoteError::Short("TPMS_ATTEST")));
    rows.too(1, 0x3f, quote!(QuoteError::Trailing("TPMS_ATTEST", 1)));
    rows.each("pcrDigest", 32, 1, refused!(Rejection::QuotePcrDigest { .. }));
    rows
}

fn member<'a>(answer: &'a ccnode_protocol::Attestation, name: &str) -> &'a str {
    answer.tee_evidence.primary_evidence["tpm_quote"][name].as_str().unwrap()
}

fn counters(world: &World, message: &[u8], signature: &[u8]) -> Result<Counters, Rejection> {
    let answer = with_evidence(world.answer(), |e| {
        e["tpm_quote"]["message"] = STANDARD.encode(message).into();
        e["tpm_quote"]["signature"] = STANDARD.encode(signature).into();
    });
    world.judge(&answer).map(|verdict| verdict.tpm.unwrap().counters).map_err(|refused| refused.rejection)
}

#[test]
fn t10_every_field_of_the_quote_mutated_has_its_own_rejection() {
    let world = World::new();
    let answer = world.answer();
    let message = STANDARD.decode(member(&answer, "message")).unwrap();
    let signature = STANDARD.decode(member(&answer, "signature")).unwrap();
    let good = counters(&world, &message, &signature).unwrap();
    let rows = attest();
    rows.tile(message.len());
    for Row { field, at, flip, due, .. } in rows.0 {
        for at in at {
            let what = format!("{field}, byte {at} ^ {flip:#x}");
            let mut changed = message.clone();
            changed[at] ^= flip;
            let unsigned = counters(&world, &changed, &signature).expect_err(&what);
            let is = |got: &Rejection| matches!(due, Due::Refused(is) if is(got));
            assert!(matches!(unsigned, Rejection::QuoteSignature) || is(&unsigned), "{what}: {unsigned}");
            match (counters(&world, &changed, &world.tpm.sign(&changed)), due) {
                (Err(got), Due::Refused(is)) => assert!(is(&got), "{what}: {got}"),
                (Ok(taken), Due::Informs) => assert_ne!(taken, good, "{what}"),
                (Ok(taken), Due::Silent) => assert_eq!(taken, good, "{what}"),
                (got, _) => panic!("{what}: {got:?}"),
            }
        }
    }
}

#[rustfmt::skip]
fn signature(kind: AkKind) -> Rows {
    let wrong = || refused!(Rejection::QuoteSignature);
    let mut rows = Rows::default();
    rows.each("sigAlg", 2, 1, quote!(QuoteError::Scheme { .. }));
    rows.each("hash", 2, 6, quote!(QuoteError::Scheme { .. }));
    rows.too(1, 7, quote!(QuoteError::SchemeMismatch { .. }));
    rows.too(1, 0x0f, quote!(QuoteError::Sha1Scheme(_)));
    if kind == AkKind::EcdsaP256 {
        for (size, number) in [("signatureR.size", "signatureR"), ("signatureS.size", "signatureS")] {
            rows.one(size, 2, 0, 1, quote!(QuoteError::Short("TPMT_SIGNATURE")));
            rows.too(1, 0x20, quote!(QuoteError::Coordinate(0)));
            rows.each(number, 32, 1, wrong());
        }
    } else {
        rows.one("sig.size", 2, 0, 2, quote!(QuoteError::Short("TPMT_SIGNATURE")));
        rows.too(0, 1, quote!(QuoteError::Trailing("TPMT_SIGNATURE", 256)));
        rows.each("sig", 256, 1, wrong());
    }
    rows
}

#[test]
fn t10_every_field_of_the_signature_mutated_has_its_own_rejection() {
    for kind in [AkKind::RsassaSha256, AkKind::EcdsaP256] {
        let world = world(kind);
        let answer = world.answer();
        let good = STANDARD.decode(member(&answer, "signature")).unwrap();
        let rows = signature(kind);
        rows.tile(good.len());
        for Row { field, at, flip, due, .. } in rows.0 {
            for at in at {
                let mut changed = good.clone();
                changed[at] ^= flip;
                let answer = with_evidence(answer.clone(), |e| {
                    e["tpm_quote"]["signature"] = STANDARD.encode(changed).into();
                });
                let got = world.judge(&answer).unwrap_err().rejection;
                assert!(matches!(due, Due::Refused(is) if is(&got)), "{kind:?} {field}, byte {at}: {got}");
            }
        }
    }
}

macro_rules! attribute {
    ($fault:ident $name:ident) => {
        refused!(Rejection::AkAttributes(AttributeFault::$fault(Attribute::$name)))
    };
}

#[rustfmt::skip]
fn public(kind: AkKind) -> Rows {
    let ecc = kind == AkKind::EcdsaP256;
    // Another key than the one that signs: of another Name, so that the credential is for none there.
    let other = || refused!(Rejection::TranscriptMismatch { member: Member::AkPublic });
    let mut rows = Rows::default();
    rows.each("type", 2, 0x40, key!(PublicError::Type(_)));
    rows.each("nameAlg", 2, 1, key!(PublicError::NameAlg(_)));
    rows.each("objectAttributes", 4, 1, key!(PublicError::Reserved(_)));
    let row = rows.0.last_mut().unwrap();
    // Bit 16 of the second byte is restricted: below.
    row.at = row.bytes.start..row.bytes.start + 1;
    rows.too(3, 1, key!(PublicError::Reserved(1)));
    rows.too(2, 0x10, key!(PublicError::Reserved(0x1000)));
    rows.too(1, 0x10, key!(PublicError::Reserved(0x10_0000)));
    rows.too(1, 1, attribute!(Missing Restricted));
    rows.too(1, 2, attribute!(Excess Decrypt));
    rows.too(1, 4, attribute!(Missing Sign));
    rows.too(3, 2, attribute!(Missing FixedTpm));
    rows.too(3, 0x10, attribute!(Missing FixedParent));
    rows.too(3, 0x20, attribute!(Missing SensitiveDataOrigin));
    // stClear, userWithAuth, adminWithPolicy; firmwareLimited, svnLimited, noDA, encryptedDuplication; x509sign: another Name.
    for (at, flip) in [(3, 4), (3, 0x40), (3, 0x80), (2, 1), (2, 2), (2, 4), (2, 8), (1, 8)] {
        rows.too(at, flip, Due::Informs);
    }
    rows.one("authPolicy.size", 2, 1, 4, key!(PublicError::AuthPolicy(4)));
    rows.too(0, 0x80, key!(PublicError::Short));
    rows.each("symmetric", 2, 1, key!(PublicError::Symmetric(_)));
    rows.each("scheme", 2, 1, key!(PublicError::Scheme { .. }));
    rows.each("scheme.hash", 2, 6, key!(PublicError::Scheme { .. }));
    rows.too(1, 0x0f, key!(PublicError::Sha1Scheme(_)));
    if ecc {
        rows.each("curveID", 2, 8, key!(PublicError::Curve(_)));
        rows.too(1, 7, key!(PublicError::CurveHash { curve: Curve::P384, .. }));
        rows.each("kdf", 2, 1, key!(PublicError::Kdf(_)));
        rows.one("x.size", 2, 0, 1, key!(PublicError::Short));
        rows.each("x", 32, 1, key!(PublicError::Point(Curve::P256)));
        rows.one("y.size", 2, 1, 1, key!(PublicError::Short));
        rows.each("y", 32, 1, key!(PublicError::Point(Curve::P256)));
    } else {
        rows.one("keyBits", 2, 0, 4, key!(PublicError::Modulus(3072)));
        rows.too(0, 0x0c, key!(PublicError::WeakBits(1024)));
        rows.too(0, 0x28, key!(PublicError::Bits(8192)));
        rows.each("exponent", 4, 2, key!(PublicError::Exponent(_)));
        rows.one("unique.size", 2, 0, 2, key!(PublicError::Short));
        rows.too(0, 1, key!(PublicError::Trailing(256)));
        rows.each("unique", 256, 1, other());
        rows.too(0, 0x80, key!(PublicError::Modulus(2048)));
    }
    rows
}

#[test]
fn t06_every_field_of_the_attestation_key_mutated_has_its_own_rejection() {
    for kind in [AkKind::RsassaSha256, AkKind::EcdsaP256] {
        let world = world(kind);
        let good = world.tpm.offer().ak_public;
        let honest = world.identity().unwrap().ak_name();
        let rows = public(kind);
        rows.tile(good.len());
        for Row { field, at, flip, due, .. } in rows.0 {
            for at in at {
                let what = format!("{kind:?} {field}, byte {at} ^ {flip:#x}");
                let mut changed = good.clone();
                changed[at] ^= flip;
                world.tpm.lie(Lies { ak_public: Some(changed), ..Lies::default() });
                let got = world.identity().and_then(|identity| match world.run() {
                    Ok(_) => Ok(identity.ak_name()),
                    Err(refused) => Err(refused.rejection),
                });
                match (got, due) {
                    (Err(got), Due::Refused(is)) => assert!(is(&got), "{what}: {got}"),
                    (Ok(name), Due::Informs) => assert_ne!(name, honest, "{what}"),
                    (got, _) => panic!("{what}: {got:?}"),
                }
            }
        }
    }
}

/// What the template says of each field of an RSA endorsement key, and what is wrong once it is changed.
#[test]
fn t06_every_field_of_a_bare_endorsement_key_mutated_has_its_own_rejection() {
    let ak = World::new().tpm.offer().ak_public;
    let world = |kind| {
        let maker = MakerCa::new("Test Maker");
        let tpm = SoftTpm::new(&maker, Seat::A).with_ek(kind, &maker, &EkProfile::default());
        World::of(maker, tpm)
    };
    for kind in [EkKind::Rsa2048, EkKind::P256] {
        let good = world(kind).identity().unwrap().ek_public();
        let head = [
            ("type", 0..2),
            ("nameAlg", 2..4),
            ("objectAttributes", 4..8),
            ("authPolicy.size", 8..10),
            ("authPolicy", 10..42),
            ("symmetric", 42..44),
            ("symmetric.keyBits", 44..46),
            ("symmetric.mode", 46..48),
            ("scheme", 48..50),
        ];
        let rest: &[(&str, Range<usize>)] = match kind {
            EkKind::Rsa2048 => {
                &[("keyBits", 50..52), ("exponent", 52..56), ("unique.size", 56..58), ("unique", 58..314)]
            }
            _ => &[
                ("curveID", 50..52),
                ("kdf", 52..54),
                ("x.size", 54..56),
                ("x", 56..88),
                ("y.size", 88..90),
                ("y", 90..122),
            ],
        };
        let fields = head.iter().chain(rest).cloned().collect::<Vec<_>>();
        assert_tiled(good.len(), fields.iter().cloned());
        for (field, range) in fields {
            for at in range {
                let mut changed = good.clone();
                changed[at] ^= 0x40;
                let got = TpmIdentity::from_ek_public(&changed, &ak);
                let is = match (field, &got) {
                    // Any number of 2048 bits with its first one set: another key, and so another node.
                    ("unique", got) => got.as_ref().is_ok_and(|other| other.ek_public() != good),
                    ("type" | "curveID" | "x" | "y", Err(Rejection::EkMalformed(EkPublicError::Key(_)))) => {
                        true
                    }
                    (
                        "authPolicy.size" | "unique.size" | "x.size" | "y.size",
                        Err(Rejection::EkMalformed(
                            EkPublicError::Short | EkPublicError::Key(_) | EkPublicError::Template { .. },
                        )),
                    ) => true,
                    (field, Err(Rejection::EkMalformed(EkPublicError::Template { field: named, .. }))) => {
                        *named == field
                    }
                    _ => false,
                };
                assert!(is, "{kind:?} {field}, byte {at}: {:?}", got.map(|identity| identity.ek_public()));
            }
        }
    }
}
