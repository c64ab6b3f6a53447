//! Nodes in stock mode: an image whose configuration names a stock key broker, and a root that was encrypted on the host.

use anyhow::{Context as _, Result, ensure};
use ccnode_evidence::Secret;
use ccnode_protocol::jwe::seal_direct;
use ccnode_test_broker::Broker;
use ccnode_vm_harness::Story;
use ccnode_vm_harness::run::artefact;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::node::Node;
use crate::stage::{Built, Stage, program, target_init, test_recipe};

/// The resource that the image pins.
pub const PATH: &str = "default/28632274-8c8a-493f-835b-da802e1c576b/root";
/// What the resource of a file holds.
pub const KUBECONFIG: &str = "a kubeconfig of the broker";
const KEY: [u8; 32] = [0x5c; 32];
const PASSPHRASE: &str = "the passphrase in the token";

/// A broker and a node that goes with it, switched off.
pub struct Stock {
    /// The broker.
    pub broker: Broker,
    /// The node.
    pub node: Node,
}

impl Stock {
    /// Builds the image for a new broker and gives it a root whose clevis token is for the resource `token`.
    ///
    /// # Errors
    /// When a build or a tool fails.
    pub fn new(story: &Story, require: &str, token: &str) -> Result<Self> {
        let stage = Stage::get()?;
        let broker = Broker::start(&["10.0.2.100"]);
        broker.store(PATH, resource().as_bytes());
        broker.store("default/node-1/kubeconfig", KUBECONFIG.as_bytes());
        let image = build(story, &broker, require)?;
        let node = Node::new(story, &image, &stage.tpms.template("a")?)?;
        encrypt_root(story, &node, token)?;
        Ok(Self { broker, node })
    }
}

fn resource() -> String {
    use data_encoding::{BASE64, BASE64URL_NOPAD};
    BASE64.encode(json!({"key_type": "oct", "key": BASE64URL_NOPAD.encode(&KEY)}).to_string().as_bytes())
}

fn build(story: &Story, broker: &Broker, require: &str) -> Result<Built> {
    // One tree for all of these images: only node.toml and the CA differ.
    let recipe = test_recipe("1", &Stage::get()?.keys)?;
    let recipe = recipe.parent().context("a recipe lies in a folder")?;
    let own = story.path("recipe");
    run(Command::new("cp").arg("-a").arg(recipe).arg(&own), b"")?;
    fs::write(own.join("node.toml"), config(require))?;
    let ca = story.path("broker-ca.pem");
    fs::write(&ca, broker.ca())?;
    let out = story.path("image");
    let mut build = Command::new(program("ccnode")?);
    build.args(["image", "build"]).arg(own.join("recipe.toml")).arg("-o").arg(&out);
    build.arg("--init").arg(artefact(target_init(), "make init")?).arg("--ca").arg(&ca);
    run(&mut build, b"")?;
    Ok(Built { dir: out })
}

fn config(require: &str) -> String {
    format!(
        r#"mode = "stock"
[service]
urls = ["https://10.0.2.100"]
ca = ["/etc/ccnode/ca.pem"]
deadline = "30s"
[disk]
serial = "ccnode-root"
root = "root"
[stock]
{require}
key = "kbs:///{PATH}"
files = [{{ resource = "kbs:///default/node-1/kubeconfig", path = "/run/ccnode/broker/kubeconfig" }}]
"#
    )
}

/// Puts the image's own tree, encrypted, where the blank root is.
fn encrypt_root(story: &Story, node: &Node, token: &str) -> Result<()> {
    let (source, root) = (node.disk.partition("root-source")?, node.disk.partition("root")?);
    let (file, first, second) = (story.path("root"), story.path("first"), story.path("second"));
    node.disk.dump(&source, &file)?;
    fs::OpenOptions::new().write(true).open(&file)?.set_len(root.len)?;
    fs::write(&first, "first")?;
    fs::write(&second, PASSPHRASE)?;
    let cryptsetup = |args: &[&str], paths: &[&Path], input: &[u8]| {
        run(Command::new("cryptsetup").args(args).args(paths), input)
    };
    let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "-q"];
    let first = first.to_string_lossy().into_owned();
    let encrypt =
        ["reencrypt", "--encrypt", "--type", "luks2", "--disable-locks", "--reduce-device-size", "32M"];
    cryptsetup(&[&encrypt[..], &cheap, &["--key-file", &first]].concat(), &[&file], b"")?;
    let add = [&["luksAddKey", "--disable-locks", "--key-file", &first][..], &cheap].concat();
    cryptsetup(&add, &[&file, &second], b"")?;
    cryptsetup(&["token", "import", "--disable-locks"], &[&file], clevis(token)?.as_bytes())?;
    node.disk.load(&root, &file)
}

/// A token as `clevis luks bind` leaves it. The servers in it are a lie.
fn clevis(path: &str) -> Result<String> {
    let servers = json!([{"url": "https://10.0.2.66", "cert": "theirs"}]);
    let Value::Object(claims) = json!({"clevis": {"pin": "trustee", "path": path, "servers": servers}})
    else {
        anyhow::bail!("an object");
    };
    let jwe = seal_direct(&Secret::new(KEY), claims, PASSPHRASE.as_bytes())?;
    let parts: Vec<&str> = jwe.split('.').collect();
    let [protected, _, iv, ciphertext, tag] = parts.as_slice() else { anyhow::bail!("five parts") };
    let jwe =
        json!({"protected": protected, "encrypted_key": "", "iv": iv, "ciphertext": ciphertext, "tag": tag});
    Ok(json!({"type": "clevis", "keyslots": ["1"], "jwe": jwe}).to_string())
}

fn run(command: &mut Command, input: &[u8]) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("a standard input")?.write_all(input)?;
    ensure!(child.wait()?.success(), "{command:?} failed");
    Ok(())
}
