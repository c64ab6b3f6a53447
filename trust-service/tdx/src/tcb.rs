//! Which TCB level a platform reaches, as Intel's verification library judges it (its specification, section 4.1.2.5).

use crate::qe::QeIdentity;
use crate::tcb_info::{Components, ModuleIdentity, SvnLevel, TcbInfo, TcbLevel, svn_level};
use crate::{Flags, Measurement, Pck, QeFacts, Rejection, TcbSvn, TdBody};
use ccnode_evidence::UnixTime;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a platform's TCB, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcbStatus {
    /// Nothing is known against it.
    UpToDate,
    /// Software inside the TD must guard itself.
    SwHardeningNeeded,
    /// The platform must be configured otherwise.
    ConfigurationNeeded,
    /// Both of the above.
    ConfigurationAndSwHardeningNeeded,
    /// The TD was launched under an old module that was replaced since: a new launch would be up to date.
    TdRelaunchAdvised,
    /// As before, and the platform must be configured otherwise.
    TdRelaunchAdvisedConfigurationNeeded,
    /// Security updates are missing.
    OutOfDate,
    /// Security updates are missing, and the platform must be configured otherwise.
    OutOfDateConfigurationNeeded,
    /// The platform is below every level that Intel lists.
    #[serde(rename = "danger-no-matching-level")]
    NoMatchingLevel,
    /// Known to be compromised: never taken, whatever a policy says.
    Revoked,
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::NoMatchingLevel => "no matching TCB level",
            Self::Revoked => "Revoked",
        })
    }
}

impl TcbStatus {
    fn needs_configuration(self) -> bool {
        matches!(
            self,
            Self::ConfigurationNeeded
                | Self::ConfigurationAndSwHardeningNeeded
                | Self::OutOfDateConfigurationNeeded
        )
    }

    fn is_current(self) -> bool {
        matches!(
            self,
            Self::UpToDate
                | Self::SwHardeningNeeded
                | Self::ConfigurationNeeded
                | Self::ConfigurationAndSwHardeningNeeded
        )
    }

    /// The platform's status together with that of its TDX module or quoting enclave.
    fn with_component(self, component: Self) -> Self {
        match (component, self) {
            (Self::Revoked, _) | (_, Self::Revoked) => Self::Revoked,
            (Self::NoMatchingLevel, _) | (_, Self::NoMatchingLevel) => Self::NoMatchingLevel,
            (Self::UpToDate, platform) => platform,
            // Enclaves and modules are up to date or not: every other status of theirs counts as out of date.
            (_, platform) if platform.needs_configuration() => Self::OutOfDateConfigurationNeeded,
            (_, _) => Self::OutOfDate,
        }
    }

    /// The status at launch together with that of the module that runs now.
    fn with_current(self, current: Self) -> Self {
        match (self, current) {
            (_, Self::Revoked) => Self::Revoked,
            (_, Self::NoMatchingLevel) if self != Self::Revoked => Self::NoMatchingLevel,
            (Self::OutOfDate | Self::OutOfDateConfigurationNeeded, _) if current.is_current() => {
                if self.needs_configuration() || current.needs_configuration() {
                    Self::TdRelaunchAdvisedConfigurationNeeded
                } else {
                    Self::TdRelaunchAdvised
                }
            }
            (launch, _) => launch,
        }
    }
}

/// Which security version number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Svn {
    /// SGX TCB component, from 1 as Intel counts them.
    Sgx(u8),
    /// TDX TCB component, from 1.
    Tdx(u8),
    /// Provisioning certification enclave.
    Pce,
    /// TDX module.
    Module,
}

impl fmt::Display for Svn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sgx(n) => write!(f, "SGX component {n}"),
            Self::Tdx(n) => write!(f, "TDX component {n}"),
            Self::Pce => f.write_str("PCESVN"),
            Self::Module => f.write_str("the TDX module's ISVSVN"),
        }
    }
}

