//! Cap: what a second release of this boot would need is closed once the grants are in memory, and before any block device
//! is opened.

use super::{Attested, Boot, blocking, layout};
use crate::console::Step;
use crate::last;
use crate::prover::Hardware;
use crate::refusal::Refusal;
use ccnode_cvm::cap_digest;
use ccnode_evidence::{Code, SecretBytes};
use ccnode_protocol::grants::{RootGrant, VolumeAction, VolumeGrant};
use ccnode_tpm_device::DeviceHandle;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// No later evidence of this boot gets a key: disks may be opened.
pub struct Capped {
    pub(super) attested: Attested,
    /// The TPM's share of the randomness of volume keys, where some are to be made and there is a TPM.
    pub(super) random: Option<SecretBytes>,
}

/// What caps this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cap {
    /// PCR 15 of the TPM that proved itself.
    Pcr15,
    /// RTMR 3 of a TDX guest without a TPM.
    Rtmr3,
    /// The service's memory: one release for the REPORT_ID of this SNP guest, which a guest keeps until it ends.
    ReportId,
    /// Nothing: a TDX guest whose kernel can't extend a register. It never gets a key that outlives it.
    Nothing,
}

impl Cap {
    /// What there is in stock mode: what can be closed here is, and no service remembers a boot.
    pub(super) fn of_stock(tpm: bool, hardware: Option<&Hardware>) -> Self {
        match hardware {
            _ if tpm => Self::Pcr15,
            Some(Hardware::Cvm { reports, .. }) if reports.supports_runtime_register().is_some() => {
                Self::Rtmr3
            }
            _ => Self::Nothing,
        }
    }

    /// What there is, by what proved itself.
    fn of(tpm: bool, hardware: Option<&Hardware>) -> Result<Self, Refusal> {
        match hardware {
            _ if tpm => Ok(Self::Pcr15),
            Some(Hardware::Cvm { reports, .. }) if reports.supports_runtime_register().is_some() => {
                Ok(Self::Rtmr3)
            }
            Some(hardware) if hardware.kind() == ccnode_evidence::EvidenceKind::Snp => Ok(Self::ReportId),
            Some(_) => Ok(Self::Nothing),
            None => Err(Refusal::new(Code::NodeInternal, "nothing has proved itself")),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Pcr15 => "PCR 15 closed",
            Self::Rtmr3 => "RTMR 3 extended",
            Self::ReportId => "by the service: one release for this REPORT_ID",
            Self::Nothing => "none: this kernel extends no register; nothing that persists is opened",
        }
    }

    /// Only a closed PCR lets a boot have a key that another boot has, too.
    fn suits(self, root: &RootGrant) -> bool {
        match root {
            RootGrant::Volume(_) => self == Self::Pcr15,
            RootGrant::Ephemeral { .. } => true,
        }
    }
}

impl Boot {
    /// Closes what this machine has to close.
    pub async fn cap(&mut self, attested: Attested) -> Result<Capped, Refusal> {
        let since = Instant::now();
        self.begin(Step::Cap, None);
        let cap = Cap::of(attested.sent.tpm, attested.hardware.as_ref())?;
        self.close(cap, attested.device.as_ref(), attested.hardware.as_ref()).await?;
        self.status.cap = Some(cap);
        // Only now: a serial port that stands still must not keep the node uncapped with its grants in memory.
        for warning in &self.status.warnings {
            self.console.warn(Step::Attest, warning);
        }
        self.console.ok(Step::Attest, &attested.words, attested.ms);
        if !cap.suits(&attested.outcome.grants.root) {
            let detail = "a volume that persists, for a boot whose TPM did not prove itself";
            return Err(Refusal::new(Code::ServiceGarbage, detail));
        }
        layout::fits(attested.cmdline.layout, attested.sent, &attested.outcome.grants.root)?;
        let grants = &attested.outcome.grants;
        let opens = |volume: &VolumeGrant| matches!(volume.action, VolumeAction::Open { .. });
        let makes_key = grants.volume().is_none() || !grants.all_volumes().all(opens);
        let random = match &attested.device {
            Some(device) if makes_key && attested.sent.tpm => Some(self.tpm(device.random(32)).await?),
            _ => None,
        };
        self.done(Step::Cap, since, cap.words());
        Ok(Capped { attested, random })
    }

    /// A TPM that is there is closed, also where it did not prove itself: nobody should ask it later.
    pub(super) async fn close(
        &mut self,
        cap: Cap,
        device: Option<&DeviceHandle>,
        hardware: Option<&Hardware>,
    ) -> Result<(), Refusal> {
        if let Some(device) = device {
            self.tpm(device.cap()).await?;
        }
        if let (Cap::Rtmr3, Some(Hardware::Cvm { reports, .. })) = (cap, hardware) {
            let reports = Arc::clone(reports);
            let extended = blocking(move || {
                reports.supports_runtime_register().map(|register| register.extend(&cap_digest()))
            });
            let none = || Refusal::new(Code::NodeInternal, "the register is gone");
            extended.await?.ok_or_else(none)??;
        }
        last::set_capped();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Secret;

    #[test]
    fn t17_without_a_closed_pcr_nothing_persists() {
        let ephemeral = RootGrant::Ephemeral { entropy: Secret::new([1; 32]) };
        let volume: RootGrant = serde_json::from_str(
            r#"{"id":"v","uuid":"u","generation":1,"unlock-key":"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s",
                "action":{"kind":"open","header-digest":"0000000000000000000000000000000000000000000000000000000000000000",
                "populated-from":"0000000000000000000000000000000000000000000000000000000000000000"}}"#,
        )
        .unwrap();
        for cap in [Cap::Pcr15, Cap::Rtmr3, Cap::ReportId, Cap::Nothing] {
            assert!(cap.suits(&ephemeral), "{cap:?}");
            assert_eq!(cap.suits(&volume), cap == Cap::Pcr15, "{cap:?}");
        }
    }

    #[test]
    fn a_boot_that_proved_nothing_has_no_cap() {
        assert!(Cap::of(false, None).is_err());
        assert_eq!(Cap::of(true, None).unwrap(), Cap::Pcr15);
    }
}
