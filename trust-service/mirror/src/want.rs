//! What a mirror can be asked for.

use ccnode_snp::{KeyKind, Product, RawTcb, Report, TcbVersion};
use std::fmt;

/// One thing that appraisal looked for and did not find in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Want {
    /// The VCEK certificate of a chip at a TCB.
    Chip(Chip),
    /// CAs and revocation list of a line's VCEKs or VLEKs.
    Line(Product, KeyKind),
    /// The TDX collateral of a platform model (FMSPC).
    Platform([u8; 6]),
}

/// A chip at a TCB, as a report names them; nothing is proven.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Chip {
    /// The processor's line.
    pub product: Product,
    /// CHIP_ID.
    pub id: [u8; 64],
    /// REPORTED_TCB.
    pub tcb: [u8; 8],
}

impl Want {
    /// Whether anybody can make up as many of these as they like: reports that nobody signed name chips that there are not.
    pub fn is_unbounded(&self) -> bool {
        matches!(self, Self::Chip(_))
    }
}

impl Chip {
    /// The TCB by component; `None` where its reserved bytes are not zero.
    pub fn version(&self) -> Option<TcbVersion> {
        RawTcb(self.tcb).read(self.product.layout())
    }
}

/// What would prove this report: the chip's certificate where a VCEK signed and the chip is named, CAs and revocation list in any case.
/// Reports before version 3 don't name the processor: both lines that wrote such come into question.
pub(crate) fn of(report: &Report) -> Vec<Want> {
    let products: Vec<Product> = match report.cpuid {
        Some(cpuid) => Product::from_cpuid(cpuid).into_iter().collect(),
        None => vec![Product::Milan, Product::Genoa],
    };
    let key = report.key_info.signing_key.unwrap_or(KeyKind::Vcek);
    let mut wants = Vec::with_capacity(4);
    for product in products {
        let chip = report.chip_id().map(|id| Chip { product, id, tcb: report.reported_tcb.0 });
        let chip = chip.filter(|chip| key == KeyKind::Vcek && chip.version().is_some());
        wants.extend(chip.map(Want::Chip));
        wants.push(Want::Line(product, key));
    }
    wants
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chip(Chip { product, id, tcb }) => {
                write!(f, "VCEK certificate of {product} {} at {}", hex::encode(id), hex::encode(tcb))
            }
            Self::Line(product, key) => write!(f, "CAs and CRL of {product}'s {key}s"),
            Self::Platform(fmspc) => write!(f, "TDX collateral of FMSPC {}", hex::encode(fmspc)),
        }
    }
}