/// By what a platform misses the lowest level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shortfall {
    /// The number.
    pub svn: Svn,
    /// The platform's.
    pub seen: u16,
    /// The lowest level's.
    pub wanted: u16,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, and the lowest level asks for {}", self.svn, self.seen, self.wanted)
    }
}

/// What Intel's collateral says of the platform. [`crate::verify`] alone makes one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tcb {
    /// All of the following together.
    pub status: TcbStatus,
    /// Of the platform (microcode, SGX, PCE, TDX) at the TD's launch.
    pub platform: TcbStatus,
    /// Of the TDX module at the TD's launch; `None` for modules of before TDX 1.5.
    pub module: Option<TcbStatus>,
    /// Of the quoting enclave.
    pub qe: TcbStatus,
    /// Platform and module as they run now; `None` for a TD 1.0 body.
    pub current: Option<TcbStatus>,
    /// Security advisories that apply, each once.
    pub advisories: Vec<String>,
    /// The oldest date of the levels that were reached; `None` where none was.
    #[serde(skip)]
    pub date: Option<UnixTime>,
    /// The lower of the two evaluation data numbers: it grows with each TCB recovery.
    pub evaluation_number: u32,
    /// By what the platform misses the lowest level, where none matches.
    pub shortfall: Option<Shortfall>,
}

/// Why a TDX module is not one of the TCB info's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModuleError {
    /// No identity for its version.
    #[error("the TCB info knows no TDX module of version {version}")]
    Unknown {
        /// TEE_TCB_SVN, second byte.
        version: u8,
    },
    /// Another signer.
    #[error("MRSIGNERSEAM {seen}; {wanted} is due")]
    MrSigner {
        /// The module's.
        seen: Measurement,
        /// The TCB info's.
        wanted: Measurement,
    },
    /// Other attributes than the TCB info's, or bits that its mask leaves out.
    #[error("SEAMATTRIBUTES {seen}; {wanted} under mask {mask}, and zero elsewhere, is due")]
    Attributes {
        /// The module's.
        seen: Flags,
        /// The TCB info's.
        wanted: Flags,
        /// Bits that count.
        mask: Flags,
    },
}

/// Platform and module at one set of SVNs.
struct Level {
    platform: TcbStatus,
    module: Option<TcbStatus>,
    advisories: Vec<String>,
    date: Option<UnixTime>,
    shortfall: Option<Shortfall>,
}

impl Level {
    fn status(&self) -> TcbStatus {
        self.module.map_or(self.platform, |module| self.platform.with_component(module))
    }

    fn add(&mut self, level: &SvnLevel) {
        self.advisories.extend(level.advisory_ids.iter().cloned());
        self.date = self.date.min(Some(level.tcb_date.0));
    }
}

impl Tcb {
    pub(crate) fn judge(
        info: &TcbInfo,
        identity: &QeIdentity,
        pck: &Pck,
        body: &TdBody,
        qe: &QeFacts,
    ) -> Result<Self, Rejection> {
        let qe_level = identity.judge(qe).map_err(Rejection::QeIdentity)?;
        check_module(info, body).map_err(Rejection::Module)?;
        let mut launch = level(info, pck, &body.tee_tcb_svn).map_err(Rejection::Module)?;
        launch.add(qe_level);
        let qe = qe_level.tcb_status;
        let mut status = launch.status().with_component(qe);
        let mut current = None;
        if let Some(td15) = &body.td15 {
            let now = level(info, pck, &td15.tee_tcb_svn2).map_err(Rejection::Module)?;
            current = Some(now.status());
            status = status.with_current(now.status().with_component(qe));
            launch.advisories.extend(now.advisories);
            launch.shortfall = launch.shortfall.or(now.shortfall);
        }
        launch.advisories.sort();
        launch.advisories.dedup();
        Ok(Self {
            status,
            platform: launch.platform,
            module: launch.module,
            qe,
            current,
            advisories: launch.advisories,
            date: launch.date,
            evaluation_number: info.tcb_evaluation_data_number.min(identity.tcb_evaluation_data_number),
            shortfall: launch.shortfall,
        })
    }
}

