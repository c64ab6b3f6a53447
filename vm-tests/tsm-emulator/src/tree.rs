//! The emulator as the collectors' tree, without a file system in between.

use crate::Emulator;
use crate::state::errno;
use ccnode_cvm::ReportTree;
use nix::libc;
use std::io;

impl ReportTree for Emulator {
    fn make(&self, entry: &str) -> io::Result<()> {
        self.mkdir(entry).map(drop)
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        self.rmdir(entry)
    }

    fn has(&self, entry: &str, attribute: &str) -> bool {
        self.number(entry).is_some() && self.attributes().contains(&attribute)
    }

    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        self.known(entry, attribute)?;
        Emulator::write(self, entry, attribute, bytes)
    }

    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        self.known(entry, attribute)?;
        let mut bytes = Emulator::read(self, entry, attribute)?;
        bytes.truncate(limit);
        Ok(bytes)
    }
}

impl Emulator {
    fn known(&self, entry: &str, attribute: &str) -> io::Result<()> {
        if self.has(entry, attribute) { Ok(()) } else { Err(errno(libc::ENOENT)) }
    }
}
