//! The chain above an endorsement key: issuer, signature, root, line, time, and what a certificate must say.

use crate::world::{NOW, product, roots, sent};
use ccnode_evidence::{Code, UnixTime};
use ccnode_snp::{
    CaCertificate, CertError, Certificates, Endorsement, KeyKind, Product, Roots, SnpRejection,
    VekCertificate,
};
use ccnode_testkit::snp::{
    CertSpec, ChipModel, TestChip, amd_extension, any_extension, der_ia5, der_integer, der_octets,
};

fn vlek(model: ChipModel) -> TestChip {
    TestChip::new(model, 1).with_vlek("CN=x")
}

/// The chip's chain with this endorsement certificate in place of its own.
fn endorse(chip: &TestChip, vek: &[u8]) -> Result<Endorsement, SnpRejection> {
    let vek = VekCertificate::parse(vek).unwrap();
    Endorsement::verify(&vek, &sent(chip), &roots(chip), NOW)
}

/// The chip's own endorsement certificate under this CA.
fn under(chip: &TestChip, ca: &[u8]) -> Result<Endorsement, SnpRejection> {
    let mut certs = Certificates::default();
    certs.add(&chip.vek_der()).unwrap();
    certs.add(ca).unwrap();
    Endorsement::verify(&certs.veks[0], &certs, &roots(chip), NOW)
}

#[test]
fn both_kinds_of_each_line_lead_to_their_root() {
    for model in ChipModel::ALL {
        for chip in [TestChip::new(model, 1), vlek(model)] {
            let endorsement = endorse(&chip, &chip.vek_der()).unwrap();
            assert_eq!(endorsement.product(), product(model));
            assert!(endorsement.danger_root() && !endorsement.crl_checked());
            let root = CaCertificate::parse(&chip.ark_der()).unwrap();
            assert_eq!(endorsement.root(), root.fingerprint());
        }
    }
}

#[test]
fn a_root_that_came_along_is_not_trusted_for_it() {
    for chip in [TestChip::milan(), vlek(ChipModel::Turin)] {
        let got = Endorsement::verify(&sent(&chip).veks[0], &sent(&chip), Roots::amd(), NOW);
        assert!(matches!(got, Err(SnpRejection::ChainUntrusted { .. })), "{got:?}");
    }
}

#[test]
fn the_ca_below_the_root_must_be_known() {
    let chip = TestChip::milan();
    let mut alone = Certificates::default();
    alone.add(&chip.vek_der()).unwrap();
    let got = Endorsement::verify(&alone.veks[0], &alone, &roots(&chip), NOW).unwrap_err();
    assert_eq!(got, SnpRejection::ChainIssuer { issuer: "SEV-Milan".into(), kind: KeyKind::Vcek });
    assert_eq!(got.code(), Code::SnpChain);
}

#[test]
fn every_signature_of_the_chain_counts() {
    let chip = TestChip::milan();
    let got = endorse(&chip, &chip.vek_by_ark()).unwrap_err();
    let (subject, issuer) = ("SEV-VCEK".into(), "SEV-Milan".into());
    assert_eq!(got, SnpRejection::ChainSignature { subject, issuer });
    // The last byte of a certificate is its signature's.
    let mut ask = chip.ask_der();
    *ask.last_mut().unwrap() ^= 1;
    let got = under(&chip, &ask);
    assert!(matches!(got, Err(SnpRejection::ChainUntrusted { .. })), "{got:?}");
    // A root of the same name with another key.
    let other = chip.ask_with(|spec| spec.subject = "ARK-Milan".into());
    let roots = Roots::amd().clone().danger_with(Product::Milan, &other).unwrap();
    let got = Endorsement::verify(&sent(&chip).veks[0], &sent(&chip), &roots, NOW);
    assert!(matches!(got, Err(SnpRejection::ChainUntrusted { .. })), "{got:?}");
}

#[test]
fn each_kind_has_a_ca_of_its_own() {
    let chip = TestChip::milan();
    // A VCEK in the name of the VLEKs' CA, and the reverse: the names never match.
    let got = endorse(&chip, &chip.vek_with(|spec| spec.issuer = "SEV-VLEK-Milan".into())).unwrap_err();
    assert_eq!(got, SnpRejection::ChainIssuer { issuer: "SEV-VLEK-Milan".into(), kind: KeyKind::Vcek });
    let mut certs = Certificates::default();
    certs.add(&chip.vek_with(|spec| spec.issuer = "SEV-VLEK-Milan".into())).unwrap();
    certs.add(&vlek(ChipModel::Milan).ask_der()).unwrap();
    let got = Endorsement::verify(&certs.veks[0], &certs, &roots(&chip), NOW).unwrap_err();
    assert_eq!(got, SnpRejection::ChainIssuer { issuer: "SEV-VLEK-Milan".into(), kind: KeyKind::Vcek });
}

