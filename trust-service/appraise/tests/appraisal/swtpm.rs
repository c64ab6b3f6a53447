//! The same against a TPM that is not ours: swtpm, driven by tpm2-tools.

use crate::machine::Machine;
use crate::world::VERITY;
use ccnode_appraise::{
    EkRoot, Hardware, References, Rejection, Session, Shelf, TpmIdentity, TrustLevel, UnixTime, appraise,
    boot_aggregate_pcrs,
};
use ccnode_evidence::{
    EventLogs, IMAGE_PCRS, ImageTuple, Nonce, PLATFORM_PCRS, PcrValues, PlatformTuple, Secret, Sha256Digest,
};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_testkit::{Answer, MakerCa, Seat, SoftTpm, attest_with, pcr};
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use rsa::rand_core::OsRng;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// A log of no events: what a TPM that was only started holds.
fn empty_log() -> EventLogs {
    let mut log = vec![0; 4];
    log.extend(3u32.to_le_bytes());
    log.extend([0; 20]);
    log.extend(33u32.to_le_bytes());
    log.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0b\0\x20\0\0");
    EventLogs { event_log: log.into(), ..Default::default() }
}

fn tuples() -> (PlatformTuple, ImageTuple) {
    let zeros = |indices: [u8; 6]| PcrValues(indices.map(|i| (pcr(i), Sha256Digest::ZERO)).into());
    let platform = PlatformTuple {
        format: 1,
        name: "bare".into(),
        pcrs: zeros(PLATFORM_PCRS),
        events: BTreeMap::new(),
        startup_locality: 0,
    };
    let image = ImageTuple {
        format: 1,
        name: "none".into(),
        version: "1".into(),
        pcrs: zeros(IMAGE_PCRS),
        events: BTreeMap::new(),
        cmdline: String::new(),
        verity_hash: VERITY,
        layout: ccnode_evidence::Layout::default(),
        data: Vec::new(),
    };
    (platform, image)
}

#[test]
fn t06_swtpm_activates_what_is_made_here() {
    let (machine, other) = (Machine::start(), Machine::start());
    let identity = machine.identity();
    assert_eq!(identity.ak_name(), machine.file("ak.name"));
    machine.tool("tpm2_readpublic", "-c 0x81010001 -n ek.name");
    assert_eq!(
        identity.node_id(ccnode_evidence::EvidenceKind::Tpm),
        Sha256Digest::of(&machine.file("ek.name"))
    );
    let secret = Secret::new([0x5a; 32]);
    let (credential, encrypted) = identity.make_credential(&secret, &mut OsRng).unwrap();
    assert_eq!(machine.activate(&credential, &encrypted).unwrap(), secret);
    assert!(other.activate(&credential, &encrypted).is_none(), "another TPM");
    // A credential for the other's key does not open here.
    let mixed = TpmIdentity::parse(&machine.ek_cert(), &other.ak_public()).unwrap();
    let (credential, encrypted) = mixed.make_credential(&secret, &mut OsRng).unwrap();
    assert!(machine.activate(&credential, &encrypted).is_none(), "another attestation key");
}

#[test]
fn software_tpm_opens_what_other_tools_make() {
    let dir = tempfile::tempdir().unwrap();
    let tpm = SoftTpm::new(&MakerCa::new("Test Maker"), Seat::A);
    let offer = tpm.offer();
    let cert = x509_parser::parse_x509_certificate(offer.ek_cert().unwrap()).unwrap().1;
    let pem = rsa::RsaPublicKey::from_public_key_der(cert.public_key().raw)
        .unwrap()
        .to_public_key_pem(LineEnding::LF);
    std::fs::write(dir.path().join("ek.pem"), pem.unwrap()).unwrap();
    std::fs::write(dir.path().join("secret"), [0x5a; 32]).unwrap();
    let name = hex::encode(TpmIdentity::parse(offer.ek_cert().unwrap(), &offer.ak_public).unwrap().ak_name());
    let done = Command::new("tpm2_makecredential")
        .args(["-T", "none", "-G", "rsa", "-u", "ek.pem", "-s", "secret", "-o", "blob", "-n", &name])
        .current_dir(dir.path())
        .output()
        .expect("tpm2-tools are missing: apt-get install tpm2-tools");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let blob = std::fs::read(dir.path().join("blob")).unwrap();
    let (credential, secret) = blob[8..].split_at(2 + 0x44);
    assert_eq!(*tpm.open(credential, secret).unwrap().expose(), [0x5a; 32]);
}

#[test]
fn swtpm_is_judged_whole() {
    let machine = Machine::start();
    let identity = machine.identity();
    let (nonce, secret, key) = (Nonce([3; 32]), Secret::new([4; 32]), EphemeralKey::generate());
    let (credential, encrypted) = identity.make_credential(&secret, &mut OsRng).unwrap();
    let opened = machine.activate(&credential, &encrypted).unwrap();
    let answer = Answer { nonce: &nonce, secret: &opened, key: &key, csr: None };
    let attestation = |selection: &'static str| {
        attest_with(&answer, empty_log(), |qualifying| machine.quote(qualifying, selection))
    };

    let (platform, image) = tuples();
    let pairs = [(platform.id(), image.id())];
    let (platforms, images) = ([platform], [image]);
    let maker =
        ["swtpm-localca-rootca-cert.pem", "issuer.pem"].map(|f| machine.ca(f, TrustLevel::HypervisorVtpm));
    let stranger = [EkRoot::parse(MakerCa::new("Other").root(), TrustLevel::DiscreteTpm).unwrap()];
    let (hardware, shelf) = (Hardware::default(), Shelf::default());
    let references = |ek_roots| References {
        platforms: &platforms,
        images: &images,
        pairs: &pairs,
        ek_roots,
        allow_init_data: false,
        hardware: &hardware,
        collateral: &shelf,
    };
    let session = Session::of_tpm(&nonce, &identity, &secret);
    let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60);
    let good = attestation("sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15");

    let verdict = appraise(&session, &good, &references(&maker), now).unwrap();
    assert_eq!(verdict.level, TrustLevel::HypervisorVtpm);
    assert_eq!(verdict.tpm.as_ref().unwrap().counters.restart_count, 0);
    assert!(boot_aggregate_pcrs(&verdict.tpm.unwrap().pcrs).is_some());

    let refused = appraise(&session, &good, &references(&stranger), now).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::EkUntrusted { .. }));
    let wide = attestation("sha256:all");
    let refused = appraise(&session, &wide, &references(&maker), now).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::QuoteSelection { .. }));
    // swtpm certificates have no end; before their beginning they are not valid.
    let refused = appraise(&session, &good, &references(&maker), UnixTime(1)).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::EkCertExpired { .. }));
}
