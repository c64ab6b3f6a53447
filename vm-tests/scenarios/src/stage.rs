//! What is made once and shared by every scenario: keys of the service, TPMs, images, and a node that has joined.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::run::{artefact, target_dir};
use ccnode_vm_harness::{ApiServer, Ca, Image, Story, TpmMaker};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use crate::node::{Node, Outcome};
use crate::trust::{Trust, TrustDir};

/// The demo's recipe, from the project's root.
const RECIPE: &str = "images/recipes/debian-12-worker";
/// How a person makes what is missing.
const MAKE: &str = "make build init";

/// The shared artefacts.
#[derive(Debug)]
pub struct Stage {
    /// The service's keys, before any pool.
    pub keys: TrustDir,
    /// A maker of TPMs that the pools trust.
    pub tpms: TpmMaker,
    /// The image of the recipe.
    pub image: Built,
    ready: Mutex<Option<Ready>>,
}

/// A built image.
#[derive(Clone, Debug)]
pub struct Built {
    /// The folder that `ccnode image build` wrote.
    pub dir: PathBuf,
}

/// A node that has joined once, its service beside it, both switched off.
#[derive(Clone, Debug)]
pub struct Ready {
    node: Node,
    trust: TrustDir,
    /// The name that the service chose.
    pub name: String,
}

impl Built {
    /// The disk image, never to be booted itself.
    #[must_use]
    pub fn disk(&self) -> Image {
        Image::at(self.dir.join("disk.img"))
    }

    /// The UKI.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn uki(&self) -> Result<Vec<u8>> {
        fs::read(self.dir.join("uki.efi")).context("reading the UKI")
    }

    /// Path of the tuple.
    #[must_use]
    pub fn tuple(&self) -> PathBuf {
        self.dir.join("image-tuple.json")
    }
}

impl Stage {
    /// The stage of this process; built at the first call.
    ///
    /// # Errors
    /// When programs are missing or a build fails.
    pub fn get() -> Result<&'static Self> {
        static STAGE: OnceLock<Result<Stage, String>> = OnceLock::new();
        let made = STAGE.get_or_init(|| Self::make().map_err(|error| format!("{error:#}")));
        made.as_ref().map_err(|text| anyhow::anyhow!("{text}"))
    }

    fn make() -> Result<Self> {
        let dir = dir();
        fs::create_dir_all(&dir)?;
        let keys = TrustDir::init(dir.join("keys"))?;
        let tpms = TpmMaker::open(dir.join("tpms"))?;
        tpms.template("a")?;
        let image = build("1", &keys)?;
        Ok(Self { keys, tpms, image, ready: Mutex::new(None) })
    }

    /// A second version of the image, with another root: built at the first call.
    ///
    /// # Errors
    /// As [`Stage::get`].
    pub fn image_v2(&self) -> Result<Built> {
        build("2", &self.keys)
    }

    /// A service of its own for one scenario, with a pool `workers` that enrols by itself and knows the image; the
    /// platform is known too where an earlier boot recorded it.
    ///
    /// # Errors
    /// When the service or the tool fails.
    pub fn trust(&self, story: &Story) -> Result<(Trust, Cluster)> {
        self.service(story, &self.image, &["--rule", "danger-host-is-trusted"])
    }

    /// The same for any image, with these rules of the pool.
    ///
    /// # Errors
    /// When the service or the tool fails.
    pub fn service(&self, story: &Story, image: &Built, rules: &[&str]) -> Result<(Trust, Cluster)> {
        let trust = self.keys.copy_to(story.path("trust"))?.serve()?;
        let cluster = Cluster::start(trust.dir(), story.dir())?;
        let ek_root = story.path("ek-ca.pem");
        fs::write(&ek_root, self.tpms.ca_bundle_pem()?)?;
        let (ek_root, ca) = (
            format!("{}:hypervisor-vtpm", ek_root.display()),
            cluster.ca_file.to_string_lossy().into_owned(),
        );
        let pool = ["pool", "create", "workers", "--on-unknown", "enrol", "--ek-root", &ek_root];
        let api = ["--cluster-server", "https://10.0.2.101:6443", "--cluster-ca", &ca];
        trust.cli(&[&pool, rules, &api].concat())?;
        trust.cli(&["image", "register", &image.tuple().to_string_lossy()])?;
        Ok((trust, cluster))
    }

    /// A node that has joined, with its service running: a copy for this scenario of one first boot that all share.
    ///
    /// # Errors
    /// When that first boot fails.
    pub fn ready(&self, story: &Story) -> Result<(Node, Trust, Cluster, String)> {
        let mut made = self.ready.lock().map_err(|_| anyhow::anyhow!("the first boot panicked"))?;
        if made.is_none() {
            *made = Some(self.first_boot()?);
        }
        let ready = made.clone().context("no node")?;
        drop(made);
        let trust = ready.trust.copy_to(story.path("trust"))?.serve()?;
        let cluster = Cluster::start(trust.dir(), story.dir())?;
        Ok((ready.node.copy_to(story.dir())?, trust, cluster, ready.name))
    }

    fn first_boot(&self) -> Result<Ready> {
        let story = Story::begin("ready", dir().join("ready"))?;
        let (trust, cluster) = self.trust(&story)?;
        let mut node = Node::new(&story, &self.image, &self.tpms.template("a")?)?;
        self.know_platform(&story, &trust, &node)?;
        let outcome = node.boot(&story, "first", &trust, &cluster)?;
        let Outcome::Joined { name, .. } = outcome else {
            anyhow::bail!("the shared first boot did not join: {outcome:?}");
        };
        let trust_dir = trust.dir().clone();
        drop(trust);
        Ok(Ready { node, trust: trust_dir, name })
    }

    /// Registers the machine's platform as an administrator would: from the log of a refused boot, kept for later runs.
    ///
    /// # Errors
    /// When that boot is not refused for its platform.
    pub fn know_platform(&self, story: &Story, trust: &Trust, node: &Node) -> Result<()> {
        static TUPLE: Mutex<Option<PathBuf>> = Mutex::new(None);
        let mut known = TUPLE.lock().map_err(|_| anyhow::anyhow!("the platform's boot panicked"))?;
        if known.is_none() {
            let file = dir().join("platform-tuple.json");
            let cluster = Cluster::start(trust.dir(), story.dir())?;
            let mut probe = node.copy_to(&story.path("probe"))?;
            platform_of(story, &mut probe, trust, &cluster, &file)?;
            *known = Some(file);
        }
        allow_platform(trust, known.as_ref().context("no platform")?)
    }
}