#[test]
fn line_of_certificate_and_root_agree() {
    let chip = TestChip::milan();
    let genoa = chip.vek_with(|spec| replace(spec, &[2], Some(der_ia5("Genoa"))));
    let got = endorse(&chip, &genoa).unwrap_err();
    let (certificate, other) = (Product::Genoa, Product::Milan);
    assert_eq!(got, SnpRejection::ProductMismatch { certificate, other, root: true });
}

#[test]
fn every_certificate_has_its_time() {
    let chip = TestChip::milan();
    let expired = |got: Result<Endorsement, SnpRejection>, who: &str| {
        let got = got.unwrap_err();
        assert!(matches!(&got, SnpRejection::CertExpired { subject, .. } if subject == who), "{got:?}");
    };
    expired(endorse(&chip, &chip.vek_with(|spec| spec.years = (2020, 2025))), "SEV-VCEK");
    expired(endorse(&chip, &chip.vek_with(|spec| spec.years = (2030, 2035))), "SEV-VCEK");
    expired(under(&chip, &chip.ask_with(|spec| spec.years = (2020, 2025))), "SEV-Milan");
    let far = UnixTime(4_000_000_000);
    expired(Endorsement::verify(&sent(&chip).veks[0], &sent(&chip), &roots(&chip), far), "ARK-Milan");
    // Past 2049 dates are GeneralizedTime.
    assert!(endorse(&chip, &chip.vek_with(|spec| spec.years = (2024, 2060))).is_ok());
}

/// Puts another value into one of AMD's extensions, or takes it out.
pub(crate) fn replace(spec: &mut CertSpec, arcs: &[u8], value: Option<Vec<u8>>) {
    let id = [&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1], arcs].concat();
    let id = [&[6, u8::try_from(id.len()).unwrap()], id.as_slice()].concat();
    spec.extensions.retain(|e| !e.windows(id.len()).any(|window| window == id));
    spec.extensions.extend(value.map(|value| amd_extension(arcs, &value)));
}

#[test]
fn what_an_endorsement_certificate_must_say() {
    let read = |chip: &TestChip, change: &dyn Fn(&mut CertSpec)| {
        VekCertificate::parse(&chip.vek_with(|spec| change(spec)))
    };
    let milan = TestChip::milan();
    for arcs in [vec![2], vec![3, 1], vec![3, 2], vec![3, 3], vec![3, 8], vec![4]] {
        let got = read(&milan, &|spec| replace(spec, &arcs, None));
        assert!(matches!(got, Err(CertError::Missing(_))), "{arcs:?}: {got:?}");
        for bad in [vec![], vec![5, 0], der_integer(256), vec![2, 1, 0x80], vec![2, 2, 0, 0x7f]] {
            let got = read(&milan, &|spec| replace(spec, &arcs, Some(bad.clone())));
            assert!(matches!(got, Err(CertError::Extension(_))), "{arcs:?} {bad:?}: {got:?}");
        }
    }
    for reserved in 4..=7 {
        let set = |spec: &mut CertSpec| replace(spec, &[3, reserved], Some(der_integer(1)));
        assert!(matches!(read(&milan, &set), Err(CertError::Extension(_))));
        assert!(read(&milan, &|spec| replace(spec, &[3, reserved], None)).is_ok());
    }
    let got = read(&milan, &|spec| replace(spec, &[2], Some(der_ia5("Venice"))));
    assert_eq!(got, Err(CertError::Product("Venice".into())));
    let fmc = |spec: &mut CertSpec| replace(spec, &[3, 9], Some(der_integer(1)));
    assert!(matches!(read(&milan, &fmc), Err(CertError::Excess(_))));
    let got = read(&TestChip::turin(), &|spec| replace(spec, &[3, 9], None));
    assert!(matches!(got, Err(CertError::Missing(_))), "{got:?}");
    let csp = |spec: &mut CertSpec| replace(spec, &[5], Some(der_ia5("CN=x")));
    assert!(matches!(read(&milan, &csp), Err(CertError::Excess(_))));
    let loaded = vlek(ChipModel::Milan);
    assert!(matches!(read(&loaded, &|spec| replace(spec, &[5], None)), Err(CertError::Missing(_))));
    let hwid = |spec: &mut CertSpec| replace(spec, &[4], Some(vec![1; 64]));
    assert!(matches!(read(&loaded, &hwid), Err(CertError::Excess(_))));
}

