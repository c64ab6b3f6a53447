//! Azure's vTPM: a hardware report covers runtime data, and these name the vTPM's attestation key.

use super::{Demands, ReportSatisfied, TpmVouched, Vtpm, snp as snp_report, tdx as td_quote};
use crate::Rejection;
use crate::session::Covered;
use ccnode_hcl::{HardwareReport, HclReport, RuntimeProven};
use ccnode_snp::{Certificates, SnpRejection};
use ccnode_tdx::TdReport;

/// An SEV-SNP report inside, proven by the chip's certificate that was sent, or one at hand.
pub(super) fn snp(
    hcl: &[u8],
    vcek: &[u8],
    vtpm: Vtpm<'_>,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    let hcl = HclReport::parse(hcl).map_err(Rejection::Hcl)?;
    let HardwareReport::Snp(report) = hcl.hardware() else {
        return Err(Rejection::HclKind { sent: "TDX", due: "SEV-SNP" });
    };
    let mut certificates = Certificates::default();
    if !vcek.is_empty() {
        certificates.add(vcek).map_err(|e| Rejection::Snp(e.into()))?;
    }
    let proven = snp_report::prove(report, certificates, demands)?;
    // Below it runs what boots: whatever levels the pool takes from others, only the paravisor's own speaks for the vTPM.
    let vmpl = proven.report().vmpl;
    if vmpl != 0 {
        return Err(Rejection::Snp(SnpRejection::Vmpl { seen: vmpl, wanted: vec![0] }));
    }
    let runtime = hcl.bound_to(&proven.report().report_data).map_err(Rejection::Hcl)?;
    let vouched = vouches(&runtime, vtpm, covered, demands)?;
    snp_report::satisfied(&proven, Some(vouched), is_ephemeral(&runtime), demands)
}

/// A TDREPORT inside, proven by the quote that was made from it.
pub(super) fn tdx(
    hcl: &[u8],
    quote: &[u8],
    vtpm: Vtpm<'_>,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    let hcl = HclReport::parse(hcl).map_err(Rejection::Hcl)?;
    let HardwareReport::Tdx(report) = hcl.hardware() else {
        return Err(Rejection::HclKind { sent: "SEV-SNP", due: "TDX" });
    };
    let report = TdReport::parse(report).map_err(|e| Rejection::Tdx(ccnode_tdx::Rejection::TdReport(e)))?;
    let proven = td_quote::prove(quote, demands)?;
    let made_from = proven.was_made_from(&report).map_err(Rejection::Tdx)?;
    let runtime = hcl.bound_to(made_from.report_data()).map_err(Rejection::Hcl)?;
    let vouched = vouches(&runtime, vtpm, covered, demands)?;
    td_quote::satisfied(&proven, Some(vouched), is_ephemeral(&runtime), demands)
}

/// The runtime data name the attestation key, and the endorsement key where they name one; and they were made for this session.
fn vouches(
    runtime: &RuntimeProven,
    vtpm: Vtpm<'_>,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<TpmVouched, Rejection> {
    let (modulus, exponent) = vtpm.ak_rsa().ok_or(Rejection::AzureKey)?;
    runtime.names_ak(modulus, exponent).map_err(Rejection::Hcl)?;
    if let (Some(_), Vtpm::Offered(identity)) = (runtime.data().ek(), vtpm) {
        let (modulus, exponent) = identity.ek_rsa().ok_or(Rejection::AzureKey)?;
        runtime.names_ek(modulus, exponent).map_err(Rejection::Hcl)?;
    }
    if !demands.hardware.policy().azure.danger_stale_report {
        runtime.is_fresh(&covered.reported.report_data()).map_err(Rejection::Hcl)?;
    }
    Ok(TpmVouched(()))
}

fn is_ephemeral(runtime: &RuntimeProven) -> bool {
    runtime.data().vm().tpm_persisted == Some(false)
}
