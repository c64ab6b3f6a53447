//! Whose TPM it is: endorsement key, attestation key, activation.

use crate::world::{World, roots};
use ccnode_appraise::{
    Attribute, AttributeFault, CertError, ChainFault, EkCertError, EkRoot, Rejection, TpmIdentity,
    TrustLevel, UnixTime,
};
use ccnode_evidence::{Code, EvidenceKind, Secret};
use ccnode_testkit::{AK_ATTRIBUTES, Boot, EkProfile, Lies, MakerCa, NOW, Seat, SoftTpm};
use rsa::rand_core::OsRng;

fn world(profile: EkProfile) -> World {
    let maker = MakerCa::new("Test Maker");
    let tpm = SoftTpm::with(&maker, Seat::A, &profile, Boot::standard());
    World::of(maker, tpm)
}

#[test]
fn certificate_is_read_strictly() {
    let offer = World::new().tpm.offer();
    let parse = |cert: &[u8]| match TpmIdentity::parse(cert, &offer.ak_public).unwrap_err() {
        rejection @ Rejection::EkCertMalformed(_) => {
            assert_eq!(rejection.code(), Code::EkCertMalformed);
            let Rejection::EkCertMalformed(error) = rejection else { unreachable!() };
            error
        }
        other => panic!("{other}"),
    };
    assert_eq!(parse(&[]), EkCertError::Cert(CertError::Der));
    assert_eq!(parse(&[offer.ek_cert().unwrap(), &[0]].concat()), EkCertError::Cert(CertError::Trailing(1)));
    assert_eq!(parse(&[0; 5000]), EkCertError::Cert(CertError::Size(5000)));
    for len in 0..offer.ek_cert().unwrap().len() {
        assert!(TpmIdentity::parse(&offer.ek_cert().unwrap()[..len], &offer.ak_public).is_err());
    }
    assert_eq!(
        EkRoot::parse(offer.ek_cert().unwrap().to_vec(), TrustLevel::DiscreteTpm),
        Err(EkCertError::NoCa)
    );
}

#[test]
fn unknown_maker_is_untrusted() {
    let mut world = World::new();
    world.roots = roots(&MakerCa::new("Other Maker"), TrustLevel::HypervisorVtpm);
    let refused = world.refused();
    assert!(
        matches!(&refused.rejection, Rejection::EkUntrusted { issuer } if issuer.contains("Test Maker intermediate"))
    );
    assert_eq!(refused.rejection.code(), Code::EkUntrusted);
    assert!(!refused.kept.activation_proven && refused.kept.logs.is_none());
    // One that took the maker's name.
    world.roots = roots(&MakerCa::new("Test Maker"), TrustLevel::HypervisorVtpm);
    let refused = world.refused();
    assert!(matches!(&refused.rejection, Rejection::EkChain { fault: ChainFault::Signature { .. }, .. }));
    assert_eq!(refused.rejection.code(), Code::EkUntrusted);
    world.roots.clear();
    assert!(matches!(world.refused().rejection, Rejection::EkUntrusted { .. }));
}

#[test]
fn expired_certificate_is_named() {
    let expired = world(EkProfile { years: (2020, 2021), ..Default::default() }).refused();
    assert!(matches!(expired.rejection, Rejection::EkCertExpired { not_after: UnixTime(1_609_459_200), .. }));
    assert_eq!(expired.rejection.code(), Code::EkCertExpired);
    let early = world(EkProfile { years: (2030, 2040), ..Default::default() }).refused();
    assert!(matches!(early.rejection, Rejection::EkCertExpired { now: UnixTime(NOW), .. }));
}

#[test]
fn expired_root_counts_too() {
    let maker = MakerCa::valid("Old Maker", (2010, 2022));
    let tpm = SoftTpm::with(
        &maker,
        Seat::A,
        &EkProfile { years: (2020, 2090), ..Default::default() },
        Boot::standard(),
    );
    let mut world = World::of(maker, tpm);
    world.roots[1].level = TrustLevel::DiscreteTpm;
    // The intermediate is pinned, too, and in its validity: it alone leads to the certificate.
    assert_eq!(world.run().unwrap().level, TrustLevel::DiscreteTpm);
    // In 2055 the EK's certificate alone is in its validity.
    world.now = UnixTime(2_682_374_400);
    let expired = |world: &World| {
        let refused = world.refused();
        assert!(
            matches!(&refused.rejection, Rejection::EkCertExpired { subject, .. } if subject.contains("Old Maker")),
            "{}",
            refused.rejection
        );
    };
    expired(&world);
    world.roots.remove(0);
    expired(&world);
}

