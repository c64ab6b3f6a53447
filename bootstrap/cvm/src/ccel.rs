//! The CCEL: the ACPI table that says where a TDX guest's firmware left its event log, and the log.

use crate::error::{CvmError, LogFault};
use crate::tree::bounded;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The largest log that is sent.
pub const MAX_LOG: usize = 1024 * 1024;

/// Length of a CCEL table (ACPI 6.5, 5.2.34): a header of 36 bytes, type, subtype, two reserved, length, address.
const TABLE: usize = 56;
/// CC type of Intel TDX (ACPI 6.5, table 5.155).
const TDX: u8 = 2;

/// The log behind the runtime registers. Nothing in it is believed beyond what replays.
pub trait CcEventLog: Send + Sync {
    /// The whole log area, TCG crypto-agile form with padding at its end; at most [`MAX_LOG`] bytes.
    fn event_log(&self) -> Result<Vec<u8>, CvmError>;
}

/// The files in which the kernel shows table and log.
#[derive(Clone, Debug)]
pub struct Ccel {
    log: PathBuf,
}

impl Ccel {
    /// Reads the table below `acpi` (`/sys/firmware/acpi/tables`); `None` where the firmware has none.
    pub fn find(acpi: &Path) -> Result<Option<Self>, CvmError> {
        let path = acpi.join("CCEL");
        let table = match bounded(&path, TABLE + 1) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            table => table.map_err(|e| fault(&path, LogFault::Unreadable(e)))?,
        };
        judge(&table).map_err(|why| fault(&path, LogFault::Table(why)))?;
        Ok(Some(Self { log: acpi.join("data/CCEL") }))
    }
}

impl CcEventLog for Ccel {
    fn event_log(&self) -> Result<Vec<u8>, CvmError> {
        let log = bounded(&self.log, MAX_LOG + 1).map_err(|e| fault(&self.log, LogFault::Unreadable(e)))?;
        match log.len() > MAX_LOG {
            true => Err(fault(&self.log, LogFault::Oversized { limit: MAX_LOG })),
            false => Ok(log),
        }
    }
}

fn judge(table: &[u8]) -> Result<(), &'static str> {
    let Ok(table) = <&[u8; TABLE]>::try_from(table) else { return Err("not of 56 bytes") };
    let [b'C', b'C', b'E', b'L', a, b, c, d, ..] = *table else { return Err("another signature") };
    if u32::from_le_bytes([a, b, c, d]) as usize != TABLE {
        return Err("another length");
    }
    if table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err("a wrong checksum");
    }
    match table.get(36) {
        Some(&TDX) => Ok(()),
        _ => Err("another type"),
    }
}

fn fault(path: &Path, fault: LogFault) -> CvmError {
    CvmError::EventLog { path: path.to_owned(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Code;
    use std::fs;

    fn table() -> Vec<u8> {
        let mut table = vec![0; TABLE];
        table[..4].copy_from_slice(b"CCEL");
        table[4] = 56;
        table[36] = TDX;
        seal(table)
    }

    fn seal(mut table: Vec<u8>) -> Vec<u8> {
        table[9] = 0;
        table[9] = 0_u8.wrapping_sub(table.iter().fold(0, |sum: u8, b| sum.wrapping_add(*b)));
        table
    }

    fn laid_out(table: &[u8], log: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("CCEL"), table).unwrap();
        fs::write(dir.path().join("data/CCEL"), log).unwrap();
        dir
    }

    #[test]
    fn no_table_is_no_log() {
        assert!(Ccel::find(tempfile::tempdir().unwrap().path()).unwrap().is_none());
    }

    #[test]
    fn the_log_is_read_whole() {
        let dir = laid_out(&table(), &[7; 4096]);
        assert_eq!(Ccel::find(dir.path()).unwrap().unwrap().event_log().unwrap(), [7; 4096]);
    }

    #[test]
    fn a_log_that_is_too_large_or_missing_is_told() {
        let dir = laid_out(&table(), &vec![0; MAX_LOG + 1]);
        let ccel = Ccel::find(dir.path()).unwrap().unwrap();
        let error = ccel.event_log().unwrap_err();
        assert!(matches!(error, CvmError::EventLog { fault: LogFault::Oversized { .. }, .. }), "{error}");
        fs::remove_file(dir.path().join("data/CCEL")).unwrap();
        let error = ccel.event_log().unwrap_err();
        assert!(matches!(error, CvmError::EventLog { fault: LogFault::Unreadable(_), .. }), "{error}");
        assert_eq!(error.code(), Code::CcelMalformed);
    }

    #[test]
    fn each_member_of_the_table_is_judged() {
        let mutated = |at: usize, value: u8| {
            let mut table = table();
            table[at] = value;
            seal(table)
        };
        let mut unsealed = table();
        unsealed[10] ^= 1;
        let cases = [
            (table()[..55].to_vec(), "not of 56 bytes"),
            ([table(), vec![0]].concat(), "not of 56 bytes"),
            (mutated(0, b'D'), "another signature"),
            (mutated(4, 57), "another length"),
            (mutated(36, 1), "another type"),
            (unsealed, "a wrong checksum"),
        ];
        for (table, why) in cases {
            let dir = laid_out(&table, &[]);
            match Ccel::find(dir.path()).unwrap_err() {
                CvmError::EventLog { fault: LogFault::Table(got), .. } => assert_eq!(got, why),
                other => panic!("{other}"),
            }
        }
    }
}
