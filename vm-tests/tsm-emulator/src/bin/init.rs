//! The first process of a test's initramfs: it puts the emulator where the kernel's reports would be, and becomes ccnode-init.
//!
//! In `/tsm` lie `modules` (paths, in load order) and `certificates` (the host's table). What is the launch's own the host says
//! by SMBIOS, so that one image boots as any guest: `manifest` (of the SVSM's vTPM; a guest without one has no SVSM) and
//! `measurement` (48 bytes, for a launch of another kind). Each boot has a REPORT_ID of its own.
#![no_main]

use ccnode_testkit::snp::TestChip;
use ccnode_tsm_emulator::{Emulator, Snp, TABLES, mount, told};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount as mount_fs};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve};
use std::ffi::{CStr, c_char, c_int};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{self, Command, Stdio};

/// The real one.
const INIT: &CStr = c"/ccnode-init";
const FOLDER: &str = "/tsm";
const REPORTS: &str = "/sys/kernel/config/tsm/report";
const SERVE: &str = "serve";

/// Rust's own start-up aborts where descriptors 0 to 2 are closed and `/dev/null` is not there: as in an initramfs.
#[expect(unsafe_code, reason = "the C library calls `main`")]
// SAFETY: the only definition of this symbol, with the signature that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    let serving = std::env::args().nth(1).as_deref() == Some(SERVE);
    let Err(error) = if serving { serve() } else { boot() };
    let _ = writeln!(io::stderr(), "ccnode-tsm-init: {error}");
    // The end of process 1 is a panic of the kernel, which the test sees.
    1
}

/// What only ends by an error, or with the machine.
type Never = io::Result<std::convert::Infallible>;

fn boot() -> Never {
    if process::id() != 1 {
        return Err(io::Error::other("this is the first process of a test's initramfs"));
    }
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        attach(kind, target)?;
    }
    let console = File::options().read(true).write(true).open("/dev/console")?;
    dup2_stdin(&console).and_then(|()| dup2_stdout(&console)).and_then(|()| dup2_stderr(&console))?;
    for path in fs::read_to_string(format!("{FOLDER}/modules"))?.lines() {
        finit_module(&File::open(path)?, c"", ModuleInitFlags::empty())
            .map_err(|e| io::Error::other(format!("{path}: {e}")))?;
    }
    attach("configfs", "/sys/kernel/config")?;
    let mut server = Command::new("/proc/self/exe").arg(SERVE).stdout(Stdio::piped()).spawn()?;
    // It says a byte once it has mounted, or nothing and its reason.
    let said = server.stdout.take().map(|mut out| out.read_exact(&mut [0]));
    said.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))?;
    Ok(execve(INIT, &[c"/init"], &[] as &[&CStr])?)
}

fn serve() -> Never {
    let tables = fs::read(TABLES)?;
    let said = |name| told(&tables, name).map_err(io::Error::other);
    let measurement = said("measurement")?.map(<[u8; 48]>::try_from).transpose();
    let measurement = measurement.map_err(|_| io::Error::other("a measurement has 48 bytes"))?;
    let mut report_id = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut report_id)?;
    let chip = TestChip::milan();
    let platform = Snp {
        sign: Box::new(move |data, level| {
            let mut spec = chip.spec(*data, level);
            spec.measurement = measurement.unwrap_or(spec.measurement);
            spec.report_id = report_id;
            chip.sign(&spec)
        }),
        certificates: fs::read(format!("{FOLDER}/certificates"))?,
        manifest: said("manifest")?,
        svsm_has_certificates: false,
    };
    let _session = mount(Emulator::on(Some(Box::new(platform))), Path::new(REPORTS))?;
    io::stdout().write_all(b"1")?;
    io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}

fn attach(kind: &str, target: &str) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let none: Option<&str> = None;
    mount_fs(Some(kind), target, Some(kind), MsFlags::empty(), none)
        .map_err(|e| io::Error::other(format!("mounting {target}: {e}")))
}
