//! TCB_VERSION: the security version numbers of what a report depends on (SEV-SNP ABI 56860, section 2.2).

use crate::product::TcbLayout;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The eight bytes of a TCB_VERSION, whose order depends on the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawTcb(pub [u8; 8]);

impl RawTcb {
    /// The components under a layout; `None` where its reserved bytes are not zero.
    pub fn read(self, layout: TcbLayout) -> Option<TcbVersion> {
        match (layout, self.0) {
            (TcbLayout::BeforeTurin, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(TcbVersion { fmc: None, bootloader, tee, snp, microcode })
            }
            (TcbLayout::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => {
                Some(TcbVersion { fmc: Some(fmc), bootloader, tee, snp, microcode })
            }
            _ => None,
        }
    }
}

/// Security version numbers by component; higher is newer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TcbVersion {
    /// FMC, from Turin on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// PSP boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Lowest microcode patch level of all cores.
    pub microcode: u8,
}

impl TcbVersion {
    /// Each component with its value; an absent FMC is left out.
    pub fn components(&self) -> impl Iterator<Item = (Component, u8)> {
        let fmc = self.fmc.map(|fmc| (Component::Fmc, fmc));
        fmc.into_iter().chain([
            (Component::Bootloader, self.bootloader),
            (Component::Tee, self.tee),
            (Component::Snp, self.snp),
            (Component::Microcode, self.microcode),
        ])
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (component, value) in self.components() {
            write!(f, "{gap}{component} {value}")?;
            gap = ", ";
        }
        Ok(())
    }
}

/// A component of a TCB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Component {
    /// FMC, from Turin on.
    Fmc,
    /// PSP boot loader.
    Bootloader,
    /// PSP operating system.
    Tee,
    /// SNP firmware.
    Snp,
    /// Microcode.
    Microcode,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fmc => "fmc",
            Self::Bootloader => "bootloader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        })
    }
}

/// Which of a report's four TCBs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcbKind {
    /// What runs now.
    Current,
    /// What the endorsement key was derived from.
    Reported,
    /// What the firmware can't be rolled back behind.
    Committed,
    /// What ran when the guest was launched.
    Launch,
}

impl fmt::Display for TcbKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Reported => "reported",
            Self::Committed => "committed",
            Self::Launch => "launch",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_and_their_reserved_bytes() {
        let tcb = RawTcb([1, 2, 0, 0, 0, 0, 3, 4]).read(TcbLayout::BeforeTurin).unwrap();
        assert_eq!(tcb, TcbVersion { fmc: None, bootloader: 1, tee: 2, snp: 3, microcode: 4 });
        let tcb = RawTcb([9, 1, 2, 3, 0, 0, 0, 4]).read(TcbLayout::Turin).unwrap();
        assert_eq!(tcb, TcbVersion { fmc: Some(9), bootloader: 1, tee: 2, snp: 3, microcode: 4 });
        assert_eq!(tcb.to_string(), "fmc 9, bootloader 1, tee 2, snp 3, microcode 4");
        for at in 2..6 {
            let mut raw = [0; 8];
            raw[at] = 1;
            assert_eq!(RawTcb(raw).read(TcbLayout::BeforeTurin), None);
        }
        for at in 4..7 {
            let mut raw = [0; 8];
            raw[at] = 1;
            assert_eq!(RawTcb(raw).read(TcbLayout::Turin), None);
        }
    }
}
