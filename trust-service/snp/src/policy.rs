//! What a pool demands of SEV-SNP reports: typed data, kebab-case in TOML and JSON, unknown members refused.

use crate::bits::{GuestPolicy, KeyKind, PlatformInfo};
use crate::ca::Roots;
use crate::hex::{ChipId, Hex};
use crate::product::Product;
use crate::version::{AbiVersion, FirmwareVersion};
use crate::{Certificates, CertificatesError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The demands. Without any, a report must come from VMPL 0 of a guest that neither debugging nor migration is allowed for.
///
/// A list that is absent is not judged; a list that is there allows what it names and no more, so an empty one allows nothing.
///
/// ```toml
/// products = ["milan", "genoa", "turin"]
/// measurements = ["…96 hex digits…"]
/// [minimum-tcb.milan]
/// bootloader = 4
/// snp = 24
/// microcode = 219
/// [platform]
/// ecc = true
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SnpPolicy {
    /// Lines of processors: `milan`, `genoa` (Bergamo and Siena with it), `turin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products: Option<Vec<Product>>,
    /// Kinds of key that may sign: `vcek`, `vlek`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_keys: Option<Vec<KeyKind>>,
    /// Providers whose VLEKs may sign, as AMD's certificates name them; a VCEK is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// Privilege levels that may ask for reports, 0 to 3; 0 alone where it is absent.
    pub vmpl: Vec<u8>,
    /// The least TCB by line, judged on the reported and the launch TCB; a line without one is refused once any has one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub minimum_tcb: BTreeMap<Product, TcbFloor>,
    /// The least committed firmware: `1.55.40`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_firmware: Option<FirmwareVersion>,
    /// Bits that both mitigation vectors must have; reports before version 5 have none.
    #[serde(skip_serializing_if = "is_zero")]
    pub mitigations: u64,
    /// Launch measurements, 96 hex digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurements: Option<Vec<Hex<48>>>,
    /// HOST_DATA, 64 hex digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_data: Option<Vec<Hex<32>>>,
    /// FAMILY_ID of the ID block, 32 hex digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_ids: Option<Vec<Hex<16>>>,
    /// IMAGE_ID of the ID block, 32 hex digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_ids: Option<Vec<Hex<16>>>,
    /// SHA-384 of ID keys, 96 hex digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_key_digests: Option<Vec<Hex<48>>>,
    /// SHA-384 of author keys, 96 hex digits each; a report without an author key has none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_key_digests: Option<Vec<Hex<48>>>,
    /// The least GUEST_SVN of the ID block.
    #[serde(skip_serializing_if = "is_zero_32")]
    pub minimum_guest_svn: u32,
    /// The least firmware interface that the guest policy may allow: `1.55`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_abi: Option<AbiVersion>,
    /// Chips that may run the pool's nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip_ids_allowed: Option<Vec<ChipId>>,
    /// Chips that may not: how a single chip is revoked. A masked id is refused once there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chip_ids_denied: Vec<ChipId>,
    /// Whether the guest policy may allow SMT; true where it is absent.
    pub smt: bool,
    /// Takes guests that their host may debug: it can read and change everything in them.
    #[serde(skip_serializing_if = "is_false")]
    pub danger_debug: bool,
    /// Takes guests that a migration agent may take away.
    #[serde(skip_serializing_if = "is_false")]
    pub danger_migration: bool,
    /// How properties of the platform must stand.
    #[serde(skip_serializing_if = "PlatformWanted::is_empty")]
    pub platform: PlatformWanted,
    /// How further bits of the guest policy must stand.
    #[serde(skip_serializing_if = "GuestPolicyWanted::is_empty")]
    pub guest_policy: GuestPolicyWanted,
    /// Wants a current revocation list of the root.
    #[serde(skip_serializing_if = "is_false")]
    pub require_crl: bool,
    /// Roots beside AMD's own: whoever holds their keys can forge reports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub danger_roots: Vec<DangerRoot>,
}

/// A root that is not AMD's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DangerRoot {
    /// The line that it vouches for.
    pub product: Product,
    /// Its certificate and, where evidence does not bring it along, that of the CA below it; PEM.
    pub certificates: String,
}

/// Why a policy's own root can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DangerRootError {
    /// The certificates can't be read.
    #[error("root for {product}: {reason}")]
    Certificates {
        /// The line.
        product: Product,
        /// Why.
        #[source]
        reason: CertificatesError,
    },
    /// None of them signed itself, or more than one did.
    #[error("root for {0}: exactly one certificate must name itself as its issuer")]
    NoRoot(Product),
}

