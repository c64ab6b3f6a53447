//! A machine with swtpm, driven by tpm2-tools.

use ccnode_appraise::{EkRoot, TpmIdentity, TrustLevel};
use ccnode_evidence::{PcrIndex, PcrValues, QuoteParts, Secret, Sha256Digest};
use rsa::pkcs8::EncodePublicKey as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running swtpm with an EK certificate, an EK at 0x81010001 and an AK below it.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
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
    /// One with a SHA-256 bank, and an RSA attestation key of ccnode-init's kind.
    pub(crate) fn start() -> Self {
        let machine = Self::bare("sha256");
        machine.create_ak("-G rsa -g sha256 -s rsassa");
        machine
    }

    /// One with these banks, and no attestation key.
    pub(crate) fn bare(banks: &str) -> Self {
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
            banks,
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
        Self { dir, swtpm, port }
    }

    /// An attestation key below the RSA endorsement key, by the options of tpm2_createak.
    pub(crate) fn create_ak(&self, kind: &str) {
        let args = format!("-C 0x81010001 -c ak.ctx {kind} -u ak.pub -n ak.name");
        self.tool("tpm2_createak", &args);
        self.flush();
    }

    pub(crate) fn tool(&self, name: &str, args: &str) {
        let out = Command::new(name)
            .args(args.split(' '))
            .current_dir(self.dir.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port))
            .output()
            .expect("tpm2-tools are missing: apt-get install tpm2-tools");
        assert!(out.status.success(), "{name} {args}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// There is no resource manager: what a tool leaves loaded must go.
    pub(crate) fn flush(&self) {
        self.tool("tpm2_flushcontext", "-t");
    }

    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    pub(crate) fn ek_cert(&self) -> Vec<u8> {
        self.tool("tpm2_nvread", "-C o 0x1c00002 -o ek.der");
        self.file("ek.der")
    }

    /// The AK's TPMT_PUBLIC, out of its TPM2B.
    pub(crate) fn ak_public(&self) -> Vec<u8> {
        self.file("ak.pub")[2..].to_vec()
    }

    pub(crate) fn identity(&self) -> TpmIdentity {
        TpmIdentity::parse(&self.ek_cert(), &self.ak_public()).unwrap()
    }

    pub(crate) fn ca(&self, file: &str, level: TrustLevel) -> EkRoot {
        let text = String::from_utf8(self.file(&format!("ca/{file}"))).unwrap();
        EkRoot::parse(from_pem(&text), level).unwrap()
    }

    /// TPM2_ActivateCredential as tpm2-tools do it, with the RSA endorsement key; `None` where the TPM refuses.
    pub(crate) fn activate(&self, credential: &[u8], secret: &[u8]) -> Option<Secret<32>> {
        self.activate_with("0x81010001", credential, secret, Some("session.ctx"))
    }

    /// The same with the endorsement key at `ek`, by a policy session or by its empty password.
    pub(crate) fn activate_with(
        &self,
        ek: &str,
        credential: &[u8],
        secret: &[u8],
        session: Option<&str>,
    ) -> Option<Secret<32>> {
        let blob = [&0xbadc_c0de_u32.to_be_bytes()[..], &1u32.to_be_bytes(), credential, secret].concat();
        std::fs::write(self.dir.path().join("blob"), blob).unwrap();
        let mut args = format!("-c ak.ctx -C {ek} -i blob -o secret");
        if let Some(session) = session {
            self.tool("tpm2_startauthsession", &format!("--policy-session -S {session}"));
            self.tool("tpm2_policysecret", &format!("-S {session} -c e"));
            args.push_str(&format!(" -P session:{session}"));
        }
        let done = Command::new("tpm2_activatecredential")
            .args(args.split(' '))
            .current_dir(self.dir.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port))
            .output()
            .unwrap();
        if let Some(session) = session {
            self.tool("tpm2_flushcontext", session);
        }
        self.flush();
        done.status.success().then(|| Secret::try_from(self.file("secret").as_slice()).unwrap())
    }

    pub(crate) fn quote(&self, qualifying: [u8; 32], selection: &str) -> QuoteParts {
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
