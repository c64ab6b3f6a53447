//! What this machine has to prove itself by: looked for once the early modules are loaded, the strongest first.

use super::{Boot, blocking};
use crate::prover::imds::Imds;
use crate::prover::{Azure, Hardware, ProofError, Reports, beside};
use crate::refusal::{Coded, Refusal};
use ccnode_cvm::{Cvm, Places};
use ccnode_evidence::Code;
use ccnode_tpm_device::{DeviceError, DeviceHandle, Voucher};
use nix::mount::{MsFlags, mount};
use std::path::Path;
use std::sync::Arc;

const CONFIGFS: &str = "/sys/kernel/config";

impl Coded for DeviceError {
    fn code(&self) -> Code {
        Self::code(self)
    }
}

impl Boot {
    /// Hardware reports by the kernel, else by Azure's paravisor; `None` on a machine that has a TPM alone.
    ///
    /// Where they name the TPM's endorsement key, the TPM must have that one.
    pub(super) async fn hardware(
        &mut self,
        device: Option<&DeviceHandle>,
    ) -> Result<Option<Hardware>, Refusal> {
        let cvm = blocking(|| {
            mount_configfs();
            Cvm::detect(&Places::default())
        });
        let Some(cvm) = cvm.await?? else {
            let Some(device) = device else { return Ok(None) };
            let azure = self.tpm(Azure::find(device, Imds::default())).await;
            return Ok(azure.map_err(ProofError::from)?.map(Hardware::Azure));
        };
        let reports: Arc<dyn Reports> = Arc::new(cvm);
        let manifest = match device {
            Some(_) => beside(&reports, |reports| reports.manifest()).await?,
            None => None,
        };
        if let (Some(device), Some(manifest)) = (device, &manifest) {
            self.tpm(device.vouch(Voucher::Manifest(manifest.clone()))).await?;
        }
        Ok(Some(Hardware::Cvm { reports, manifest }))
    }
}

/// The words for the console.
pub(super) fn named(device: bool, hardware: Option<&Hardware>) -> String {
    let reports = match hardware {
        Some(hardware) if hardware.is_svsm() => Some(format!("{} reports of an SVSM", hardware.kind())),
        Some(hardware) => Some(format!("{} reports", hardware.kind())),
        None => None,
    };
    let tpm = device.then(|| "TPM".to_owned());
    tpm.into_iter().chain(reports).collect::<Vec<_>>().join(", ")
}

/// A kernel without configfs has no reports, which shows soon enough.
fn mount_configfs() {
    if Path::new(CONFIGFS).exists() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        // Where it is mounted already, that is as good.
        let _ = mount(Some("configfs"), CONFIGFS, Some("configfs"), flags, None::<&str>);
    }
}
