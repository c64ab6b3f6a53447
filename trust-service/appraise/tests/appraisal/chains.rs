//! Chains above an EK certificate: what makers' CAs look like, and each check of each CA.

use crate::world::World;
use ccnode_appraise::{
    CertError, ChainFault, EkCertError, EkRoot, Rejection, SignatureFault, TrustLevel, UnixTime,
};
use ccnode_evidence::Code;
use ccnode_testkit::{EkProfile, Lies, MakerCa, NOW, Seat, SoftTpm, resign};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SignatureAlgorithm,
    SubjectPublicKeyInfo, date_time_ymd,
};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

/// A CA's parameters: valid 2020 to 2045, allowed to sign certificates, any number of CAs below.
fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Maker");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn ek() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    params
}

/// A chain of CAs, the root first, and an EK certificate below the last.
struct Chain {
    cas: Vec<Vec<u8>>,
    ek: Vec<u8>,
    last: KeyPair,
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 || algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
        return KeyPair::generate_for(algorithm).unwrap();
    }
    let key = rsa::RsaPrivateKey::from_pkcs1_der(include_bytes!("../../../testkit/keys/ak-c.der")).unwrap();
    let key = key.to_pkcs8_der().unwrap().as_bytes().to_vec();
    KeyPair::from_pkcs8_der_and_sign_algo(&key.into(), algorithm).unwrap()
}

fn chain_with(
    algorithm: &'static SignatureAlgorithm,
    cas: Vec<CertificateParams>,
    ek: &CertificateParams,
) -> Chain {
    let mut out = Vec::new();
    let mut issuer: Option<Issuer<'static, KeyPair>> = None;
    for params in cas {
        let key = key(algorithm);
        let cert = match &issuer {
            None => params.self_signed(&key).unwrap(),
            Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        };
        out.push(cert.der().to_vec());
        issuer = Some(Issuer::new(params, key));
    }
    let spki = rsa::RsaPrivateKey::from_pkcs1_der(include_bytes!("../../../testkit/keys/ek-a.der")).unwrap();
    let spki = rsa::RsaPublicKey::from(&spki).to_public_key_der().unwrap();
    let spki = SubjectPublicKeyInfo::from_der(spki.as_bytes()).unwrap();
    let issuer = issuer.unwrap();
    let cert = ek.signed_by(&spki, &issuer).unwrap().der().to_vec();
    let last = KeyPair::from_pem(&issuer.key().serialize_pem()).unwrap_or_else(|_| key(algorithm));
    Chain { cas: out, ek: cert, last }
}

fn chain(cas: Vec<CertificateParams>, ek: &CertificateParams) -> Chain {
    chain_with(&rcgen::PKCS_ECDSA_P256_SHA256, cas, ek)
}

impl Chain {
    fn judge_with(&self, cas: &[&Vec<u8>]) -> Result<TrustLevel, Rejection> {
        let mut world = World::new();
        world.tpm.lie(Lies { ek_cert: Some(self.ek.clone()), ..Default::default() });
        let root = |der: &&Vec<u8>| EkRoot::parse((*der).clone(), TrustLevel::DiscreteTpm).unwrap();
        world.roots = cas.iter().map(root).collect();
        world.run().map(|verdict| verdict.level).map_err(|refused| refused.rejection)
    }

    fn judge(&self) -> Result<TrustLevel, Rejection> {
        self.judge_with(&self.cas.iter().collect::<Vec<_>>())
    }

    /// Only the root is a CA of the pool's own level; all are there, so what fails is between them.
    fn fault(&self) -> ChainFault {
        match self.judge().unwrap_err() {
            rejection @ Rejection::EkChain { .. } => {
                assert_eq!(rejection.code(), Code::EkUntrusted);
                let Rejection::EkChain { fault, .. } = rejection else { unreachable!() };
                fault
            }
            other => panic!("{other}"),
        }
    }
}

fn critical(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(true);
    extension
}

