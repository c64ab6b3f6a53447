//! SEV-SNP reports: alone, beside a vTPM, or covering an SVSM's.

use super::{Demands, Launched, ReportSatisfied, TpmVouched};
use crate::quote::hex;
use crate::session::{Covered, malformed};
use crate::{Rejection, TpmIdentity};
use ccnode_evidence::{Sha256Digest, SnpCertificateType, SnpEvidence, Svsm};
use ccnode_protocol::admin::{HardwareClaims, SnpClaims, SnpTcb};
use ccnode_snp::{Certificates, ReportParsed, SnpProven, SvsmManifest, TcbVersion};

/// Proves the report, then asks whether it covers this session, then whether the pool takes it.
pub(super) fn judge(
    evidence: &SnpEvidence,
    svsm: Option<&Svsm>,
    identity: Option<&TpmIdentity>,
    covered: &Covered,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    let bytes = evidence
        .attestation_report
        .to_bytes()
        .map_err(|e| malformed("tee-evidence.primary_evidence.attestation_report", e))?;
    let mut certificates = Certificates::default();
    for certificate in evidence.cert_chain.iter().flatten() {
        if !matches!(certificate.cert_type, SnpCertificateType::Empty | SnpCertificateType::OTHER(_)) {
            certificates.add(&certificate.data).map_err(|e| Rejection::Snp(e.into()))?;
        }
    }
    let proven = prove(&bytes, certificates, demands)?;
    let vouched = match (svsm, identity) {
        (Some(svsm), Some(identity)) => Some(svsm_vouches(&proven, svsm, identity, covered)?),
        _ => {
            proven.binds(&covered.reported).map_err(Rejection::Snp)?;
            None
        }
    };
    satisfied(&proven, vouched, false, demands)
}

/// Chain and signature, with the certificates that came along and those at hand.
pub(super) fn prove(
    report: &[u8],
    mut certificates: Certificates,
    demands: &Demands<'_>,
) -> Result<SnpProven, Rejection> {
    let parsed = ReportParsed::parse(report).map_err(|e| Rejection::Snp(e.into()))?;
    certificates.extend(demands.collateral.snp(parsed.report()));
    parsed.verify(&certificates, demands.hardware.snp_roots(), demands.now).map_err(Rejection::Snp)
}

pub(super) fn satisfied(
    proven: &SnpProven,
    vouched: Option<TpmVouched>,
    ephemeral: bool,
    demands: &Demands<'_>,
) -> Result<ReportSatisfied, Rejection> {
    demands.hardware.policy().snp.judge(proven).map_err(Rejection::Snp)?;
    let report = proven.report();
    Ok(ReportSatisfied {
        claims: HardwareClaims::Snp(claims(proven)),
        vouched,
        keeper: demands.hardware.policy().vtpm_keepers.keep_snp(proven),
        ephemeral,
        launch: Launched::Snp { measurement: report.measurement, report_id: report.report_id },
    })
}

/// The report covers the manifest, and the manifest is the endorsement key that the credential was made for.
fn svsm_vouches(
    proven: &SnpProven,
    svsm: &Svsm,
    identity: &TpmIdentity,
    covered: &Covered,
) -> Result<TpmVouched, Rejection> {
    let manifest = SvsmManifest { service: &svsm.service, version: svsm.version, manifest: &svsm.manifest.0 };
    let ek = proven.binds_svsm(&covered.reported, manifest).map_err(Rejection::Snp)?;
    if ek.tpmt_public() == identity.ek_public() {
        return Ok(TpmVouched(()));
    }
    Err(Rejection::SvsmOtherEk {
        manifest: hex(&Sha256Digest::of(ek.tpmt_public()).0),
        offered: hex(&Sha256Digest::of(&identity.ek_public()).0),
    })
}

fn claims(proven: &SnpProven) -> SnpClaims {
    let (report, tcbs) = (proven.report(), proven.tcbs());
    let some = |digest: &[u8; 48]| digest.iter().any(|b| *b != 0).then(|| hex(digest));
    SnpClaims {
        product: proven.product().to_string(),
        chip_id: proven.chip_id().map(|id| hex(&id)),
        signing_key: proven.signing_key().to_string(),
        provider: proven.provider().map(str::to_owned),
        tcb: tcb(&tcbs.reported),
        launch_tcb: tcb(&tcbs.launch),
        measurement: hex(&report.measurement),
        host_data: hex(&report.host_data),
        id_key_digest: some(&report.id_key_digest),
        author_key_digest: proven.author_key().map(|digest| hex(&digest)),
        policy: format!("{:#x}", report.policy.0),
        platform_info: Some(format!("{:#x}", report.platform_info.0)),
        vmpl: report.vmpl,
        report_id: hex(&report.report_id),
        root: hex(&proven.endorsement().root()),
        danger_root: proven.endorsement().danger_root(),
        crl_checked: proven.endorsement().crl_checked(),
    }
}

fn tcb(tcb: &TcbVersion) -> SnpTcb {
    SnpTcb { fmc: tcb.fmc, bootloader: tcb.bootloader, tee: tcb.tee, snp: tcb.snp, microcode: tcb.microcode }
}
