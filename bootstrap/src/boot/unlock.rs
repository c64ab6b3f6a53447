//! Unlock: root and volumes for data are opened, after they were made where the grants say so, and measured.

use super::data::{Given, given};
use super::{Attested, Boot, Capped, blocking, deadline, millis};
use crate::config::{Config, DIR};
use crate::console::{Step, now_ms};
use crate::disk::{Partitions, Places};
use crate::handover::SYSROOT;
use crate::provision::KubeletKey;
use crate::refusal::Refusal;
use crate::unlock::Rules;
use crate::{fill, modules, rotation, state, unlock};
use ccnode_attest_client::{Client, ClientError, Outcome, Retry};
use ccnode_evidence::{Code, DataName, Layout, PcrIndex, SecretBytes, Sha256Digest};
use ccnode_luks_header::verity::RootHash;
use ccnode_luks_header::{Expected, Integrity};
use ccnode_luks_volume::{Name, Opened, UnlockKey};
use ccnode_protocol::NodeName;
use ccnode_protocol::grants::{
    Certificate, CertificateRequest, Cluster, Rotation, VolumeAction, VolumeGrant,
};
use ccnode_tpm_device::DeviceHandle;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// Where the volume of a verified root is mounted.
const VAR: &str = "/sysroot/var";

/// Every volume is mapped as judged, measured into PCR 15, and mounted.
pub struct Unlocked {
    pub(super) config: Config,
    pub(super) device: Option<DeviceHandle>,
    pub(super) node: NodeName,
    pub(super) cluster: Cluster,
    pub(super) key: KubeletKey,
    pub(super) certificate: Pending,
}

/// A certificate that the service makes while disks are opened; it is worth nothing without a root to use it.
pub(super) struct Pending {
    pub(super) task: JoinHandle<Result<Certificate, ClientError>>,
    pub(super) retries: UnboundedReceiver<Retry>,
}

/// What opening the root, or a volume below it, takes, first boot or not.
pub(super) struct Root {
    pub(super) partitions: Partitions,
    pub(super) name: Name,
    pub(super) device: Option<DeviceHandle>,
    pub(super) hash: RootHash,
    pub(super) holds: Holds,
    pub(super) integrity: Integrity,
}

/// What a volume is for.
pub(super) enum Holds {
    /// The root, or what of it changes.
    Root(Layout),
    /// Data, mounted there.
    Data(PathBuf),
}

impl Root {
    /// Where the volume is mounted: all of the root, or what of it changes.
    pub(super) fn at(&self) -> &Path {
        match &self.holds {
            Holds::Root(Layout::LuksRoot | Layout::Ephemeral) => Path::new(SYSROOT),
            Holds::Root(Layout::VerityRoot) => Path::new(VAR),
            Holds::Data(at) => at,
        }
    }

    /// What the volume is on record as filled from, where it is this image's.
    pub(super) fn populated_from(&self) -> Sha256Digest {
        match self.holds {
            Holds::Root(layout) => layout.populated_from(Sha256Digest(self.hash.0)),
            Holds::Data(_) => DataName::populated_from(),
        }
    }
}

impl Boot {
    /// Loads the block drivers, finds the partitions; makes or judges, opens, measures and mounts one volume after the other.
    pub async fn unlock(&mut self, capped: Capped) -> Result<Unlocked, Refusal> {
        let Capped { attested, random } = capped;
        let Attested { config, cmdline, device, mut client, outcome, key, .. } = attested;
        let Outcome { grants, csr } = outcome;
        self.begin(Step::Unlock, Some(&config));
        let service = grants.certificate.secret.clone();
        let request = CertificateRequest {
            grant: grants.certificate.id.clone(),
            secret: service.clone(),
            csr: csr.into(),
        };
        let certificate = ask(&client, request, &config);
        let given = given(&config.disk.data, &grants)?;
        self.load_late().await?;
        let root = Root {
            partitions: Places::default().wait(&config.disk, deadline(&config)).await?,
            name: name("root")?,
            device: device.clone(),
            hash: cmdline.root_hash,
            holds: Holds::Root(cmdline.layout),
            integrity: config.disk.integrity,
        };
        self.verified_root(&root).await?;
        let data = root.data(&config.disk.data)?;
        for (place, given) in std::iter::once(&root).chain(&data).zip(given) {
            match given {
                Given::Entropy(entropy) => {
                    self.ephemeral_root(&config, place, entropy, random.as_ref()).await?;
                }
                Given::Volume(volume) => {
                    self.volume(&config, &mut client, place, volume, random.as_ref()).await?;
                }
            }
        }
        self.swap(&root, &service).await?;
        Ok(Unlocked { config, device, node: grants.node, cluster: grants.cluster, key, certificate })
    }

