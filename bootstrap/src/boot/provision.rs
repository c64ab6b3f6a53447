//! Provision: the kubelet's certificate, and the files that the running system finds in `/run/ccnode`.

use super::{Boot, Unlocked, deadline};
use crate::config::Config;
use crate::console::Step;
use crate::provision;
use crate::refusal::Refusal;
use ccnode_evidence::Code;
use ccnode_protocol::grants::CertificateRequest;
use ccnode_tpm_device::DeviceHandle;
use ccnode_tpm_eventlog::own;
use std::path::Path;
use std::time::Instant;

/// The node has what it needs to join.
pub struct Provisioned {
    pub(super) config: Config,
    pub(super) device: DeviceHandle,
}

impl Boot {
    /// Trades the certificate grant, writes the credentials, names the host.
    pub async fn provision(&mut self, unlocked: Unlocked) -> Result<Provisioned, Refusal> {
        let since = Instant::now();
        let Unlocked { config, device, mut client, outcome, key } = unlocked;
        let grants = outcome.grants;
        let request = CertificateRequest {
            grant: grants.certificate.id,
            secret: grants.certificate.secret,
            csr: outcome.csr.into(),
        };
        let console = &self.console;
        let retry = |retry| console.retry(Step::Provision, &retry);
        let certificate = client.certificate(&request, deadline(&config), retry).await;
        let certificate = certificate.map_err(|e| Refusal::of_client(&e))?;
        provision::write(Path::new(provision::DIR), &grants.node, &key, &certificate, &grants.cluster)?;
        let internal = |e: std::io::Error| Refusal::new(Code::NodeInternal, format!("{}: {e}", own::PATH));
        crate::status::write_file(Path::new(own::PATH), &device.own_log(), 0o644).map_err(internal)?;
        // The root's init may choose another one; a node without a name of its own gets this.
        let _ = nix::unistd::sethostname(grants.node.as_str());
        self.done(Step::Provision, since, &format!("kubelet of {}", grants.cluster.server));
        Ok(Provisioned { config, device })
    }
}
