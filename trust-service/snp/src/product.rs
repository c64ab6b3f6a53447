//! Lines of processors that have SEV-SNP: each has a root key of its own at AMD.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A line of processors, as AMD's root keys part them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// EPYC 7003 (Zen 3).
    Milan,
    /// EPYC 9004 and 8004 (Zen 4): Genoa, and Bergamo and Siena, which share its root.
    Genoa,
    /// EPYC 9005 (Zen 5).
    Turin,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The line of a processor; `None` for one whose root is not known here.
    pub fn from_cpuid(cpuid: Cpuid) -> Option<Self> {
        match (cpuid.family, cpuid.model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The line that a certificate's product name belongs to: "Milan-B0", "Genoa", "Siena-A0" (KDS 57230, section 3.1).
    pub fn from_certificate(name: &str) -> Option<Self> {
        match name.split_once('-').map_or(name, |(line, _stepping)| line) {
            "Milan" => Some(Self::Milan),
            "Genoa" | "Bergamo" | "Siena" => Some(Self::Genoa),
            "Turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// How this line lays out a TCB_VERSION.
    pub fn layout(self) -> TcbLayout {
        match self {
            Self::Milan | Self::Genoa => TcbLayout::BeforeTurin,
            Self::Turin => TcbLayout::Turin,
        }
    }

    /// As AMD writes it: "Milan".
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The order of a TCB_VERSION's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcbLayout {
    /// Boot loader, TEE, four reserved, SNP, microcode.
    BeforeTurin,
    /// FMC, boot loader, TEE, SNP, three reserved, microcode.
    Turin,
}

/// CPUID_FAM_ID, CPUID_MOD_ID and CPUID_STEP of a report: combined values, extended parts included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Cpuid {
    /// 0x19 before Turin, 0x1a from Turin on.
    pub family: u8,
    /// Model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl Cpuid {
    /// The layout that firmware of this family writes, for a known one.
    pub(crate) fn layout(self) -> Option<TcbLayout> {
        match self.family {
            0x19 => Some(TcbLayout::BeforeTurin),
            0x1a => Some(TcbLayout::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Cpuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "family {:#04x} model {:#04x} stepping {}", self.family, self.model, self.stepping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_cpuid_and_by_name() {
        let of = |family, model| Product::from_cpuid(Cpuid { family, model, stepping: 0 });
        assert_eq!(of(0x19, 0x01), Some(Product::Milan));
        assert_eq!(of(0x19, 0x11), Some(Product::Genoa));
        assert_eq!(of(0x19, 0xa0), Some(Product::Genoa));
        assert_eq!(of(0x1a, 0x02), Some(Product::Turin));
        assert_eq!(of(0x1a, 0x11), Some(Product::Turin));
        for (family, model) in [(0x19, 0x20), (0x19, 0xb0), (0x1a, 0x50), (0x17, 0x31), (0, 0)] {
            assert_eq!(of(family, model), None);
        }
        assert_eq!(Product::from_certificate("Milan-B0"), Some(Product::Milan));
        assert_eq!(Product::from_certificate("Siena-B0"), Some(Product::Genoa));
        assert_eq!(Product::from_certificate("Bergamo"), Some(Product::Genoa));
        assert_eq!(Product::from_certificate("Turin"), Some(Product::Turin));
        for name in ["", "milan", "Milanese", "Venice", "-B0"] {
            assert_eq!(Product::from_certificate(name), None);
        }
    }
}
