//! The same against a TPM that is not ours: swtpm, driven by tpm2-tools.

use crate::world::VERITY;
use ccnode_appraise::{
    EkRoot, References, Rejection, Session, TpmIdentity, TrustLevel, UnixTime, appraise, boot_aggregate_pcrs,
};
use ccnode_evidence::{
    EventLogs, IMAGE_PCRS, ImageTuple, Nonce, PLATFORM_PCRS, PcrIndex, PcrValues, PlatformTuple, QuoteParts,
    Secret, Sha256Digest,
};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_testkit::{Answer, MakerCa, Seat, SoftTpm, attest_with, pcr};
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use rsa::rand_core::OsRng;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A running swtpm with an EK certificate, an EK at 0x81010001 and an AK below it.
struct Machine {
    dir: tempfile::TempDir,
    swtpm: Child,
    port: u16,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
    }
}

impl Machine {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let tool = ["/usr/bin/swtpm_localca", "/usr/share/swtpm/swtpm-localca"];
        let tool = tool.into_iter().find(|t| Path::new(t).exists()).unwrap();
        std::fs::create_dir(dir.path().join("ca")).unwrap();
        std::fs::write(
            dir.path().join("options"),
            "--platform-manufacturer T\n--platform-version 1\n--platform-model Q\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("localca.conf"),
            format!("statedir = {path}/ca\nsigningkey = {path}/ca/sign.pem\nissuercert = {path}/ca/issuer.pem\ncertserial = {path}/ca/serial\n"),
        )
        .unwrap();
        std::fs::write(
            dir.path().join("setup.conf"),
            format!("create_certs_tool = {tool}\ncreate_certs_tool_config = {path}/localca.conf\ncreate_certs_tool_options = {path}/options\n"),
        )
        .unwrap();
        let setup = [
            "--tpm2",
            "--create-ek-cert",
            "--lock-nvram",
            "--pcr-banks",
            "sha256",
            "--tpmstate",
            &path,
            "--config",
            &format!("{path}/setup.conf"),
            "--logfile",
            &format!("{path}/setup.log"),
        ]
        .map(str::to_owned);
        let status = Command::new("swtpm_setup").args(setup).stdout(Stdio::null()).status();
        let status = status.expect("swtpm_setup is missing: apt-get install swtpm swtpm-tools tpm2-tools");
        assert!(
            status.success(),
            "{}",
            std::fs::read_to_string(dir.path().join("setup.log")).unwrap_or_default()
        );
        let (swtpm, port) = serve(dir.path());
        let machine = Self { dir, swtpm, port };
        machine
            .tool("tpm2_createak", "-C 0x81010001 -c ak.ctx -G rsa -g sha256 -s rsassa -u ak.pub -n ak.name");
        machine.flush();
        machine
    }

    fn tool(&self, name: &str, args: &str) {
        let out = Command::new(name)
            .args(args.split(' '))
            .current_dir(self.dir.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port))
            .output()
            .expect("tpm2-tools are missing: apt-get install tpm2-tools");
        assert!(out.status.success(), "{name} {args}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// There is no resource manager: what a tool leaves loaded must go.
    fn flush(&self) {
        self.tool("tpm2_flushcontext", "-t");
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    fn ek_cert(&self) -> Vec<u8> {
        self.tool("tpm2_nvread", "-C o 0x1c00002 -o ek.der");
        self.file("ek.der")
    }

    /// The AK's TPMT_PUBLIC, out of its TPM2B.
    fn ak_public(&self) -> Vec<u8> {
        self.file("ak.pub")[2..].to_vec()
    }

    fn identity(&self) -> TpmIdentity {
        TpmIdentity::parse(&self.ek_cert(), &self.ak_public()).unwrap()
    }

    fn ca(&self, file: &str, level: TrustLevel) -> EkRoot {
        let text = String::from_utf8(self.file(&format!("ca/{file}"))).unwrap();
        EkRoot::parse(from_pem(&text), level).unwrap()
    }

    /// TPM2_ActivateCredential as tpm2-tools do it; `None` where the TPM refuses.
    fn activate(&self, credential: &[u8], secret: &[u8]) -> Option<Secret<32>> {
        let blob = [&0xbadc_c0de_u32.to_be_bytes()[..], &1u32.to_be_bytes(), credential, secret].concat();
        std::fs::write(self.dir.path().join("blob"), blob).unwrap();
        self.tool("tpm2_startauthsession", "--policy-session -S session.ctx");
        self.tool("tpm2_policysecret", "-S session.ctx -c e");
        let args = "-c ak.ctx -C 0x81010001 -i blob -o secret -P session:session.ctx";
        let done = Command::new("tpm2_activatecredential")
            .args(args.split(' '))
            .current_dir(self.dir.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port))
            .output()
            .unwrap();
        self.tool("tpm2_flushcontext", "session.ctx");
        self.flush();
        done.status.success().then(|| Secret::try_from(self.file("secret").as_slice()).unwrap())
    }

    fn quote(&self, qualifying: [u8; 32], selection: &str) -> QuoteParts {
        let qualifying = hex::encode(qualifying);
        let args = format!("-c ak.ctx -l {selection} -q {qualifying} -g sha256 -m message -s signature");
        self.tool("tpm2_quote", &args);
        self.flush();
        let zeros = PcrIndex::all().filter(|i| i.get() < 16).map(|i| (i, Sha256Digest::ZERO)).collect();
        let modulus = &self.ak_public()[24..];
        let key = rsa::RsaPublicKey::new(rsa::BigUint::from_bytes_be(modulus), 65537u32.into()).unwrap();
        QuoteParts {
            message: self.file("message"),
            signature: self.file("signature"),
            pcrs: PcrValues(zeros),
            ak_public: key.to_public_key_der().unwrap().into_vec(),
        }
    }
}