/// The identity of a module's version; `None` for version 0, which the platform's levels cover.
fn identity<'a>(info: &'a TcbInfo, svn: &TcbSvn) -> Result<Option<&'a ModuleIdentity>, ModuleError> {
    let version = svn.module_version();
    if version == 0 {
        return Ok(None);
    }
    let id = format!("TDX_{version:02X}");
    let found = info.tdx_module_identities.iter().find(|identity| identity.id.eq_ignore_ascii_case(&id));
    found.map(Some).ok_or(ModuleError::Unknown { version })
}

/// Signer and attributes of the module that the TD was launched under.
fn check_module(info: &TcbInfo, body: &TdBody) -> Result<(), ModuleError> {
    let module = identity(info, &body.tee_tcb_svn)?.map_or(&info.tdx_module, |identity| &identity.module);
    let wanted = module.mr_signer();
    if body.mr_signer_seam != wanted {
        return Err(ModuleError::MrSigner { seen: body.mr_signer_seam, wanted });
    }
    let (wanted, mask) = module.attributes();
    let seen = body.seam_attributes;
    if seen.0 & mask.0 != wanted.0 & mask.0 || seen.0 & !mask.0 != 0 {
        return Err(ModuleError::Attributes { seen, wanted, mask });
    }
    Ok(())
}

fn level(info: &TcbInfo, pck: &Pck, svn: &TcbSvn) -> Result<Level, ModuleError> {
    let reached = info.tcb_levels.iter().find(|level| shortfall(&level.tcb, pck, svn).is_none());
    let mut out = match reached {
        Some(TcbLevel { tcb_status, advisory_ids, tcb_date, .. }) => Level {
            platform: *tcb_status,
            module: None,
            advisories: advisory_ids.clone(),
            date: Some(tcb_date.0),
            shortfall: None,
        },
        None => Level {
            platform: TcbStatus::NoMatchingLevel,
            module: None,
            advisories: Vec::new(),
            date: None,
            shortfall: info.tcb_levels.last().and_then(|lowest| shortfall(&lowest.tcb, pck, svn)),
        },
    };
    if let Some(identity) = identity(info, svn)? {
        let seen = u16::from(svn.module_svn());
        match svn_level(&identity.tcb_levels, seen) {
            Some(level) => {
                out.module = Some(level.tcb_status);
                out.add(level);
            }
            None => {
                out.module = Some(TcbStatus::NoMatchingLevel);
                out.date = None;
                let wanted = identity.tcb_levels.iter().map(|l| l.tcb.isvsvn).min().unwrap_or(u16::MAX);
                out.shortfall = out.shortfall.or(Some(Shortfall { svn: Svn::Module, seen, wanted }));
            }
        }
    }
    Ok(out)
}

/// The first number that is below the level's; `None`: the level is reached.
fn shortfall(level: &Components, pck: &Pck, svn: &TcbSvn) -> Option<Shortfall> {
    let short = |svn, seen: u16, wanted: u16| (seen < wanted).then_some(Shortfall { svn, seen, wanted });
    let sgx = (1..).zip(pck.sgx_components.iter().zip(&level.sgx));
    let sgx = sgx.filter_map(|(n, (seen, wanted))| short(Svn::Sgx(n), (*seen).into(), wanted.svn.into()));
    let pce = short(Svn::Pce, pck.pce_svn, level.pce_svn);
    // From version 1 on, the module's own two numbers are judged by its identity.
    let skip = if svn.module_version() > 0 { 2 } else { 0 };
    let tdx = (1..).zip(svn.0.iter().zip(&level.tdx)).skip(skip);
    let mut tdx = tdx.filter_map(|(n, (seen, wanted))| short(Svn::Tdx(n), (*seen).into(), wanted.svn.into()));
    sgx.chain(pce).next().or_else(|| tdx.next())
}
