//! Tests of what a build checks before it starts; tests/image.rs builds whole images.

use super::*;

const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/debian-12-worker/recipe.toml");

/// A fresh certificate; `ca` says whether it is a CA's. Also its private key.
fn certificate(dir: &Path, ca: bool) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
    if ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    }
    let (cert_path, key_path) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert_path, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&key_path, key.serialize_pem()).unwrap();
    (cert_path, key_path)
}

fn refused(certificates: Vec<PathBuf>) -> BuildError {
    let out = tempfile::tempdir().unwrap();
    let inputs =
        Inputs { init: "/bin/true".into(), certificates, cache: out.path().join("cache"), epoch: None };
    let error = build(Path::new(RECIPE), &out.path().join("out"), &inputs, &mut |_| ()).unwrap_err();
    assert!(!out.path().join("out").exists(), "a refused build left files");
    error
}

#[test]
fn certificates_fit_the_configuration() {
    let error = refused(vec![]).to_string();
    assert_eq!(
        error,
        "the node's configuration pins 1 certificates (/etc/ccnode/ca-current.pem) and 0 were given"
    );
}

#[test]
fn only_ca_certificates_go_into_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let (leaf, key) = certificate(dir.path(), false);
    let text = |path: PathBuf| refused(vec![path]).to_string();
    assert!(text(leaf).contains("no CA's"));
    assert!(text(key).contains("perhaps a private key"));
    assert!(text(RECIPE.into()).contains("holds no certificate"));
    assert!(text("/nowhere.pem".into()).contains("can't access /nowhere.pem"));
}

#[test]
fn a_key_beside_the_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path(), true);
    assert_eq!(not_before(&fs::read(&cert).unwrap()), Ok(1_704_067_200));
    let both = [fs::read(cert).unwrap(), fs::read(key).unwrap()].concat();
    assert!(not_before(&both).unwrap_err().contains("private key"));
}