fn serve(dir: &Path) -> (Child, u16) {
    for _ in 0..8 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let pid = dir.join("pid");
        let _ = std::fs::remove_file(&pid);
        let mut swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", dir.display()))
            .arg(format!("--server=type=tcp,port={port}"))
            .arg(format!("--ctrl=type=tcp,port={}", port + 1))
            .arg(format!("--pid=file={}", pid.display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is missing: apt-get install swtpm");
        let until = Instant::now() + Duration::from_secs(20);
        while swtpm.try_wait().unwrap().is_none() && Instant::now() < until {
            if std::fs::metadata(&pid).is_ok_and(|m| m.len() > 0) {
                return (swtpm, port);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = swtpm.kill();
        let _ = swtpm.wait();
    }
    panic!("swtpm does not start");
}

fn from_pem(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

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
    };
    (platform, image)
}

#[test]
fn t06_swtpm_activates_what_is_made_here() {
    let (machine, other) = (Machine::start(), Machine::start());
    let identity = machine.identity();
    assert_eq!(identity.ak_name(), machine.file("ak.name"));
    machine.tool("tpm2_readpublic", "-c 0x81010001 -n ek.name");
    assert_eq!(identity.node_id(), Sha256Digest::of(&machine.file("ek.name")));
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
    let references = |ek_roots| References {
        platforms: &platforms,
        images: &images,
        pairs: &pairs,
        ek_roots,
        allow_init_data: false,
    };
    let session = Session { nonce: &nonce, identity: &identity, secret: &secret };
    let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60);
    let good = attestation("sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15");

    let verdict = appraise(&session, &good, &references(&maker), now).unwrap();
    assert_eq!(verdict.level, TrustLevel::HypervisorVtpm);
    assert_eq!(verdict.counters.restart_count, 0);
    assert!(boot_aggregate_pcrs(&verdict.pcrs).is_some());

    let refused = appraise(&session, &good, &references(&stranger), now).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::EkUntrusted { .. }));
    let wide = attestation("sha256:all");
    let refused = appraise(&session, &wide, &references(&maker), now).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::QuoteSelection { .. }));
    // swtpm certificates have no end; before their beginning they are not valid.
    let refused = appraise(&session, &good, &references(&maker), UnixTime(1)).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::EkCertExpired { .. }));
}