/// Boots a node whose platform nobody knows, and records it in `file` as an administrator would; how that boot ended.
pub(crate) fn platform_of(
    story: &Story,
    node: &mut Node,
    trust: &Trust,
    cluster: &Cluster,
    file: &Path,
) -> Result<Outcome> {
    let outcome = node.boot(story, "unknown-platform", trust, cluster)?;
    ensure!(outcome.code() == Some("platform-unknown"), "an unknown platform was {outcome:?}");
    let id = trust.last_refusal()?.get("id").context("a refusal has an id")?.to_string();
    trust.cli(&[
        "platform",
        "record",
        "--refusal",
        &id,
        "--name",
        "qemu-q35-ovmf",
        "-o",
        &file.to_string_lossy(),
    ])?;
    Ok(outcome)
}

/// Registers a platform, and lets the pool take it with every image.
pub(crate) fn allow_platform(trust: &Trust, file: &Path) -> Result<()> {
    let platform = trust.cli(&["platform", "register", &file.to_string_lossy()])?;
    let images = trust.cli(&["image", "list"])?;
    let id = |value: &serde_json::Value| value.get("id").and_then(|v| v.as_str()).map(str::to_owned);
    let platform = id(&platform).context("a platform has an id")?;
    for image in images.as_array().into_iter().flatten() {
        let image = id(image).context("an image has an id")?;
        trust.cli(&["pool", "allow", "workers", "--platform", &platform, "--image", &image])?;
    }
    Ok(())
}

/// The API server of one scenario, which trusts the service's cluster CA.
#[derive(Debug)]
pub struct Cluster {
    /// The server.
    pub api: ApiServer,
    /// CA of its certificate.
    pub ca_file: PathBuf,
}

