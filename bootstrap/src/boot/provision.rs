//! Provision: the kubelet's certificate, and the files that the running system finds in `/run/ccnode`.

use super::{Boot, Unlocked};
use crate::config::Config;
use crate::console::Step;
use crate::provision;
use crate::refusal::Refusal;
use ccnode_evidence::Code;
use ccnode_tpm_device::DeviceHandle;
use ccnode_tpm_eventlog::own;
use std::path::Path;
use std::time::Instant;

/// The node has what it needs to join.
pub struct Provisioned {
    pub(super) config: Config,
    pub(super) device: Option<DeviceHandle>,
}

impl Boot {
    /// Takes the certificate that was asked for, writes the credentials, names the host.
    pub async fn provision(&mut self, unlocked: Unlocked) -> Result<Provisioned, Refusal> {
        let since = Instant::now();
        let Unlocked { config, device, node, cluster, key, mut certificate } = unlocked;
        self.begin(Step::Provision, Some(&config));
        let lost = |_| Refusal::new(Code::NodeInternal, "the certificate's task was lost");
        let reply = certificate.task.await.map_err(lost)?;
        while let Ok(retry) = certificate.retries.try_recv() {
            self.console.retry(Step::Provision, &retry);
        }
        let reply = reply.map_err(|e| Refusal::of_client(&e))?;
        // Before the kubeconfig, for which the kubelet waits.
        self.user_files()?;
        provision::write(Path::new(provision::DIR), &node, &key, &reply, &cluster)?;
        if let Some(device) = &device {
            let internal =
                |e: std::io::Error| Refusal::new(Code::NodeInternal, format!("{}: {e}", own::PATH));
            crate::status::write_file(Path::new(own::PATH), &device.own_log(), 0o644).map_err(internal)?;
        }
        // The root's init may choose another one; a node without a name of its own gets this.
        let _ = nix::unistd::sethostname(node.as_str());
        self.done(Step::Provision, since, &format!("kubelet of {}", cluster.server));
        Ok(Provisioned { config, device })
    }
}
