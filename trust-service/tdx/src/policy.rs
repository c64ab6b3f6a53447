//! What a pool demands of TDs: typed data, and the check that a proven quote satisfies it.

use crate::{
    Dates, Flags, Measurement, Rejection, Root, RootError, Tcb, TcbStatus, TcbSvn, TdxProven, attributes,
};
use ccnode_evidence::{Code, UnixTime};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

const DAY: u64 = 24 * 60 * 60;

/// How old collateral may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct CollateralAge {
    /// Days since an item was issued; none: its own end counts alone.
    pub max_age_days: Option<u32>,
    /// Days beyond the end that Intel gave an item, for services that seldom get new ones: what was found out meanwhile is not
    /// known. 0 unless set.
    pub danger_grace_days: u32,
}

impl CollateralAge {
    pub(crate) fn check(&self, dates: &Dates, now: UnixTime) -> Result<(), Rejection> {
        let Dates { item, issued, next_update } = *dates;
        if now < issued {
            return Err(Rejection::CollateralNotYetValid { item, issued, now });
        }
        let end = next_update.0.saturating_add(u64::from(self.danger_grace_days) * DAY);
        if now.0 > end {
            return Err(Rejection::CollateralExpired { item, next_update, now });
        }
        match self.max_age_days {
            Some(max_age_days) if now.0 - issued.0 > u64::from(max_age_days) * DAY => {
                Err(Rejection::CollateralTooOld { item, issued, max_age_days, now })
            }
            _ => Ok(()),
        }
    }
}

/// What is demanded of a TD. The default takes production TDs on platforms that are up to date and lists no measurement.
///
/// A list that is absent is not judged; an empty one refuses every value. Measurements are 48 bytes in hexadecimal, flags a
/// number like `"0x0000000010000000"`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct TdxPolicy {
    /// Statuses of the TCB that are taken. A revoked one never is.
    pub tcb_statuses: BTreeSet<TcbStatus>,
    /// How old collateral may be.
    pub collateral: CollateralAge,
    /// The least TCB evaluation data number of the collateral: keeps collateral of before a TCB recovery out.
    pub minimum_tcb_evaluation: u32,
    /// The least TEE_TCB_SVN, byte by byte, at launch and now.
    pub minimum_tee_tcb_svn: Option<TcbSvn>,
    /// Take TDs under debug or profiling, whose host reads their memory.
    pub danger_debug: bool,
    /// Take TDs without SEPT_VE_DISABLE, which their host can make run on memory that it took away.
    pub danger_sept_ve: bool,
    /// Attribute bits that must be set; SEPT_VE_DISABLE is among them whatever this says. Default: none besides.
    pub attributes_required: Flags,
    /// Attribute bits that may be set besides. Default: ICSSD, LASS, PKS; not MIGRATABLE, SERVTD_EXT, KL, TPA, PERFMON.
    pub attributes_allowed: Flags,
    /// XFAM bits that must be set. Default: x87 and SSE, as in every TD.
    pub xfam_required: Flags,
    /// XFAM bits that may be set besides. Default: all that TDX modules offer.
    pub xfam_allowed: Flags,
    /// Measurements of TDX modules.
    pub mr_seam: Option<BTreeSet<Measurement>>,
    /// Signers of TDX modules; collateral checks them too.
    pub mr_signer_seam: Option<BTreeSet<Measurement>>,
    /// Initial contents of the TD: its firmware.
    pub mr_td: Option<BTreeSet<Measurement>>,
    /// Firmware configuration.
    pub rtmr0: Option<BTreeSet<Measurement>>,
    /// What the firmware loaded: boot loader, kernel.
    pub rtmr1: Option<BTreeSet<Measurement>>,
    /// What the boot loader or the kernel's stub measured: command line, initramfs.
    pub rtmr2: Option<BTreeSet<Measurement>>,
    /// What was extended at run time.
    pub rtmr3: Option<BTreeSet<Measurement>>,
    /// MRCONFIGID.
    pub mr_config_id: Option<BTreeSet<Measurement>>,
    /// MROWNER.
    pub mr_owner: Option<BTreeSet<Measurement>>,
    /// MROWNERCONFIG.
    pub mr_owner_config: Option<BTreeSet<Measurement>>,
    /// Hashes of service TDs, such as migration TDs. Default: zero alone, which is none bound.
    pub mr_service_td: BTreeSet<Measurement>,
    /// Roots beside Intel's own, PEM: whoever holds their keys can forge quotes.
    pub danger_roots: Vec<String>,
}

