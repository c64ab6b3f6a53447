//! `ccnode-clevis`: the pin `trustee`, called by clevis as `clevis-decrypt-trustee` and `clevis-encrypt-trustee`.

use ccnode_bootstrap::clevis::{self, ClevisError, MAX_INPUT, SETTINGS, Settings};
use ccnode_bootstrap::prover::imds::Imds;
use ccnode_bootstrap::prover::{Azure, Hardware, ProofError, Prover};
use ccnode_cvm::{Cvm, Places};
use ccnode_evidence::SecretBytes;
use ccnode_tpm_device::{Device, Tcti};
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const HELP: &str = "\
ccnode-clevis: the pin `trustee` of clevis

It attests to the key brokers that /etc/ccnode/clevis.toml names and opens, or
makes, what is bound to the resource that is pinned there. Linked as
clevis-decrypt-trustee and clevis-encrypt-trustee it is what clevis calls.

Usage: ccnode-clevis [--config FILE] decrypt < JWE > PLAINTEXT
       ccnode-clevis [--config FILE] encrypt CONFIG < PLAINTEXT > JWE
       ccnode-clevis --version
       ccnode-clevis --help
";
const INTERNAL: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;

enum Act {
    Decrypt,
    Encrypt(String),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = args.next().map(PathBuf::from);
    let called =
        called.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let args: Vec<String> = args.map(OsString::into_string).map(|a| a.unwrap_or_default()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (settings, rest) = match args.as_slice() {
        ["--config", file, rest @ ..] => (*file, rest),
        rest => (SETTINGS, rest),
    };
    let act = match (called.as_str(), rest) {
        (_, ["--help" | "-h"]) => return print(HELP.as_bytes()),
        (_, ["--version" | "-V"]) => {
            return print(concat!("ccnode-clevis ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
        }
        // How clevis lists its pins.
        ("clevis-decrypt-trustee" | "clevis-encrypt-trustee", ["--summary"]) => {
            return print(b"Opens by attesting to a key broker that the image pins\n");
        }
        ("clevis-decrypt-trustee", []) | (_, ["decrypt"]) => Act::Decrypt,
        ("clevis-encrypt-trustee", [config, ..]) | (_, ["encrypt", config]) => {
            Act::Encrypt((*config).to_owned())
        }
        _ => return fail("unknown arguments; try --help", USAGE),
    };
    let mut input = Vec::new();
    match io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut input) {
        Ok(len) if len as u64 <= MAX_INPUT => {}
        Ok(_) => return fail("more on standard input than is read", USAGE),
        Err(e) => return fail(&format!("standard input: {e}"), INTERNAL),
    }
    let input = SecretBytes::new(input);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return fail("no runtime", INTERNAL);
    };
    match runtime.block_on(run(Path::new(settings), act, &input)) {
        Ok(output) => print(output.expose()),
        Err(error) => fail(&clevis::text(error), REFUSED),
    }
}

async fn run(settings: &Path, act: Act, input: &SecretBytes) -> Result<SecretBytes, ClevisError> {
    let settings = Settings::load(settings)?;
    let source = machine().await.map_err(ClevisError::Proof)?;
    match act {
        Act::Decrypt => settings.decrypt(&String::from_utf8_lossy(input.expose()), &source).await,
        Act::Encrypt(config) => {
            let jwe = settings.encrypt(&config, input.expose(), &source).await?;
            Ok(SecretBytes::new(jwe.into_bytes()))
        }
    }
}

/// What this machine proves itself by in the stock protocol: its reports alone, or its TPM.
async fn machine() -> Result<Prover, ProofError> {
    if let Some(cvm) = Cvm::detect(&Places::default())? {
        let hardware = Hardware::Cvm { reports: Arc::new(cvm), manifest: None };
        return Ok(Prover::new(None, Some(hardware), String::new()));
    }
    let device = Device::open(Tcti::machine()?)?;
    let azure = Azure::find(&device, Imds::default()).await?;
    Ok(Prover::new(Some(device), azure.map(Hardware::Azure), String::new()))
}

fn print(bytes: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => INTERNAL.into(),
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "ccnode-clevis: {text}");
    code.into()
}
