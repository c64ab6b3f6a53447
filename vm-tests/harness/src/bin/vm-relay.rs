//! `vm-relay PORT`: copies stdin and stdout to 127.0.0.1:PORT.

use std::process::ExitCode;

fn main() -> ExitCode {
    ccnode_vm_harness::relay::serve(std::env::args_os().nth(1))
}