impl Cluster {
    /// Starts it. The CA lies in `dir`, and is the same for every start there.
    ///
    /// # Errors
    /// When a certificate can't be made.
    pub fn start(trust: &TrustDir, _dir: &Path) -> Result<Self> {
        let (cert, key) = (dir().join("api-ca.pem"), dir().join("api-ca.key"));
        static CA: Mutex<()> = Mutex::new(());
        let _one_at_a_time = CA.lock();
        let ca = match (fs::read_to_string(&cert), fs::read_to_string(&key)) {
            (Ok(cert), Ok(key)) if made_today(&dir().join("api-ca.pem")) => Ca::from_pem(&cert, &key)?,
            _ => {
                let ca = Ca::new("cluster of the scenarios")?;
                fs::write(&key, ca.key_pem())?;
                fs::write(&cert, ca.cert_pem())?;
                ca
            }
        };
        let api = ApiServer::start(&trust.cluster_ca_pem()?, &ca.server(&["10.0.2.101", "127.0.0.1"])?)?;
        Ok(Self { api, ca_file: cert })
    }
}

/// The harness's authorities are valid for a day.
fn made_today(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|age| age.as_secs() < 12 * 3600)
}

/// Where shared artefacts lie.
#[must_use]
pub fn dir() -> PathBuf {
    target_dir().join("stage")
}

/// The program of the initramfs, as it is shipped.
#[must_use]
pub fn target_init() -> PathBuf {
    target_dir().join("node/ccnode-init")
}

/// The project's root.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A program of the product, built beforehand; from the folder `CCNODE_PROGRAMS` where that has it.
///
/// # Errors
/// A skip that says how to build it.
pub fn program(name: &str) -> Result<PathBuf> {
    let given = std::env::var_os("CCNODE_PROGRAMS").map(|dir| PathBuf::from(dir).join(name));
    let path = given.filter(|path| path.exists()).unwrap_or_else(|| target_dir().join("debug").join(name));
    artefact(path, MAKE)
}

/// Builds the test image of that version; what is built already is reused by the builder.
fn build(version: &str, keys: &TrustDir) -> Result<Built> {
    let out = dir().join(format!("image-{version}"));
    build_recipe(&test_recipe(version, keys)?, out, keys, None)
}

/// Builds a recipe's image into `out`, with a date of its own for the tree where `epoch` says so.
pub(crate) fn build_recipe(
    recipe: &Path,
    out: PathBuf,
    keys: &TrustDir,
    epoch: Option<u32>,
) -> Result<Built> {
    let init = artefact(target_init(), MAKE)?;
    let mut build = Command::new(program("ccnode")?);
    build.args(["image", "build"]).arg(recipe).arg("-o").arg(&out);
    build.arg("--init").arg(init).arg("--ca").arg(keys.tls_ca());
    if let Some(epoch) = epoch {
        build.env("SOURCE_DATE_EPOCH", epoch.to_string());
    }
    ensure!(build.status()?.success(), "building {} failed", recipe.display());
    Ok(Built { dir: out })
}

/// The demo's recipe with the dev-only guest helper laid over it.
pub(crate) fn test_recipe(version: &str, keys: &TrustDir) -> Result<PathBuf> {
    let dir = dir().join(format!("recipe-{version}"));
    let _old = fs::remove_dir_all(&dir);
    run(Command::new("cp").arg("-a").arg(project().join(RECIPE)).arg(&dir))?;
    let overlay = dir.join("overlay");
    run(Command::new("cp").arg("-a").arg(project().join("vm-tests/guest/overlay/.")).arg(&overlay))?;
    let (helper, data) = (overlay.join("usr/lib/ccnode-guest"), overlay.join("usr/share/ccnode-guest"));
    fs::create_dir_all(&helper)?;
    fs::create_dir_all(&data)?;
    run(Command::new("strip").arg("-o").arg(helper.join("helper")).arg(program("ccnode-vm-guest")?))?;
    fs::copy(keys.tls_ca(), data.join("ca.pem"))?;
    fs::write(data.join("version"), version)?;

    let path = dir.join("recipe.toml");
    let mut recipe: toml::Table = fs::read_to_string(&path)?.parse()?;
    recipe.insert("version".into(), version.into());
    let root = recipe.get_mut("root").and_then(|r| r.as_table_mut()).context("a recipe has [root]")?;
    let mut add = |list: &str, values: &[&str]| {
        let list = root.entry(list).or_insert_with(|| toml::Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.extend(values.iter().map(|v| toml::Value::from(*v)));
        }
    };
    add("packages", &["libtss2-esys-3.0.2-0", "libtss2-tcti-device0", "libtss2-tctildr0"]);
    add("enable", &["ccnode-guest.service"]);
    fs::write(&path, toml::to_string(&recipe)?)?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed", command.get_program());
    Ok(())
}