/// x87 and SSE state (TDX Module specification, XFAM_FIXED1).
const XFAM_ALWAYS: u64 = 0x3;
/// What modules offer (XFAM_FIXED0), and APX.
const XFAM_OFFERED: u64 = 0x6dbe7 | 1 << 19;

impl Default for TdxPolicy {
    fn default() -> Self {
        Self {
            tcb_statuses: [TcbStatus::UpToDate].into(),
            collateral: CollateralAge::default(),
            minimum_tcb_evaluation: 0,
            minimum_tee_tcb_svn: None,
            danger_debug: false,
            danger_sept_ve: false,
            attributes_required: Flags(0),
            attributes_allowed: Flags(attributes::ICSSD | attributes::LASS | attributes::PKS),
            xfam_required: Flags(XFAM_ALWAYS),
            xfam_allowed: Flags(XFAM_OFFERED),
            mr_seam: None,
            mr_signer_seam: None,
            mr_td: None,
            rtmr0: None,
            rtmr1: None,
            rtmr2: None,
            rtmr3: None,
            mr_config_id: None,
            mr_owner: None,
            mr_owner_config: None,
            mr_service_td: [Measurement::ZERO].into(),
            danger_roots: Vec::new(),
        }
    }
}

/// A measurement that a policy may list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MeasurementField {
    /// MRSEAM.
    MrSeam,
    /// MRSIGNERSEAM.
    MrSignerSeam,
    /// MRTD.
    MrTd,
    /// RTMR 0 to 3.
    Rtmr(crate::Rtmr),
    /// MRCONFIGID.
    MrConfigId,
    /// MROWNER.
    MrOwner,
    /// MROWNERCONFIG.
    MrOwnerConfig,
    /// MRSERVICETD.
    MrServiceTd,
    /// Hash of the service TDs that were bound when the TD was made.
    InitServiceTd,
    /// Hash of the service TDs that are bound now.
    CurrentServiceTd,
}

impl MeasurementField {
    pub(crate) fn code(self) -> Code {
        match self {
            Self::MrSeam | Self::MrSignerSeam => Code::TdxModule,
            Self::MrTd => Code::TdxMeasurement,
            Self::Rtmr(_) => Code::TdxRtmr,
            Self::MrConfigId | Self::MrOwner | Self::MrOwnerConfig => Code::TdxConfigId,
            Self::MrServiceTd | Self::InitServiceTd | Self::CurrentServiceTd => Code::TdxServiceTd,
        }
    }
}

impl fmt::Display for MeasurementField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MrSeam => f.write_str("MRSEAM"),
            Self::MrSignerSeam => f.write_str("MRSIGNERSEAM"),
            Self::MrTd => f.write_str("MRTD"),
            Self::Rtmr(rtmr) => write!(f, "{rtmr}"),
            Self::MrConfigId => f.write_str("MRCONFIGID"),
            Self::MrOwner => f.write_str("MROWNER"),
            Self::MrOwnerConfig => f.write_str("MROWNERCONFIG"),
            Self::MrServiceTd => f.write_str("MRSERVICETD"),
            Self::InitServiceTd => f.write_str("initial service TD hash"),
            Self::CurrentServiceTd => f.write_str("current service TD hash"),
        }
    }
}

/// Proof that a quote satisfies a policy; [`TdxPolicy::check`] alone makes it.
#[derive(Clone, Debug)]
pub struct PolicySatisfied(());

