//! The kernel's grace periods (RCU): short while this process, all that runs, waits for each of them.
//!
//! A packet socket, a module that finds no hardware, a mapping, a mount: each waits for one. Until it starts process 1 the
//! kernel ends them at once; then each takes ten milliseconds and more of an idle processor.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel has the switch.
pub const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// Grace periods are short until this is dropped.
#[derive(Debug)]
pub struct Short {
    switch: PathBuf,
    before: Vec<u8>,
}

impl Short {
    /// Turns the switch on. A kernel that has none is as fast as it is.
    pub fn begin(switch: &Path) -> io::Result<Self> {
        let before = fs::read(switch)?;
        fs::write(switch, "1")?;
        Ok(Self { switch: switch.to_owned(), before })
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        // A machine with more to do than one process wants long ones; it does without.
        let _ = fs::write(&self.switch, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_as_it_was_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let switch = dir.path().join("rcu_expedited");
        for before in ["0\n", "1\n"] {
            fs::write(&switch, before).unwrap();
            let short = Short::begin(&switch).unwrap();
            assert_eq!(fs::read_to_string(&switch).unwrap(), "1");
            drop(short);
            assert_eq!(fs::read_to_string(&switch).unwrap(), before);
        }
    }

    #[test]
    fn a_kernel_without_it_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Short::begin(&dir.path().join("none")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
