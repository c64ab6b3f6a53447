//! The kubelet's certificate request.

use crate::world::World;
use ccnode_appraise::{Csr, CsrError, Rejection};
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_testkit::kubelet_csr;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PKCS_RSA_SHA384, SigningKey as _,
};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::EncodePrivateKey as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

fn name() -> NodeName {
    "workers-abcdefghij".parse().unwrap()
}

fn params(subject: &[(DnType, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params
}

fn request(params: &CertificateParams) -> Result<Csr, CsrError> {
    let key = KeyPair::generate().unwrap();
    Csr::parse(params.serialize_request(&key).unwrap().der())
}

fn good() -> Vec<(DnType, &'static str)> {
    vec![(DnType::OrganizationName, "system:nodes"), (DnType::CommonName, "system:node:workers-abcdefghij")]
}

#[test]
fn good_request_is_read() {
    let (der, key) = kubelet_csr(&name());
    let csr = Csr::parse(&der).unwrap();
    assert_eq!(*csr.node_name(), name());
    assert_eq!(csr.spki_der(), rcgen::PublicKeyData::subject_public_key_info(&key));
    assert_eq!(csr.der(), der);
    assert!(csr.check_name(&name()).is_ok());
    let mut other_order = good();
    other_order.reverse();
    assert!(request(&params(&other_order)).is_ok());
}

#[test]
fn name_is_the_services() {
    let (der, _) = kubelet_csr(&name());
    let due: NodeName = "workers-other".parse().unwrap();
    let got = Csr::parse(&der).unwrap().check_name(&due);
    assert_eq!(got, Err(CsrError::Name { asked: name(), due }));
}

#[test]
fn subject_is_exact() {
    let (o, cn) = (DnType::OrganizationName, DnType::CommonName);
    for subject in [
        vec![],
        vec![(cn.clone(), "system:node:a")],
        vec![(o.clone(), "system:nodes")],
        vec![(o.clone(), "system:masters"), (cn.clone(), "system:node:a")],
        vec![(o.clone(), "system:nodes"), (cn.clone(), "a")],
        vec![(o.clone(), "system:nodes"), (cn.clone(), "system:node:")],
        vec![(o.clone(), "system:nodes"), (cn.clone(), "system:node:A/../b")],
        vec![(o.clone(), "system:nodes"), (cn.clone(), "system:node:a"), (DnType::CountryName, "XX")],
    ] {
        assert_eq!(request(&params(&subject)), Err(CsrError::Subject), "{subject:?}");
    }
}

#[test]
fn extensions_are_not_asked_for() {
    let mut asking = params(&good());
    asking.subject_alt_names = vec![rcgen::SanType::DnsName("kubernetes".try_into().unwrap())];
    assert_eq!(request(&asking), Err(CsrError::Attributes));
    let mut asking = params(&good());
    asking.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(request(&asking), Err(CsrError::Attributes));
}

#[test]
fn key_and_signature_are_checked() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let der = params(&good()).serialize_request(&key).unwrap().der().to_vec();
    assert_eq!(Csr::parse(&der), Err(CsrError::Key));
    for (algorithm, due) in [(&PKCS_RSA_SHA256, true), (&PKCS_RSA_SHA384, false)] {
        let key =
            rsa::RsaPrivateKey::from_pkcs1_der(include_bytes!("../../../testkit/keys/ak-a.der")).unwrap();
        let key = key.to_pkcs8_der().unwrap().as_bytes().to_vec();
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key.into(), algorithm).unwrap();
        let der = params(&good()).serialize_request(&key).unwrap().der().to_vec();
        assert_eq!(Csr::parse(&der).map(|_| ()), if due { Ok(()) } else { Err(CsrError::Signature) });
    }
    let (mut der, _) = kubelet_csr(&name());
    let at = der.windows(9).position(|w| w == b"workers-a").unwrap();
    der[at] = b'x';
    assert_eq!(Csr::parse(&der), Err(CsrError::Signature));
}

#[test]
fn a_key_is_on_the_curve_that_it_names() {
    let (der, key) = kubelet_csr(&name());
    let info = X509CertificationRequest::from_der(&der).unwrap().1.certification_request_info.raw.to_vec();
    let curve = info.windows(8).position(|w| w == [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]).unwrap();
    let part =
        |tag: u8, content: &[u8]| [&[tag, 0x81, u8::try_from(content.len()).unwrap()], content].concat();
    for (last, due) in [(0x07, Ok(())), (0x01, Err(CsrError::Key))] {
        // The same point, signed by its key, under the name of another curve.
        let mut info = info.clone();
        info[curve + 7] = last;
        let signature = [&[0][..], &key.sign(&info).unwrap()].concat();
        let algorithm = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
        let bits = [&[0x03, u8::try_from(signature.len()).unwrap()][..], &signature].concat();
        let request = part(0x30, &[&info[..], &algorithm, &bits].concat());
        assert_eq!(Csr::parse(&request).map(drop), due, "{last}");
    }
}

#[test]
fn every_byte_of_the_request_counts() {
    let (der, _) = kubelet_csr(&name());
    for i in 0..der.len() {
        let mut bad = der.clone();
        bad[i] ^= 0x01;
        assert!(Csr::parse(&bad).is_err(), "byte {i}");
    }
}

#[test]
fn request_is_read_strictly() {
    let (der, _) = kubelet_csr(&name());
    assert_eq!(Csr::parse(&[&der[..], &[0]].concat()), Err(CsrError::Trailing(1)));
    assert_eq!(Csr::parse(&[0; 4097]), Err(CsrError::Size(4097)));
    for len in 0..der.len() {
        assert!(Csr::parse(&der[..len]).is_err());
    }
}

#[test]
fn bad_request_is_refused_in_a_session() {
    let world = World { csr: Some(vec![0x30, 0]), ..World::new() };
    let refused = world.refused();
    assert!(matches!(refused.rejection, Rejection::CsrRefused(CsrError::Der)));
    assert_eq!(refused.rejection.code(), Code::CsrRefused);
    assert!(refused.kept.image.is_some());
}