#[test]
fn makers_cas_are_taken() {
    // Critical policies, as one maker has them; a critical extended key usage on the CA, as others do; a CN of over 64 characters.
    let mut root = ca("root");
    root.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
    let mut intermediate =
        ca(&"tpm_ek_v1_cloud_host-signer-0-2020-10-22T14:02:08-07:00 K:1, 2:x:0:18".repeat(2));
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    intermediate.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // certificatePolicies: anyPolicy.
    let policies = vec![0x30, 0x08, 0x30, 0x06, 0x06, 0x04, 0x55, 0x1d, 0x20, 0x00];
    intermediate.custom_extensions.push(critical(&[2, 5, 29, 32], policies));
    intermediate.serial_number = Some(0u64.into());
    assert_eq!(chain(vec![root, intermediate], &ek()).judge().unwrap(), TrustLevel::DiscreteTpm);
}

#[test]
fn makers_signatures_are_verified() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA384,
        &rcgen::PKCS_RSA_SHA512,
    ] {
        let good = chain_with(algorithm, vec![ca("root"), ca("intermediate")], &ek());
        assert!(good.judge().is_ok(), "{algorithm:?}");
        let mut bad = good;
        let at = bad.ek.len() - 5;
        bad.ek[at] ^= 1;
        let fault = bad.fault();
        let invalid = |fault| matches!(fault, ChainFault::Signature { fault: SignatureFault::Invalid, .. });
        assert!(invalid(fault), "{algorithm:?}");
    }
}

#[test]
fn t06_signatures_over_weak_hashes_are_refused() {
    // sha256WithRSAEncryption's last number becomes sha1WithRSAEncryption's, or MD5's, inside and outside.
    let good = chain_with(&rcgen::PKCS_RSA_SHA256, vec![ca("root")], &ek());
    let oid = |last: u8| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last];
    for (last, hash) in [(5, "SHA-1"), (4, "MD5")] {
        let mut weak =
            Chain { cas: good.cas.clone(), ek: good.ek.clone(), last: key(&rcgen::PKCS_RSA_SHA256) };
        for at in 0..weak.ek.len() - 9 {
            if weak.ek[at..at + 9] == oid(11) {
                weak.ek[at + 8] = last;
            }
        }
        let fault = weak.fault();
        assert!(
            matches!(&fault, ChainFault::Signature { fault: SignatureFault::Weak(name), .. } if *name == hash),
            "{fault}"
        );
    }
    // ECDSA's name on an RSA key.
    let mut odd = Chain { cas: good.cas.clone(), ek: good.ek, last: key(&rcgen::PKCS_RSA_SHA256) };
    for at in 0..odd.ek.len() - 9 {
        if odd.ek[at..at + 9] == oid(11) {
            odd.ek[at + 8] = 14;
        }
    }
    assert!(matches!(odd.fault(), ChainFault::Signature { fault: SignatureFault::Algorithm(_), .. }));
}

#[test]
fn t06_intermediate_must_be_a_ca() {
    let good = chain(vec![ca("root"), ca("intermediate")], &ek());
    let mut no_ca = ca("intermediate");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let broken = chain(vec![ca("root"), no_ca], &ek());
    // The pool would not take it at all.
    let refused = EkRoot::parse(broken.cas[1].clone(), TrustLevel::DiscreteTpm);
    assert_eq!(refused, Err(EkCertError::NoCa));
    assert!(EkRoot::parse(good.cas[1].clone(), TrustLevel::DiscreteTpm).is_ok());
    // A pool of another version may have it still.
    let mut world = World::new();
    world.tpm.lie(Lies { ek_cert: Some(broken.ek.clone()), ..Default::default() });
    let root = |der: &Vec<u8>| EkRoot { cert_der: der.clone(), level: TrustLevel::DiscreteTpm };
    world.roots = broken.cas.iter().map(root).collect();
    let rejection = world.refused().rejection;
    assert!(matches!(rejection, Rejection::EkChain { fault: ChainFault::NoCa(_), .. }), "{rejection}");
}

#[test]
fn t06_intermediate_must_be_allowed_to_sign() {
    let mut mute = ca("intermediate");
    mute.key_usages = vec![KeyUsagePurpose::CrlSign];
    let broken = chain(vec![ca("root"), mute], &ek());
    let refused = EkRoot::parse(broken.cas[1].clone(), TrustLevel::DiscreteTpm);
    assert_eq!(refused, Err(EkCertError::CaKeyUsage));
    let mut world = World::new();
    world.tpm.lie(Lies { ek_cert: Some(broken.ek.clone()), ..Default::default() });
    let root = |der: &Vec<u8>| EkRoot { cert_der: der.clone(), level: TrustLevel::DiscreteTpm };
    world.roots = broken.cas.iter().map(root).collect();
    let rejection = world.refused().rejection;
    assert!(matches!(rejection, Rejection::EkChain { fault: ChainFault::KeyUsage(_), .. }), "{rejection}");
}

