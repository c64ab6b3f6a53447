//! What REPORT_DATA binds: a session's transcript, or an SVSM's manifest together with it.

use crate::prove::SnpProven;
use crate::rejection::SnpRejection;
use ccnode_evidence::ReportData;
use sha2::{Digest as _, Sha512};

/// GUID of an SVSM's vTPM service (SVSM specification 58019, section 8.3).
pub const VTPM_SERVICE: &str = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3";
/// Longest manifest that is read, in bytes: a TPMT_PUBLIC with a 4096-bit key has less.
const MAX_MANIFEST: usize = 1024;

/// Proof that a report binds a session's report data. Made only by [`SnpProven::binds`].
#[derive(Clone, Copy, Debug)]
pub struct ReportDataBound(());

/// What a guest sends of its SVSM.
#[derive(Clone, Copy, Debug)]
pub struct SvsmManifest<'a> {
    /// GUID of the service that the manifest describes.
    pub service: &'a str,
    /// Version of the manifest that was asked for.
    pub version: u32,
    /// The manifest.
    pub manifest: &'a [u8],
}

/// Proof that an SVSM at VMPL 0 vouches for this endorsement key, in this session. Made only by [`SnpProven::binds_svsm`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SvsmEk(Vec<u8>);

impl SvsmEk {
    /// TPMT_PUBLIC of the vTPM's endorsement key, as the SVSM marshalled it.
    pub fn tpmt_public(&self) -> &[u8] {
        &self.0
    }
}

/// A transcript's report data as REPORT_DATA: 48 bytes, then 16 zeros.
pub fn report_data(data: &ReportData) -> [u8; 64] {
    let mut out = [0; 64];
    out.iter_mut().zip(data.0).for_each(|(to, from)| *to = from);
    out
}

impl SnpProven {
    /// REPORT_DATA is this session's report data and 16 zeros.
    pub fn binds(&self, data: &ReportData) -> Result<ReportDataBound, SnpRejection> {
        let wanted = report_data(data);
        let seen = self.report().report_data;
        if seen == wanted {
            Ok(ReportDataBound(()))
        } else {
            Err(SnpRejection::ReportData { seen: hex::encode(seen), wanted: hex::encode(wanted) })
        }
    }

    /// REPORT_DATA = SHA-512(nonce ‖ manifest), nonce = this session's report data and 16 zeros, asked for at VMPL 0; the
    /// manifest of the vTPM service, version 0, is the TPMT_PUBLIC of its endorsement key (SVSM 58019, sections 7.1 and 8.3.1).
    pub fn binds_svsm(&self, data: &ReportData, svsm: SvsmManifest<'_>) -> Result<SvsmEk, SnpRejection> {
        if svsm.service != VTPM_SERVICE {
            return Err(SnpRejection::SvsmService(crate::x509::printable(svsm.service)));
        }
        if svsm.version != 0 {
            return Err(SnpRejection::SvsmVersion(svsm.version));
        }
        if !is_key(svsm.manifest) {
            return Err(SnpRejection::SvsmManifest(svsm.manifest.len()));
        }
        if self.report().vmpl != 0 {
            return Err(SnpRejection::SvsmVmpl(self.report().vmpl));
        }
        let wanted: [u8; 64] =
            Sha512::new().chain_update(report_data(data)).chain_update(svsm.manifest).finalize().into();
        let seen = self.report().report_data;
        if seen != wanted {
            return Err(SnpRejection::SvsmBinding { seen: hex::encode(seen), wanted: hex::encode(wanted) });
        }
        Ok(SvsmEk(svsm.manifest.to_vec()))
    }
}

/// Whether it begins like the public area of an RSA or ECC key; who uses the key reads the rest.
fn is_key(manifest: &[u8]) -> bool {
    manifest.len() <= MAX_MANIFEST && matches!(manifest, [0x00, 0x01 | 0x23, _, _, ..])
}
