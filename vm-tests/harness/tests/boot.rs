//! Machines that boot, die and misbehave, under the harness alone.

mod guest;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ccnode_vm_harness::image::TYPE_LINUX;
use ccnode_vm_harness::machine::Net;
use ccnode_vm_harness::{Disk, Image, Machine, Off, TpmMaker, Vm};
use guest::READY;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn typing_and_power_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Vm::boot(&guest::machine(dir.path()), dir.path().join("first")).unwrap();
    vm.wait_for(READY, SOON).unwrap();
    vm.type_line("hello").unwrap();
    vm.wait_for_next("hello", SOON).unwrap();
    vm.type_line("q").unwrap();
    assert_eq!(vm.wait_off(SOON).unwrap(), Off::PoweredOff);
    assert!(vm.saw("hello") && vm.raw_console().unwrap().ends_with(b"q"));
    let result = fs::read_to_string(vm.dir().join("result")).unwrap();
    assert!(result.starts_with("off: PoweredOff"), "{result}");
    for file in ["started", "qemu.args", "qemu.stderr", "serial.log"] {
        assert!(vm.dir().join(file).is_file(), "{file}");
    }
}

#[test]
fn a_reset_ends_the_machine_and_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Vm::boot(&guest::machine(dir.path()), dir.path().join("first")).unwrap();
    vm.wait_for(READY, SOON).unwrap();
    vm.type_line("r").unwrap();
    assert_eq!(vm.wait_off(SOON).unwrap(), Off::Reset);
}

#[test]
fn a_panic_fails_at_once_and_shows_the_console() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Vm::boot(&guest::machine(dir.path()), dir.path().join("first")).unwrap();
    vm.wait_for(READY, SOON).unwrap();
    vm.type_line("p").unwrap();
    let start = Instant::now();
    let error = vm.wait_for("joined", SOON).unwrap_err().to_string();
    assert!(start.elapsed() < SOON / 2);
    assert!(error.contains("panicked, awaiting [\"joined\"]") && error.contains(READY), "{error}");
    vm.wait_for("asked to", SOON).unwrap();
    assert!(vm.wait_off(Duration::from_millis(100)).is_err());
}

#[test]
fn a_timeout_shows_the_state_and_leaves_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Vm::boot(&guest::machine(dir.path()), dir.path().join("first")).unwrap();
    vm.wait_for_any(&["never", READY], SOON).unwrap();
    let error = vm.wait_for("joined", Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("timed out") && error.contains("machine \"running\""), "{error}");
    assert!(error.contains(READY) && error.contains("first"), "{error}");
    let result = fs::read_to_string(vm.dir().join("result")).unwrap();
    assert!(result.starts_with("failed: timed out"), "{result}");
}

#[test]
fn a_power_cut_at_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Vm::boot(&guest::machine(dir.path()), dir.path().join("first")).unwrap();
    vm.kill_at(READY, SOON).unwrap();
    assert_eq!(vm.wait_off(SOON).unwrap(), Off::Cut);
    assert!(vm.type_line("x").and_then(|()| vm.type_line("x")).is_err());
    assert!(fs::read_to_string(vm.dir().join("result")).unwrap().starts_with("power cut"));
}

#[test]
fn dropping_ends_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Vm::boot(&guest::machine(dir.path()), dir.path().join("first")).unwrap();
    vm.wait_for(READY, SOON).unwrap();
    let log = dir.path().join("first/serial.log").canonicalize().unwrap();
    let runs = |log: &std::path::Path| {
        fs::read_dir("/proc").unwrap().flatten().any(|p| {
            let line = fs::read(p.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*log.to_string_lossy())
        })
    };
    assert!(runs(&log));
    drop(vm);
    assert!(!runs(&log));
}

#[test]
fn what_qemu_refuses_is_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let machine = guest::machine(dir.path());
    let error = Vm::boot(&machine.clone().rtc("yesterday"), dir.path().join("a")).unwrap_err().to_string();
    assert!(error.contains("QEMU ended at once") && error.contains("invalid datetime"), "{error}");
    let missing = machine.disk(Disk::data(dir.path().join("none"), "x"));
    let error = Vm::boot(&missing, dir.path().join("b")).unwrap_err().to_string();
    assert!(error.contains("no disk image"), "{error}");
}

#[test]
fn devices_of_every_kind_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::create(dir.path().join("disk,1.img"), &[("root", TYPE_LINUX, 1)]).unwrap();
    let second = image.copy_to(dir.path().join("second.img")).unwrap();
    let table = dir.path().join("ssdt.aml");
    fs::write(&table, ccnode_vm_harness::acpi::ssdt("EXTRA")).unwrap();
    let faulty =
        Disk::boot(image.path(), "ccnode-root").bad_sector(2048).log_writes(dir.path().join("writes"));
    let machine = guest::machine(dir.path())
        .disk(faulty)
        .disk(Disk::data(second.path(), "second").read_only())
        .forward("10.0.2.100:443".parse().unwrap(), 1)
        .forward("10.0.2.101:6443".parse().unwrap(), 2)
        .smbios("io.systemd.credential:a=b,c")
        .fw_cfg("opt/io.systemd.credentials/a", "b,c")
        .acpi_table(&table)
        .rtc("2001-01-01T00:00:00");
    let mut vm = Vm::boot(&machine, dir.path().join("first")).unwrap();
    vm.wait_for(READY, SOON).unwrap();
    vm.set_carrier(false).unwrap();
    assert_eq!(vm.monitor("query-status", json!({})).unwrap()["status"], "running");
    drop(vm);
    let mut vm = Vm::boot(&machine.net(Net::Silent), dir.path().join("second")).unwrap();
    vm.wait_for(READY, SOON).unwrap();
}

#[test]
fn firmware_starts_the_tpm() {
    let dir = tempfile::tempdir().unwrap();
    let maker = TpmMaker::open(dir.path().join("maker")).unwrap();
    let tpm = maker.template_without_ek_cert("a").unwrap().copy_to(dir.path().join("tpm")).unwrap();
    let resets = || {
        let tpm = tpm.serve().unwrap();
        let out = Command::new("tpm2_readclock").env("TPM2TOOLS_TCTI", tpm.tcti()).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let count = out.lines().find_map(|l| l.trim().strip_prefix("reset_count:")).unwrap();
        count.trim().parse::<u32>().unwrap()
    };
    let before = resets();
    let mut vm = Vm::boot(&Machine::uefi().memory(256).tpm(&tpm), dir.path().join("first")).unwrap();
    vm.kill_at("BdsDxe", SOON).unwrap();
    drop(vm);
    // Once by the firmware, once by reading.
    assert_eq!(resets(), before + 2);
}