impl TdxPolicy {
    /// The roots of [`TdxPolicy::danger_roots`].
    pub fn other_roots(&self) -> Result<Vec<Root>, RootError> {
        let root = |pem: &String| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| RootError::Der)?;
            Root::danger_other_root(&der)
        };
        self.danger_roots.iter().map(root).collect()
    }

    /// Judges the TD first, then the platform's TCB; a quote that was verified without collateral is refused at the end.
    pub fn check(&self, proven: &TdxProven) -> Result<PolicySatisfied, Rejection> {
        self.check_flags(proven)?;
        self.check_measurements(proven)?;
        let tcb = proven.tcb().ok_or(Rejection::CollateralMissing { fmspc: proven.pck().fmspc })?;
        self.check_tcb(tcb)?;
        Ok(PolicySatisfied(()))
    }

    /// Attribute bits that must and that may be set, those of debugging apart.
    pub fn attributes(&self) -> (Flags, Flags) {
        let Flags(required) = self.attributes_required;
        let Flags(allowed) = self.attributes_allowed;
        match self.danger_sept_ve {
            // Neither is demanded of a TD then, and it may still be the good one.
            true => (Flags(required), Flags(allowed | attributes::SEPT_VE_DISABLE)),
            false => (Flags(required | attributes::SEPT_VE_DISABLE), Flags(allowed)),
        }
    }

    fn check_flags(&self, proven: &TdxProven) -> Result<(), Rejection> {
        let body = proven.body();
        let seen = body.td_attributes;
        if seen.0 & attributes::UNDER_DEBUG != 0 && !self.danger_debug {
            return Err(Rejection::Debug { seen });
        }
        let (required, allowed) = self.attributes();
        if !fits(seen.0 & !attributes::UNDER_DEBUG, required, allowed) {
            return Err(Rejection::Attributes { seen, required, allowed });
        }
        let (seen, required, allowed) = (body.xfam, self.xfam_required, self.xfam_allowed);
        if !fits(seen.0, required, allowed) {
            return Err(Rejection::Xfam { seen, required, allowed });
        }
        Ok(())
    }

    fn check_measurements(&self, proven: &TdxProven) -> Result<(), Rejection> {
        use MeasurementField as Field;
        let body = proven.body();
        let one = |field, seen: Measurement, wanted: Option<&BTreeSet<Measurement>>| match wanted {
            Some(wanted) if !wanted.contains(&seen) => {
                Err(Rejection::Measurement { field, seen, wanted: wanted.clone() })
            }
            _ => Ok(()),
        };
        let td15 = body.td15.as_ref();
        let service = td15.map_or(Measurement::ZERO, |td15| td15.mr_service_td);
        one(Field::MrServiceTd, service, Some(&self.mr_service_td))?;
        if let Some(service) = td15.and_then(|td15| td15.service_tds.as_ref()) {
            one(Field::InitServiceTd, service.init_hash, Some(&self.mr_service_td))?;
            one(Field::CurrentServiceTd, service.current_hash, Some(&self.mr_service_td))?;
        }
        one(Field::MrSeam, body.mr_seam, self.mr_seam.as_ref())?;
        one(Field::MrSignerSeam, body.mr_signer_seam, self.mr_signer_seam.as_ref())?;
        if let Some(wanted) = self.minimum_tee_tcb_svn {
            let mut seen = [Some(body.tee_tcb_svn), td15.map(|td15| td15.tee_tcb_svn2)].into_iter().flatten();
            if let Some(seen) = seen.find(|seen| !seen.reaches(&wanted)) {
                return Err(Rejection::TeeTcbSvn { seen, wanted });
            }
        }
        one(Field::MrTd, body.mr_td, self.mr_td.as_ref())?;
        one(Field::MrConfigId, body.mr_config_id, self.mr_config_id.as_ref())?;
        one(Field::MrOwner, body.mr_owner, self.mr_owner.as_ref())?;
        one(Field::MrOwnerConfig, body.mr_owner_config, self.mr_owner_config.as_ref())?;
        let listed = [&self.rtmr0, &self.rtmr1, &self.rtmr2, &self.rtmr3];
        for ((rtmr, seen), wanted) in crate::Rtmr::ALL.into_iter().zip(body.rtmr).zip(listed) {
            one(Field::Rtmr(rtmr), seen, wanted.as_ref())?;
        }
        Ok(())
    }

    fn check_tcb(&self, tcb: &Tcb) -> Result<(), Rejection> {
        if tcb.status == TcbStatus::Revoked || !self.tcb_statuses.contains(&tcb.status) {
            return Err(Rejection::TcbStatus {
                seen: tcb.status,
                wanted: self.tcb_statuses.clone(),
                advisories: tcb.advisories.clone(),
                shortfall: tcb.shortfall,
            });
        }
        let (seen, wanted) = (tcb.evaluation_number, self.minimum_tcb_evaluation);
        if seen < wanted {
            return Err(Rejection::EvaluationNumber { seen, wanted });
        }
        Ok(())
    }
}

fn fits(seen: u64, required: Flags, allowed: Flags) -> bool {
    seen & required.0 == required.0 && seen & !(allowed.0 | required.0) == 0
}