    /// Opens the volume that is on record, or makes it.
    pub(super) async fn volume(
        &mut self,
        config: &Config,
        client: &mut Client,
        root: &Root,
        volume: &VolumeGrant,
        random: Option<&SecretBytes>,
    ) -> Result<(), Refusal> {
        let since = Instant::now();
        match &volume.action {
            VolumeAction::Open { header_digest, populated_from, rotation } => {
                if *populated_from != root.populated_from() {
                    let wanted = root.populated_from();
                    let detail = format!(
                        "volume {} was filled from {populated_from}, one of this image and its layout is from {wanted}",
                        volume.id
                    );
                    return Err(Refusal::new(Code::PopulatedFromOther, detail));
                }
                let rotation = rotation.as_deref();
                let (opened, header) =
                    self.open_again(config, root, volume, *header_digest, rotation).await?;
                if let Some(rotation) = rotation {
                    self.rotate(config, client, root, volume, rotation, header).await?;
                }
                self.mount(root, &opened).await?;
                self.done(Step::Unlock, since, "the volume as it is on record");
                Ok(())
            }
            VolumeAction::Format { .. } => self.first_boot(config, client, root, volume, random).await,
        }
    }

    pub(super) async fn load_late(&mut self) -> Result<(), Refusal> {
        let since = Instant::now();
        let list = modules::list(&Path::new(DIR).join("modules-late"))?;
        blocking(move || modules::load(&list)).await??;
        self.status.sums.modules_ms += millis(since);
        Ok(())
    }

    async fn open_again(
        &mut self,
        config: &Config,
        root: &Root,
        volume: &VolumeGrant,
        digest: Sha256Digest,
        rotation: Option<&Rotation>,
    ) -> Result<(Opened, Expected), Refusal> {
        let since = Instant::now();
        let (path, integrity, custodians) =
            (root.partitions.root.clone(), root.integrity, config.recovery.clone());
        let pending = rotation.and_then(|rotation| rotation.pending);
        let registered: Vec<_> = std::iter::once(digest).chain(pending).collect();
        let found = blocking(move || {
            let rules = Rules { integrity, custodians: custodians.as_ref() };
            let found = unlock::read_header(&unlock::open_partition(&path, false)?, &registered, rules)?;
            let mended = match found.mend() {
                Some(_) => unlock::mend(&unlock::open_partition(&path, true)?, &found)?,
                None => None,
            };
            Ok::<_, unlock::UnlockError>((found.into_header(), mended))
        });
        let (header, mended) = found.await??;
        if let Some(role) = mended {
            self.warn(
                Step::Unlock,
                format!("the {role} copy of the header was damaged: written anew from the other"),
            );
        }
        self.status.sums.luks_ms += millis(since);
        let key = rotation::key_of(&header, volume, rotation);
        Ok((self.open(root, header.clone(), &key).await?, header))
    }

    /// Maps the volume, and measures it before one byte of it is read, where there is a TPM to measure it into.
    pub(super) async fn open(
        &mut self,
        root: &Root,
        header: Expected,
        unlock_key: &UnlockKey,
    ) -> Result<Opened, Refusal> {
        let since = Instant::now();
        let Root { partitions, name, device, .. } = root;
        let (path, name, key) = (partitions.root.clone(), name.clone(), unlock_key.clone());
        let opened = blocking(move || unlock::open_volume(&header, &path, &key, &name)).await??;
        self.measured(device.as_ref(), opened, since).await
    }

    /// Measures what was opened since `since`, before one byte of it is read.
    pub(super) async fn measured(
        &mut self,
        device: Option<&DeviceHandle>,
        opened: Opened,
        since: Instant,
    ) -> Result<Opened, Refusal> {
        self.status.sums.luks_ms += millis(since);
        self.status.mapped = now_ms();
        if let Some(device) = device {
            let measurement = opened.measurement();
            let digest = Sha256Digest(measurement.digest);
            self.tpm(device.extend(PcrIndex::CAP, digest, &measurement.text)).await?;
        }
        Ok(opened)
    }

    /// Mounts it where it belongs.
    pub(super) async fn mount(&mut self, root: &Root, opened: &Opened) -> Result<(), Refusal> {
        let (path, at) = (opened.path(), root.at().to_owned());
        match root.holds {
            Holds::Root(_) => blocking(move || fill::mount_root(&path, &at)).await??,
            Holds::Data(_) => blocking(move || state::mount_data(&path, &at)).await??,
        }
        Ok(())
    }
}

/// Spends the certificate grant beside what follows.
fn ask(client: &Client, request: CertificateRequest, config: &Config) -> Pending {
    let (tell, retries) = unbounded_channel();
    let (mut client, deadline) = (client.clone(), deadline(config));
    let task = tokio::spawn(async move {
        let told = |retry| {
            // Nobody listening is no reason to stop.
            let _ = tell.send(retry);
        };
        client.certificate(&request, deadline, told).await
    });
    Pending { task, retries }
}

pub(super) fn unlock_key(volume: &VolumeGrant) -> UnlockKey {
    Zeroizing::new(*volume.unlock_key.expose())
}

pub(super) fn name(text: &str) -> Result<Name, Refusal> {
    text.parse().map_err(|_| Refusal::new(Code::NodeInternal, "a device name"))
}