/// The least TCB of a line; a component that is absent is not judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TcbFloor {
    /// FMC; Turin alone has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// PSP boot loader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootloader: Option<u8>,
    /// PSP operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tee: Option<u8>,
    /// SNP firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snp: Option<u8>,
    /// Microcode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microcode: Option<u8>,
}

macro_rules! flags {
    ($(#[$doc:meta])* $wanted:ident of $bits:ident: $($(#[$flag_doc:meta])* $field:ident $flag:ident;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct $wanted {
            $($(#[$flag_doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<bool>,)*
        }

        impl $wanted {
            fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// Each flag that does not stand as wanted, with how it stands.
            pub(crate) fn faults(self, bits: $bits) -> impl Iterator<Item = (Flag, bool)> {
                [$((Flag::$flag, self.$field, bits.$field()),)*]
                    .into_iter()
                    .filter(|(_, wanted, seen)| wanted.is_some_and(|wanted| wanted != *seen))
                    .map(|(flag, _, seen)| (flag, seen))
            }
        }
    };
}

flags! {
    /// Properties of the platform (PLATFORM_INFO): true must be set, false must be clear, absent is not judged.
    PlatformWanted of PlatformInfo:
    /// SMT is on.
    smt Smt;
    /// Transparent memory encryption is on.
    tsme Tsme;
    /// Memory has error-correcting codes.
    ecc Ecc;
    /// Power readings are off.
    rapl_disabled RaplDisabled;
    /// Ciphertext in DRAM is hidden from the host.
    ciphertext_hiding CiphertextHiding;
    /// Memory was checked for aliased addresses, and there are none.
    alias_check AliasCheck;
    /// Trusted I/O is on.
    tio Tio;
}

flags! {
    /// Further bits of the guest policy: true must be set, false must be clear, absent is not judged.
    GuestPolicyWanted of GuestPolicy:
    /// The guest runs on one socket only.
    single_socket SingleSocket;
    /// CXL devices or memory may be present.
    cxl Cxl;
    /// Memory must be encrypted with AES-256-XTS.
    aes_256_xts Aes256Xts;
    /// Power readings must be off.
    rapl_disabled RaplDisabled;
    /// Ciphertext must be hidden from the host.
    ciphertext_hiding CiphertextHiding;
    /// The host's commands to move and swap pages are off.
    page_swap_disabled PageSwapDisabled;
}

/// A bit of PLATFORM_INFO or POLICY that is judged by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the members of the two tables above")]
pub enum Flag {
    Smt,
    Tsme,
    Ecc,
    RaplDisabled,
    CiphertextHiding,
    AliasCheck,
    Tio,
    SingleSocket,
    Cxl,
    Aes256Xts,
    PageSwapDisabled,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smt => "smt",
            Self::Tsme => "tsme",
            Self::Ecc => "ecc",
            Self::RaplDisabled => "rapl-disabled",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::AliasCheck => "alias-check",
            Self::Tio => "tio",
            Self::SingleSocket => "single-socket",
            Self::Cxl => "cxl",
            Self::Aes256Xts => "aes-256-xts",
            Self::PageSwapDisabled => "page-swap-disabled",
        })
    }
}

impl Default for SnpPolicy {
    fn default() -> Self {
        Self {
            products: None,
            signing_keys: None,
            providers: None,
            vmpl: vec![0],
            minimum_tcb: BTreeMap::new(),
            minimum_firmware: None,
            mitigations: 0,
            measurements: None,
            host_data: None,
            family_ids: None,
            image_ids: None,
            id_key_digests: None,
            author_key_digests: None,
            minimum_guest_svn: 0,
            minimum_abi: None,
            chip_ids_allowed: None,
            chip_ids_denied: Vec::new(),
            smt: true,
            danger_debug: false,
            danger_migration: false,
            platform: PlatformWanted::default(),
            guest_policy: GuestPolicyWanted::default(),
            require_crl: false,
            danger_roots: Vec::new(),
        }
    }
}

impl SnpPolicy {
    /// AMD's roots and those of [`SnpPolicy::danger_roots`].
    pub fn roots(&self) -> Result<Roots, DangerRootError> {
        let mut roots = Roots::amd().clone();
        for DangerRoot { product, certificates } in &self.danger_roots {
            let product = *product;
            let in_root = |reason| DangerRootError::Certificates { product, reason };
            let mut read = Certificates::default();
            read.add(certificates.as_bytes()).map_err(in_root)?;
            let (mut own, below): (Vec<_>, Vec<_>) =
                read.cas.into_iter().partition(|ca| ca.subject == ca.issuer);
            match (own.pop(), own.is_empty()) {
                (Some(root), true) => roots.danger_add(product, root, below),
                _ => return Err(DangerRootError::NoRoot(product)),
            }
        }
        Ok(roots)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero_32(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_false(value: &bool) -> bool {
    !*value
}