#[test]
fn t06_what_is_remembered_of_a_chain_ends_with_its_validity() {
    let mut world = world(EkProfile { years: (2020, 2040), ..Default::default() });
    let (first, last) = (1_577_836_800, 2_208_988_800);
    // Twice, so that each is asked with every other one remembered.
    for _ in 0..2 {
        for (now, is_valid) in [
            (NOW, true),
            (last, true),
            (last + 1, false),
            (first, true),
            (first - 1, false),
            (last + 1, false),
            (NOW, true),
        ] {
            world.now = UnixTime(now);
            match world.run() {
                Ok(_) => assert!(is_valid, "{now}"),
                Err(refused) => {
                    let rejection = &refused.rejection;
                    assert!(matches!(rejection, Rejection::EkCertExpired { .. }), "{now}: {rejection}");
                    assert!(!is_valid, "{now}");
                }
            }
        }
    }
    // Nor is it another pool's: one that holds the maker for more, or for nothing.
    world.now = UnixTime(NOW);
    assert_eq!(world.run().unwrap().level, TrustLevel::HypervisorVtpm);
    world.roots.iter_mut().for_each(|root| root.level = TrustLevel::DiscreteTpm);
    assert_eq!(world.run().unwrap().level, TrustLevel::DiscreteTpm);
    world.roots.clear();
    assert!(matches!(world.refused().rejection, Rejection::EkUntrusted { .. }));
}

#[test]
fn t06_unrestricted_key_is_refused() {
    for (bit, attribute) in [
        (16, Attribute::Restricted),
        (18, Attribute::Sign),
        (1, Attribute::FixedTpm),
        (4, Attribute::FixedParent),
        (5, Attribute::SensitiveDataOrigin),
    ] {
        let world = World::new();
        world.tpm.lie(Lies { ak_attributes: Some(AK_ATTRIBUTES & !(1 << bit)), ..Default::default() });
        let refused = world.refused();
        assert!(
            matches!(refused.rejection, Rejection::AkAttributes(AttributeFault::Missing(a)) if a == attribute),
            "{}",
            refused.rejection
        );
        assert_eq!(refused.rejection.code(), Code::AkAttributes);
    }
    let world = World::new();
    world.tpm.lie(Lies { ak_attributes: Some(AK_ATTRIBUTES | 1 << 17), ..Default::default() });
    let fault = AttributeFault::Excess(Attribute::Decrypt);
    assert!(matches!(world.refused().rejection, Rejection::AkAttributes(f) if f == fault));
}

#[test]
fn t06_credential_opens_in_its_tpm_for_its_key_alone() {
    let world = World::new();
    let identity = world.identity().unwrap();
    let (credential, secret) = identity.make_credential(&world.secret, &mut OsRng).unwrap();
    assert_eq!(world.tpm.open(&credential, &secret).unwrap(), world.secret);

    let other = SoftTpm::new(&world.maker, Seat::B);
    assert!(other.open(&credential, &secret).is_err(), "another TPM");
    world.tpm.lie(Lies { ak_attributes: Some(AK_ATTRIBUTES & !(1 << 16)), ..Default::default() });
    assert!(world.tpm.open(&credential, &secret).is_err(), "another key");
}

#[test]
fn t06_software_key_cannot_be_activated() {
    // The attacker shows a good TPM's certificate and a key of their own; that TPM holds no such key, so they must guess.
    let world = World::new();
    let victim = SoftTpm::new(&world.maker, Seat::B);
    world.tpm.lie(Lies { ek_cert: Some(victim.ek_cert()), ..Default::default() });
    let identity = world.identity().unwrap();
    let (credential, secret) = identity.make_credential(&world.secret, &mut OsRng).unwrap();
    assert!(world.tpm.open(&credential, &secret).is_err());
    assert!(victim.open(&credential, &secret).is_err());
    let refused = world.judge(&world.answer_with(&Secret::new([0; 32]))).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::ActivationFailed));
    assert_eq!(refused.rejection.code(), Code::ActivationFailed);
    assert!(!refused.kept.activation_proven && refused.kept.logs.is_none());
}

#[test]
fn t06_foreign_certificate_is_another_identity() {
    let world = World::new();
    let mine = world.identity().unwrap().node_id(EvidenceKind::Tpm);
    world
        .tpm
        .lie(Lies { ek_cert: Some(SoftTpm::new(&world.maker, Seat::B).ek_cert()), ..Default::default() });
    assert_ne!(world.identity().unwrap().node_id(EvidenceKind::Tpm), mine);
}

#[test]
fn t06_quote_of_another_key_is_refused() {
    let world = World::new();
    world.tpm.lie(Lies { signer: Some(Seat::B), ..Default::default() });
    let refused = world.refused();
    assert!(matches!(refused.rejection, Rejection::QuoteSignature));
    assert_eq!(refused.rejection.code(), Code::QuoteSignature);
}
