//! Debian's clevis with the pin `trustee` in its path, against a broker on loopback and a software TPM.
//!
//! Called with `pin` this program is the pin itself, with the TPM that a test started in place of the machine's.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod swtpm;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ccnode_attest_client::stock::KeyForm;
use ccnode_bootstrap::clevis::{self, ClevisError, Settings};
use ccnode_bootstrap::prover::Prover;
use ccnode_bootstrap::stock::{read_header, token_passphrase};
use ccnode_evidence::{Code, Secret};
use ccnode_test_broker::Broker;
use ccnode_tpm_device::Device;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use swtpm::Swtpm;
use tempfile::TempDir;

const PATH: &str = "default/28632274-8c8a-493f-835b-da802e1c576b/root";
const KEY: [u8; 32] = [0x5c; 32];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["pin", tcti, settings, act @ ..] = args.as_slice() {
        return pin(tcti, settings, act);
    }
    let tests: [(&str, fn()); 4] = [
        ("clevis_encrypts_and_decrypts", clevis_encrypts_and_decrypts),
        ("clevis_binds_a_volume_that_the_node_opens", clevis_binds_a_volume_that_the_node_opens),
        ("t07_a_token_for_another_resource_asks_nobody", t07_a_token_for_another_resource_asks_nobody),
        ("settings_are_strict", settings_are_strict),
    ];
    for (name, test) in tests {
        if args.iter().any(|arg| !arg.starts_with('-') && !name.contains(arg)) || args.contains(&"--list") {
            continue;
        }
        test();
        println_test(name);
    }
}

#[expect(clippy::print_stdout, reason = "a harness tells what it ran")]
fn println_test(name: &str) {
    println!("test {name} ... ok");
}