#[test]
fn t06_path_lengths_count() {
    let constrained = |name: &str, allowed| {
        let mut params = ca(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed));
        params
    };
    let three = |allowed| chain(vec![constrained("root", allowed), ca("one"), ca("two")], &ek());
    assert!(three(2).judge_with(&three(2).cas.iter().collect::<Vec<_>>()).is_err(), "other keys");
    let good = three(2);
    assert!(good.judge().is_ok());
    // Two CAs stand below a root that allows one. They are pinned, too, so they lead to the certificate by themselves.
    let short = three(1);
    assert!(short.judge().is_ok());
    // With the CA in the middle of a worthless level, the root's level would count, were it reached.
    let mut world = World::new();
    world.tpm.lie(Lies { ek_cert: Some(short.ek.clone()), ..Default::default() });
    let levels = [TrustLevel::HypervisorVtpm, TrustLevel::DiscreteTpm, TrustLevel::DiscreteTpm];
    let roots = |chain: &Chain| {
        let pairs = chain.cas.iter().zip(levels);
        pairs.map(|(der, level)| EkRoot::parse(der.clone(), level).unwrap()).collect::<Vec<_>>()
    };
    world.roots = roots(&short);
    assert_eq!(world.run().unwrap().level, TrustLevel::DiscreteTpm, "the root does not lead here");
    world.tpm.lie(Lies { ek_cert: Some(good.ek.clone()), ..Default::default() });
    world.roots = roots(&good);
    assert_eq!(world.run().unwrap().level, TrustLevel::HypervisorVtpm, "the root leads here");
    // Alone with an intermediate that it does not allow, the root's fault is named.
    let zero = chain(vec![constrained("root", 0), constrained("one", 0), ca("two")], &ek());
    let got = zero.judge_with(&[&zero.cas[0]]);
    assert!(matches!(got, Err(Rejection::EkUntrusted { .. })));
}

#[test]
fn t06_names_chain_byte_for_byte() {
    let good = chain(vec![ca("root"), ca("intermediate")], &ek());
    let other = chain(vec![ca("root"), ca("Intermediate")], &ek());
    let got = good.judge_with(&[&good.cas[0], &other.cas[1]]);
    assert!(matches!(got, Err(Rejection::EkUntrusted { .. })));
    // The right name, and another key.
    let twin = chain(vec![ca("root"), ca("intermediate")], &ek());
    let got = good.judge_with(&[&good.cas[0], &twin.cas[1]]);
    assert!(matches!(
        got,
        Err(Rejection::EkChain { fault: ChainFault::Signature { fault: SignatureFault::Invalid, .. }, .. })
    ));
    // Both of that name: the one that signed is found.
    assert!(good.judge_with(&[&twin.cas[1], &good.cas[1], &good.cas[0]]).is_ok());
}

#[test]
fn t06_many_cas_of_one_name_are_bounded() {
    let good = chain(vec![ca("root")], &ek());
    let twins: Vec<Chain> = (0..40).map(|_| chain(vec![ca("root")], &ek())).collect();
    let mut cas: Vec<&Vec<u8>> = twins.iter().map(|twin| &twin.cas[0]).collect();
    cas.push(&good.cas[0]);
    let got = good.judge_with(&cas);
    assert!(matches!(got, Err(Rejection::EkChain { fault: ChainFault::TooMany, .. })));
}