#[test]
fn hardware_ids_are_bare_or_an_octet_string() {
    for chip in [TestChip::milan(), TestChip::turin()] {
        let len = if chip.model() == ChipModel::Turin { 8 } else { 64 };
        let id = chip.chip_id()[..len].to_vec();
        let wrapped = chip.vek_with(|spec| replace(spec, &[4], Some(der_octets(&id))));
        let holder = |der: &[u8]| VekCertificate::parse(der).unwrap().holder().clone();
        assert_eq!(holder(&wrapped), holder(&chip.vek_der()));
        for bad in [id[1..].to_vec(), [id.as_slice(), &[0]].concat()] {
            let got = VekCertificate::parse(&chip.vek_with(|spec| replace(spec, &[4], Some(bad.clone()))));
            assert!(matches!(got, Err(CertError::Extension(_))), "{got:?}");
        }
    }
}

#[test]
fn what_no_certificate_may_be() {
    let chip = TestChip::milan();
    let der = chip.vek_der();
    assert_eq!(VekCertificate::parse(&[der.as_slice(), &[0]].concat()), Err(CertError::Trailing(1)));
    assert_eq!(VekCertificate::parse(&der[..der.len() - 1]), Err(CertError::Der));
    assert_eq!(VekCertificate::parse(&vec![0x30; 20_000]), Err(CertError::Size(20_000)));
    let read = |change: &dyn Fn(&mut CertSpec)| VekCertificate::parse(&chip.vek_with(|spec| change(spec)));
    let got = read(&|spec| spec.extensions.push(any_extension(&[0x55, 0x1d, 0x63], true, &[5, 0])));
    assert_eq!(got, Err(CertError::Critical("2.5.29.99".into())));
    assert!(read(&|spec| spec.extensions.push(any_extension(&[0x55, 0x1d, 0x63], false, &[5, 0]))).is_ok());
    let got = read(&|spec| spec.extensions.push(amd_extension(&[3, 1], &der_integer(9))));
    assert_eq!(got, Err(CertError::Twice("1.3.6.1.4.1.3704.1.3.1".into())));
    // SHA-256 in place of SHA-384, wherever it stands.
    for at in [0, 1] {
        let got = read(&|spec| {
            let sha384 = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
            let places: Vec<_> =
                (0..spec.algorithm.len() - 9).filter(|i| spec.algorithm[*i..*i + 9] == sha384).collect();
            spec.algorithm[places[at] + 8] = 1;
        });
        assert_eq!(got, Err(CertError::Algorithm));
    }
    let got = read(&|spec| *spec.algorithm.last_mut().unwrap() = 32);
    assert_eq!(got, Err(CertError::Algorithm));
    let got = read(&|spec| spec.spki = CaCertificate::parse(&chip.ask_der()).map(|_| rsa(&chip)).unwrap());
    assert_eq!(got, Err(CertError::Key("an uncompressed P-384 point")));
    let got = read(&|spec| {
        let point = spec.spki.len() - 97;
        spec.spki[point] = 5;
    });
    assert_eq!(got, Err(CertError::Key("an uncompressed P-384 point")));
    assert_eq!(
        VekCertificate::parse(&chip.vek_with(|spec| spec.subject = "SEV-VXEK".into())),
        Err(CertError::Name("SEV-VXEK".into()))
    );
}

/// The SubjectPublicKeyInfo of the chip's ASK.
fn rsa(chip: &TestChip) -> Vec<u8> {
    let mut spki = Vec::new();
    chip.ask_with(|spec| spki = spec.spki.clone());
    spki
}

#[test]
fn a_ca_must_be_one() {
    let chip = TestChip::milan();
    let read = |change: &dyn Fn(&mut CertSpec)| CaCertificate::parse(&chip.ask_with(|spec| change(spec)));
    let no_ca = || Err(CertError::NoCa("SEV-Milan".into()));
    assert_eq!(read(&|spec| drop(spec.extensions.remove(0))), no_ca());
    assert_eq!(read(&|spec| drop(spec.extensions.remove(1))), Err(CertError::KeyUsage));
    let digital_signature = any_extension(&[0x55, 0x1d, 0x0f], true, &[3, 2, 7, 0x80]);
    assert_eq!(read(&|spec| spec.extensions[1] = digital_signature.clone()), Err(CertError::KeyUsage));
    let not_ca = any_extension(&[0x55, 0x1d, 0x13], true, &[0x30, 0]);
    assert_eq!(read(&|spec| spec.extensions[0] = not_ca.clone()), no_ca());
    let unknown = any_extension(&[0x55, 0x1d, 0x63], true, &[5, 0]);
    let got = read(&|spec| spec.extensions.push(unknown.clone()));
    assert_eq!(got, Err(CertError::Critical("2.5.29.99".into())));
    let mut p384 = Vec::new();
    chip.vek_with(|spec| p384 = spec.spki.clone());
    assert_eq!(read(&|spec| spec.spki = p384.clone()), Err(CertError::Key("an RSA key")));
    assert!(Roots::amd().clone().danger_with(Product::Milan, &chip.vek_der()).is_err());
}
