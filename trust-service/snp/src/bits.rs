//! The bit fields of a report: guest policy, platform information, key information.

use crate::version::AbiVersion;
use serde::Serialize;
use std::fmt;

/// POLICY: what the guest's owner allows the host to do (SEV-SNP ABI 56860, section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct GuestPolicy(pub u64);

impl GuestPolicy {
    /// Bits that the specification assigns: 0 to 25.
    const KNOWN: u64 = (1 << 26) - 1;
    /// Reserved, always one.
    pub(crate) const RESERVED_ONE: u64 = 1 << 17;

    /// The least firmware interface version that the guest runs on.
    pub fn abi(self) -> AbiVersion {
        let [minor, major, ..] = self.0.to_le_bytes();
        AbiVersion { major, minor }
    }

    /// Whether the host may run it with SMT.
    pub fn smt(self) -> bool {
        self.bit(16)
    }

    /// Whether it may be tied to a migration agent.
    pub fn migration(self) -> bool {
        self.bit(18)
    }

    /// Whether the host may debug it: read and change its memory.
    pub fn debug(self) -> bool {
        self.bit(19)
    }

    /// Whether it runs on one socket only.
    pub fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// Whether CXL devices or memory may be present.
    pub fn cxl(self) -> bool {
        self.bit(21)
    }

    /// Whether memory must be encrypted with AES-256-XTS.
    pub fn aes_256_xts(self) -> bool {
        self.bit(22)
    }

    /// Whether power readings (RAPL) must be off.
    pub fn rapl_disabled(self) -> bool {
        self.bit(23)
    }

    /// Whether ciphertext must be hidden from the host.
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(24)
    }

    /// Whether the host's commands to move and swap its pages are off.
    pub fn page_swap_disabled(self) -> bool {
        self.bit(25)
    }

    /// Bits that no specification known here assigns.
    pub fn unknown(self) -> u64 {
        self.0 & !Self::KNOWN
    }

    fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl fmt::Display for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// PLATFORM_INFO: what the firmware says of the platform.
///
/// Firmware sets bits before specifications name them (Turin sets bit 6), so unknown ones are kept and not judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct PlatformInfo(pub u64);

impl PlatformInfo {
    /// SMT is on.
    pub fn smt(self) -> bool {
        self.bit(0)
    }

    /// Transparent memory encryption (TSME) is on.
    pub fn tsme(self) -> bool {
        self.bit(1)
    }

    /// Memory has error-correcting codes.
    pub fn ecc(self) -> bool {
        self.bit(2)
    }

    /// Power readings (RAPL) are off.
    pub fn rapl_disabled(self) -> bool {
        self.bit(3)
    }

    /// Ciphertext in DRAM is hidden from the host.
    pub fn ciphertext_hiding(self) -> bool {
        self.bit(4)
    }

    /// Memory was checked for aliased addresses since the last reset, and there are none.
    pub fn alias_check(self) -> bool {
        self.bit(5)
    }

    /// Trusted I/O (SEV-TIO) is on.
    pub fn tio(self) -> bool {
        self.bit(7)
    }

    fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl fmt::Display for PlatformInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The key that signed a report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Versioned chip endorsement key: of one chip at one TCB.
    Vcek,
    /// Versioned loaded endorsement key: of one cloud provider at one TCB.
    Vlek,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        })
    }
}

/// AUTHOR_KEY_EN, MASK_CHIP_KEY and SIGNING_KEY at 0x48.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyInfo {
    /// The digest of the author key is there.
    pub author_key: bool,
    /// The host asked the firmware to write zeros in place of signatures.
    pub mask_chip_key: bool,
    /// Which key signed; `None` where the guest asked for no signature.
    pub signing_key: Option<KeyKind>,
}

impl KeyInfo {
    /// `None` where reserved bits are set, or the signing key is a reserved value.
    pub fn read(raw: u32) -> Option<Self> {
        let signing_key = match raw >> 2 {
            0 => Some(KeyKind::Vcek),
            1 => Some(KeyKind::Vlek),
            7 => None,
            _ => return None,
        };
        Some(Self { author_key: raw & 1 == 1, mask_chip_key: raw >> 1 & 1 == 1, signing_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_bits() {
        let policy = GuestPolicy(0x0003_1f37);
        assert_eq!(policy.abi(), AbiVersion { major: 0x1f, minor: 0x37 });
        assert!(policy.smt() && !policy.debug() && !policy.migration());
        let single = |index: u32| GuestPolicy(1 << index);
        assert!(
            single(18).migration() && single(19).debug() && single(20).single_socket() && single(21).cxl()
        );
        assert!(single(22).aes_256_xts() && single(23).rapl_disabled() && single(24).ciphertext_hiding());
        assert!(single(25).page_swap_disabled());
        assert_eq!(single(25).unknown(), 0);
        assert_eq!(single(26).unknown(), 1 << 26);
        assert_eq!(single(63).unknown(), 1 << 63);
    }

    #[test]
    fn platform_bits() {
        let bit = |index: u32| PlatformInfo(1 << index);
        assert!(bit(0).smt() && bit(1).tsme() && bit(2).ecc() && bit(3).rapl_disabled());
        assert!(bit(4).ciphertext_hiding() && bit(5).alias_check() && bit(7).tio());
        assert!(!PlatformInfo(!1).smt());
    }

    #[test]
    fn key_info_takes_three_keys() {
        let key = |raw| KeyInfo::read(raw).map(|info| info.signing_key);
        assert_eq!(key(0), Some(Some(KeyKind::Vcek)));
        assert_eq!(key(1 << 2), Some(Some(KeyKind::Vlek)));
        assert_eq!(key(7 << 2), Some(None));
        for raw in (2..7).map(|key| key << 2).chain([1 << 5, 1 << 31]) {
            assert_eq!(KeyInfo::read(raw), None, "{raw:#x}");
        }
        let info = KeyInfo::read(0b11).unwrap();
        assert!(info.author_key && info.mask_chip_key);
    }
}
