//! The scenario runner, run by itself with scenarios that pass, fail, skip and boot.

mod guest;

use std::process::{Command, ExitCode, Output};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Result, bail, ensure};
use ccnode_vm_harness::{Off, Story, artefact, run, scenario};

const CHILD: &str = "CCNODE_RUNNER_TEST";

fn main() -> ExitCode {
    if env::var_os(CHILD).is_some() {
        return run(&[
            scenario!(t01_passes),
            scenario!("t02_fails", |_| bail!("on purpose")),
            scenario!("t03_skips", |_| artefact("/nowhere/node.img", "make image").map(drop)),
        ]);
    }
    // Cargo lists the tests of every binary; this one has a single test without a name.
    if env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    match check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn t01_passes(story: &Story) -> Result<()> {
    let mut vm = story.boot(&guest::machine(story.dir()), "first")?;
    vm.wait_for(guest::READY, Duration::from_secs(20))?;
    vm.type_line("q")?;
    ensure!(vm.wait_off(Duration::from_secs(20))? == Off::PoweredOff);
    Ok(())
}

fn check() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let child = |args: &[&str], required: &str| -> Result<(Output, String)> {
        let out = Command::new(env::current_exe()?)
            .args(args)
            .env(CHILD, "1")
            .env("CARGO_TARGET_DIR", dir.path())
            .env("CCNODE_REQUIRE_VMS", required)
            .output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        Ok((out, text))
    };

    let (out, text) = child(&["t01"], "")?;
    ensure!(
        out.status.success() && text.contains("1 passed; 0 failed") && text.contains("2 filtered"),
        "{text}"
    );
    ensure!(text.contains("t01_passes: boot first"), "no progress: {text}");
    let result = fs::read_to_string(dir.path().join("vm/t01_passes/result"))?;
    ensure!(result.starts_with("passed"), "{result}");
    ensure!(dir.path().join("vm/t01_passes/first/serial.log").is_file());

    let (out, text) = child(&["t02"], "")?;
    ensure!(!out.status.success() && text.contains("on purpose"), "{text}");
    let result = fs::read_to_string(dir.path().join("vm/t02_fails/result"))?;
    ensure!(result.starts_with("failed") && result.contains("on purpose"), "{result}");

    let (out, text) = child(&["t03"], "")?;
    ensure!(
        out.status.success() && text.contains("1 ignored") && text.contains("make it with: make image"),
        "{text}"
    );
    let (out, text) = child(&["t03"], "1")?;
    ensure!(!out.status.success() && text.contains("make it with: make image"), "{text}");
    Ok(())
}
