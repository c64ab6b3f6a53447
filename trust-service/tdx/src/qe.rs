//! The quoting enclave's report, and whether the enclave is Intel's (QE identity; SGX ECDSA QVL specification, section 4.1.2.9).

use crate::json::{Date, Hex};
use crate::tcb_info::{SvnLevel, svn_level};
use ccnode_evidence::Reader;
use serde::{Deserialize, Serialize};

/// What a QE report says, as far as it is judged; its signature is checked in [`crate::verify`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct QeFacts {
    /// MISCSELECT.
    pub misc_select: u32,
    /// ATTRIBUTES: flags, then XFRM.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub attributes: [u8; 16],
    /// Measurement of the enclave.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub mr_enclave: [u8; 32],
    /// Signer of the enclave.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub mr_signer: [u8; 32],
    /// Product of that signer.
    pub isv_prod_id: u16,
    /// Security version number.
    pub isv_svn: u16,
    #[serde(skip)]
    pub(crate) report_data: [u8; 64],
}

impl QeFacts {
    pub(crate) fn read(report: &[u8; 384]) -> Option<Self> {
        let r = &mut Reader::new(report);
        // CPUSVN.
        r.take(16)?;
        let misc_select = r.u32()?;
        r.take(28)?;
        let attributes = *r.array()?;
        let mr_enclave = *r.array()?;
        r.take(32)?;
        let mr_signer = *r.array()?;
        r.take(96)?;
        let (isv_prod_id, isv_svn) = (r.u16()?, r.u16()?);
        r.take(60)?;
        let report_data = *r.array()?;
        Some(Self { misc_select, attributes, mr_enclave, mr_signer, isv_prod_id, isv_svn, report_data })
    }
}

/// Why an enclave is not Intel's quoting enclave for TDs.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum QeIdentityError {
    /// Another signer.
    #[error("MRSIGNER {}; {} is due", hex::encode(.seen), hex::encode(.wanted))]
    MrSigner {
        /// The enclave's.
        seen: [u8; 32],
        /// Intel's.
        wanted: [u8; 32],
    },
    /// Another product of that signer.
    #[error("ISVPRODID {seen}; {wanted} is due")]
    IsvProdId {
        /// The enclave's.
        seen: u16,
        /// That of the TD quoting enclave.
        wanted: u16,
    },
    /// MISCSELECT differs where the mask counts.
    #[error("MISCSELECT {seen:#010x}; {wanted:#010x} under mask {mask:#010x} is due")]
    MiscSelect {
        /// The enclave's.
        seen: u32,
        /// The identity's.
        wanted: u32,
        /// Bits that count.
        mask: u32,
    },
    /// The attributes differ where the mask counts.
    #[error("ATTRIBUTES {}; {} under mask {} is due", hex::encode(.seen), hex::encode(.wanted), hex::encode(.mask))]
    Attributes {
        /// The enclave's.
        seen: [u8; 16],
        /// The identity's.
        wanted: [u8; 16],
        /// Bits that count.
        mask: [u8; 16],
    },
    /// A debug enclave, whatever the identity says.
    #[error("the enclave is under debug (ATTRIBUTES {})", hex::encode(.seen))]
    Debug {
        /// The enclave's.
        seen: [u8; 16],
    },
    /// An SVN below all levels of the identity.
    #[error("ISVSVN {seen}; the lowest level of the QE identity asks for {lowest:?}")]
    IsvSvn {
        /// The enclave's.
        seen: u16,
        /// The lowest that any level asks for; `None` without levels.
        lowest: Option<u16>,
    },
}

/// An enclave's identity as Intel signs it (PCS API v4, "Get Quoting Enclave Identity", version 2).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QeIdentity {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: Date,
    pub(crate) next_update: Date,
    pub(crate) tcb_evaluation_data_number: u32,
    miscselect: Hex<4>,
    miscselect_mask: Hex<4>,
    attributes: Hex<16>,
    attributes_mask: Hex<16>,
    mrsigner: Hex<32>,
    isvprodid: u16,
    tcb_levels: Vec<SvnLevel>,
}

/// DEBUG among an enclave's attributes.
const DEBUG: u8 = 2;

/// What Intel's identities of the TD quoting enclave have said since it exists; it stands in where there is no collateral,
/// since any enclave of the host's making can have its report signed by the platform's PCK.
mod intel {
    pub(super) const MR_SIGNER: [u8; 32] = [
        0xdc, 0x9e, 0x2a, 0x7c, 0x6f, 0x94, 0x8f, 0x17, 0x47, 0x4e, 0x34, 0xa7, 0xfc, 0x43, 0xed, 0x03, 0x0f,
        0x7c, 0x15, 0x63, 0xf1, 0xba, 0xbd, 0xdf, 0x63, 0x40, 0xc8, 0x2e, 0x0e, 0x54, 0xa8, 0xc5,
    ];
    pub(super) const ISV_PROD_ID: u16 = 2;
}

impl QeFacts {
    /// The signer, product and debug flag that hold without collateral.
    pub(crate) fn is_intels(&self) -> Result<(), QeIdentityError> {
        self.has(&intel::MR_SIGNER, intel::ISV_PROD_ID)
    }

    fn has(&self, mr_signer: &[u8; 32], isv_prod_id: u16) -> Result<(), QeIdentityError> {
        if self.mr_signer != *mr_signer {
            return Err(QeIdentityError::MrSigner { seen: self.mr_signer, wanted: *mr_signer });
        }
        if self.isv_prod_id != isv_prod_id {
            return Err(QeIdentityError::IsvProdId { seen: self.isv_prod_id, wanted: isv_prod_id });
        }
        let [flags, ..] = self.attributes;
        if flags & DEBUG != 0 {
            return Err(QeIdentityError::Debug { seen: self.attributes });
        }
        Ok(())
    }
}

impl QeIdentity {
    /// Every member of the identity; the level that the enclave's SVN reaches.
    pub(crate) fn judge(&self, qe: &QeFacts) -> Result<&SvnLevel, QeIdentityError> {
        qe.has(&self.mrsigner.0, self.isvprodid)?;
        let mask = u32::from_le_bytes(self.miscselect_mask.0);
        let wanted = u32::from_le_bytes(self.miscselect.0);
        if qe.misc_select & mask != wanted & mask {
            return Err(QeIdentityError::MiscSelect { seen: qe.misc_select, wanted, mask });
        }
        let (wanted, mask) = (self.attributes.0, self.attributes_mask.0);
        let differ = |((seen, wanted), mask): ((&u8, &u8), &u8)| seen & mask != wanted & mask;
        if qe.attributes.iter().zip(&wanted).zip(&mask).any(differ) {
            return Err(QeIdentityError::Attributes { seen: qe.attributes, wanted, mask });
        }
        svn_level(&self.tcb_levels, qe.isv_svn).ok_or_else(|| QeIdentityError::IsvSvn {
            seen: qe.isv_svn,
            lowest: self.tcb_levels.iter().map(|level| level.tcb.isvsvn).min(),
        })
    }
}