#[test]
fn t06_name_constraints_count() {
    let subtree = |organization: &str| {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, organization);
        GeneralSubtree::DirectoryName(name)
    };
    let constrained = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        let mut root = ca("root");
        root.name_constraints =
            Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        root
    };
    let named = |organization: &str| {
        let mut params = ek();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, "EK");
        params
    };
    let one = |root: CertificateParams, ek: &CertificateParams| chain(vec![root], ek);
    let maker = || constrained(vec![subtree("Maker")], vec![]);
    assert!(one(maker(), &named("Maker")).judge().is_ok());
    assert!(one(maker(), &ek()).judge().is_ok(), "no name, nothing to constrain");
    assert!(matches!(one(maker(), &named("Other")).fault(), ChainFault::Names(_)));
    let not = || constrained(vec![], vec![subtree("Maker")]);
    assert!(one(not(), &named("Other")).judge().is_ok());
    assert!(matches!(one(not(), &named("Maker")).fault(), ChainFault::Names(_)));
    // Alternative names count likewise, and kinds that are not computed are not allowed.
    let mut dns = named("Maker");
    dns.subject_alt_names = vec![rcgen::SanType::DnsName("tpm.example".try_into().unwrap())];
    let only_dns = constrained(vec![GeneralSubtree::DnsName("example".into())], vec![]);
    assert!(matches!(one(only_dns, &dns).fault(), ChainFault::Names(_)));
    assert!(one(maker(), &dns).judge().is_ok(), "its directory names are constrained, its host name is not");
    // A CA in between is constrained, too.
    let mut far = ca("far");
    far.distinguished_name = DistinguishedName::new();
    far.distinguished_name.push(DnType::OrganizationName, "Other");
    let mut levels = World::new();
    let broken = chain(vec![maker(), far], &named("Maker"));
    levels.tpm.lie(Lies { ek_cert: Some(broken.ek.clone()), ..Default::default() });
    let root = EkRoot::parse(broken.cas[0].clone(), TrustLevel::HypervisorVtpm).unwrap();
    let far = EkRoot::parse(broken.cas[1].clone(), TrustLevel::DiscreteTpm).unwrap();
    levels.roots = vec![root, far];
    assert_eq!(levels.run().unwrap().level, TrustLevel::DiscreteTpm, "the root does not lead here");
}

#[test]
fn t06_cas_are_read_strictly() {
    let parse = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        EkRoot::parse(params.self_signed(&key).unwrap().der().to_vec(), TrustLevel::DiscreteTpm)
    };
    let mut strange = ca("root");
    strange.custom_extensions.push(critical(&[1, 3, 6, 1, 4, 1, 57264, 1], vec![5, 0]));
    let critical_fault = EkCertError::Cert(CertError::Critical("1.3.6.1.4.1.57264.1".into()));
    assert_eq!(parse(strange), Err(critical_fault));
    // Policies that are restricted are more than is judged here: policyConstraints, requireExplicitPolicy 0.
    let mut policies = ca("root");
    policies.custom_extensions.push(critical(&[2, 5, 29, 36], vec![0x30, 0x03, 0x80, 0x01, 0x00]));
    assert_eq!(parse(policies), Err(EkCertError::Cert(CertError::Critical("2.5.29.36".into()))));
    let mut no_ca = ca("root");
    no_ca.is_ca = IsCa::NoCa;
    assert_eq!(parse(no_ca), Err(EkCertError::NoCa));
}

#[test]
fn t06_validity_is_judged_at_each_step() {
    let mut old = ca("old");
    old.not_after = date_time_ymd(2022, 1, 1);
    let broken = chain(vec![ca("root"), old], &ek());
    let got = broken.judge();
    assert!(
        matches!(got, Err(Rejection::EkCertExpired { subject, now: UnixTime(NOW), .. }) if subject.contains("old"))
    );
    let mut young = ek();
    young.not_before = date_time_ymd(2039, 1, 1);
    let got = chain(vec![ca("root")], &young).judge();
    assert!(matches!(got, Err(Rejection::EkCertExpired { not_before: UnixTime(2_177_452_800), .. })));
    // Whose issuer nobody knows is not said to have expired.
    let stranger = chain(vec![ca("root")], &young);
    let got = stranger.judge_with(&[&broken.cas[0]]);
    assert!(matches!(got, Err(Rejection::EkChain { .. } | Rejection::EkUntrusted { .. })));
}

#[test]
fn every_change_of_a_signed_certificate_breaks_it() {
    let maker = MakerCa::new("Test Maker");
    let tpm = SoftTpm::with(&maker, Seat::A, &EkProfile::default(), ccnode_testkit::Boot::standard());
    let stranger = chain(vec![ca("root")], &ek());
    // Signed anew by another key, with not a bit changed.
    let forged = resign(&tpm.ek_cert(), &stranger.last, |_| {});
    let world = World::of(maker, tpm);
    world.tpm.lie(Lies { ek_cert: Some(forged), ..Default::default() });
    let rejection = world.refused().rejection;
    assert!(matches!(rejection, Rejection::EkChain { .. }), "{rejection}");
}
