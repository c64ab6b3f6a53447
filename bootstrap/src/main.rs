//! `ccnode-init`: process 1 of a node's initramfs; on a running node it shows what was attested.
#![no_main]

mod libcrypto;

use ccnode_bootstrap::boot::Boot;
use ccnode_bootstrap::console::Console;
use ccnode_bootstrap::refusal::Refusal;
use ccnode_bootstrap::{last, pid1, status};
use ccnode_evidence::Code;
use std::ffi::{c_char, c_int};
use std::io::{self, Write as _};
use std::path::Path;
use std::process;

const HELP: &str = "\
ccnode-init: the first process of a confidential cluster's node

As process 1 of an initramfs it measures, attests, unlocks and hands over to
the root's init, or refuses and powers off. It takes no options there.

Usage: ccnode-init status [--json]   what was attested at boot
       ccnode-init --version
       ccnode-init --help
";
const USAGE: u8 = 2;
const INTERNAL: u8 = 1;

/// Rust's own start-up aborts where descriptors 0 to 2 are closed and `/dev/null` is not there: as in an initramfs.
#[expect(unsafe_code, reason = "the C library calls `main`")]
// SAFETY: the only definition of this symbol, with the signature that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    if process::id() == 1 {
        boot();
    }
    c_int::from(command())
}

fn boot() -> ! {
    pid1::open_console();
    pid1::set_environment();
    libcrypto::begin();
    last::hook_panics();
    let mut boot = Boot::new(Console::new(Box::new(io::stderr()), false));
    let begun =
        pid1::begin().map_err(Refusal::from).and_then(|()| boot.watch(|refusal| last::refuse(refusal)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { last::refuse(Refusal::new(Code::NodeInternal, "no runtime")) };
    let refusal = match begun.and_then(|()| runtime.block_on(boot.run())) {
        Ok(provisioned) => boot.hand_over(provisioned),
        Err(refusal) => refusal,
    };
    runtime.block_on(boot.refuse(refusal))
}

fn command() -> u8 {
    let args: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["status"] => show(false),
        ["status", "--json"] => show(true),
        ["--help" | "-h"] => print(HELP),
        ["--version" | "-V"] => print(concat!("ccnode-init ", env!("CARGO_PKG_VERSION"), "\n")),
        [] => fail("this is the first process of an initramfs; try --help", USAGE),
        [other, ..] => fail(&format!("unknown argument `{other}`; try --help"), USAGE),
    }
}

fn show(json: bool) -> u8 {
    let path = Path::new(status::PATH);
    let text = match json {
        true => std::fs::read_to_string(path).map(|text| text + "\n"),
        false => status::Status::read(path).map(|status| status.text()),
    };
    match text {
        Ok(text) => print(&text),
        Err(e) => {
            fail(&format!("{}: {e}; this machine was not booted by ccnode-init", path.display()), INTERNAL)
        }
    }
}

fn print(text: &str) -> u8 {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(_) => INTERNAL,
    }
}

fn fail(text: &str, code: u8) -> u8 {
    let _ = writeln!(io::stderr(), "ccnode-init: {text}");
    code
}