/// What `ccnode-clevis` does, but for where the TPM is.
fn pin(tcti: &str, settings: &str, act: &[&str]) {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    let device = Device::open(tcti.parse().unwrap()).unwrap();
    let source = Prover::new(Some(device), None, String::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done: Result<Vec<u8>, ClevisError> = runtime.block_on(async {
        let settings = Settings::load(Path::new(settings))?;
        match act {
            ["decrypt", ..] => {
                let plain = settings.decrypt(&String::from_utf8_lossy(&input), &source).await?;
                Ok(plain.expose().to_vec())
            }
            ["encrypt", given, ..] => Ok(settings.encrypt(given, &input, &source).await?.into_bytes()),
            other => panic!("{other:?}"),
        }
    });
    match done {
        Ok(output) => std::io::stdout().write_all(&output).unwrap(),
        Err(error) => {
            std::io::stderr().write_all(clevis::text(error).as_bytes()).unwrap();
            std::process::exit(3);
        }
    }
}

/// A broker with the key, a TPM, and a folder whose programs are the pin.
struct World {
    broker: Broker,
    _tpm: Swtpm,
    dir: TempDir,
}

fn jwk() -> String {
    STANDARD.encode(format!(r#"{{"key_type":"oct","key":"{}"}}"#, URL_SAFE_NO_PAD.encode(KEY)))
}

impl World {
    fn new() -> Self {
        let (broker, tpm, dir) =
            (Broker::start(&["127.0.0.1"]), Swtpm::start(), tempfile::tempdir().unwrap());
        broker.store(PATH, jwk().as_bytes());
        let at = |name: &str| dir.path().join(name);
        fs::write(at("ca.pem"), broker.ca()).unwrap();
        let settings = format!(
            "key = \"kbs:///{PATH}\"\n[service]\nurls = [\"https://127.0.0.1:{}\"]\nca = [\"{}\"]\ndeadline = \"20s\"\n",
            broker.port(),
            at("ca.pem").display()
        );
        fs::write(at("clevis.toml"), settings).unwrap();
        let me = std::env::current_exe().unwrap();
        for act in ["decrypt", "encrypt"] {
            let script = format!(
                "#!/bin/sh\nexec '{}' pin '{}' '{}' {act} \"$@\"\n",
                me.display(),
                tpm.tcti(),
                at("clevis.toml").display()
            );
            let path = at(&format!("clevis-{act}-trustee"));
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { broker, _tpm: tpm, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a program with the pin before everything else in its path.
    fn run(&self, program: &str, args: &[&str], input: &[u8]) -> Output {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let mut child = Command::new(program)
            .args(args)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("{program}: {e}; install it: apt-get install -y clevis clevis-luks jose")
            });
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn good(&self, program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let Output { status, stdout, stderr } = self.run(program, args, input);
        assert!(status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&stderr));
        stdout
    }
}

/// The configuration of confidential clusters; the servers are a lie that nobody follows.
fn config(path: &str) -> String {
    format!(r#"{{"servers":[{{"url":"http://127.0.0.1:1","cert":""}}],"path":"{path}"}}"#)
}

fn clevis_encrypts_and_decrypts() {
    let world = World::new();
    let jwe = world.good("clevis", &["encrypt", "trustee", &config(PATH)], b"a secret");
    let head = String::from_utf8(jwe.clone()).unwrap();
    let head = URL_SAFE_NO_PAD.decode(head.split('.').next().unwrap()).unwrap();
    let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
    assert_eq!(
        (&head["alg"], &head["enc"], &head["clevis"]["pin"]),
        (&"dir".into(), &"A256GCM".into(), &"trustee".into())
    );
    assert_eq!(world.good("clevis", &["decrypt"], &jwe), b"a secret");
    // jose opens it with the same key, so any client of the stock pin does.
    let jwk = format!(r#"{{"kty":"oct","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(KEY));
    fs::write(world.path("jwk"), jwk).unwrap();
    fs::write(world.path("jwe"), &jwe).unwrap();
    let (jwe, jwk) = (world.path("jwe"), world.path("jwk"));
    let args = ["jwe", "dec", "-i", jwe.to_str().unwrap(), "-k", jwk.to_str().unwrap()];
    assert_eq!(world.good("jose", &args, b""), b"a secret");
    // And what the broker gave is nowhere on standard error.
    let output = world.run("clevis", &["decrypt"], &fs::read(&jwe).unwrap());
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(KEY)) && !shown.contains(&crate::jwk()), "{shown}");
}

fn clevis_binds_a_volume_that_the_node_opens() {
    let world = World::new();
    let (image, first) = (world.path("image"), world.path("first"));
    fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
    fs::write(&first, "first").unwrap();
    let (disk, first) = (image.to_str().unwrap(), first.to_str().unwrap());
    let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    world.good("cryptsetup", &[&["luksFormat", "-q"][..], &cheap, &[disk, first]].concat(), b"");
    world.good("clevis", &["luks", "bind", "-y", "-k", first, "-d", disk, "trustee", &config(PATH)], b"");
    let passphrase = world.good("clevis", &["luks", "pass", "-d", disk, "-s", "1"], b"");
    // What clevis wrote passes the node's own judgement, and its token gives the same passphrase.
    let mut file = fs::File::open(&image).unwrap();
    let header = read_header(&mut file, KeyForm::Jwk).unwrap();
    let token = header.clevis().unwrap();
    let pinned = format!("kbs:///{PATH}").parse().unwrap();
    let ours = token_passphrase(token, &pinned, &Secret::new(KEY)).unwrap();
    assert_eq!((token.keyslot, ours.expose()), (1, passphrase.as_slice()));
    world.good(
        "cryptsetup",
        &["open", "--test-passphrase", "--key-slot", "1", "--key-file", "-", disk],
        &passphrase,
    );
}

fn t07_a_token_for_another_resource_asks_nobody() {
    let world = World::new();
    world.broker.store("default/other/root", jwk().as_bytes());
    let output = world.run("clevis", &["encrypt", "trustee", &config("default/other/root")], b"x");
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains(Code::ClevisForeign.as_str()));
    let jwe = world.good("clevis", &["encrypt", "trustee", &config(PATH)], b"x");
    let asked = world.broker.paths().len();
    let text = fs::read_to_string(world.path("clevis.toml")).unwrap();
    fs::write(world.path("clevis.toml"), text.replace(PATH, "default/other/root")).unwrap();
    let output = world.run("clevis", &["decrypt"], &jwe);
    assert!(!output.status.success() && output.stdout.is_empty());
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains(Code::ClevisForeign.as_str()) && shown.contains("next: "), "{shown}");
    assert_eq!(world.broker.paths().len(), asked, "the broker was asked for it");
}

fn settings_are_strict() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clevis.toml");
    let good =
        "key = \"kbs:///a/b/c\"\n[service]\nurls = [\"https://a\"]\nca = [\"/a\"]\ndeadline = \"1s\"\n";
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        Settings::load(&path)
    };
    load(good).unwrap();
    for (old, new) in [("kbs:///", "http://"), ("https://a", "http://a"), ("[\"/a\"]", "[]"), ("key", "kei")]
    {
        assert_eq!(load(&good.replacen(old, new, 1)).unwrap_err().code(), Code::ConfigMalformed, "{new}");
    }
}
