//! `[stock]`: what a node asks of a stock key broker, and what it does without.

use ccnode_attest_client::stock::{KeyForm, SealedSecret, Signer};
use ccnode_evidence::Code;
use ccnode_protocol::ResourceUri;
use ccnode_protocol::jwe::SessionKeyKind;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Below which files of resources may be: a tmpfs that the root's init finds as it was left.
pub const RUN: &str = "/run/ccnode";
/// Names there that are ccnode-init's own.
const OURS: [&str; 4] = ["status.json", "eventlog", "resolv.conf", "user"];
/// More files are not a node's credentials.
const MAX_FILES: usize = 32;

/// What `ccnode/1` proves and a stock session can't; a name in `require` demands it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// The attestation key lives in the TPM of its certificate.
    Activation,
    /// The volume's header is the one on record.
    HeaderDigest,
    /// One release a boot; formatting and registering by one-time grants.
    Grant,
}

impl Requirement {
    /// Everything.
    pub const ALL: [Self; 3] = [Self::Activation, Self::HeaderDigest, Self::Grant];

    /// Its name in `require`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::HeaderDigest => "header-digest",
            Self::Grant => "grant",
        }
    }

    /// What it means that this is not proven, for the console.
    pub fn unproven(self) -> &'static str {
        match self {
            Self::Activation => {
                "not proven: activation. Nobody has checked that the attestation key lives in a genuine TPM: a program can pose as this node"
            }
            Self::HeaderDigest => {
                "not proven: header-digest. Nobody has the volume's header on record: an old state of the whole disk opens as well"
            }
            Self::Grant => {
                "not proven: grant. The broker gives its resources as often as its policy allows: also later in this boot"
            }
        }
    }
}

/// `[stock]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stock {
    /// What must be proven; all of it where the key is absent.
    #[serde(default = "all")]
    require: BTreeSet<Requirement>,
    /// The resource that opens the root.
    pub key: ResourceUri,
    /// What it holds.
    #[serde(default)]
    pub form: KeyForm,
    /// What the session's key is made of.
    #[serde(default)]
    pub session_key: SessionKeyKind,
    /// The resource with the public key by which sealed secrets must be signed.
    #[serde(default)]
    pub signer: Option<ResourceUri>,
    /// Resources that become files.
    #[serde(default)]
    pub files: Vec<StockFile>,
}

/// One file of `[stock] files`: `{resource, path}` or `{sealed, path}`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockFile {
    /// The resource that it holds.
    #[serde(default)]
    resource: Option<ResourceUri>,
    /// Or the sealed secret that points to it.
    #[serde(default)]
    sealed: Option<String>,
    /// Where it is written, below [`RUN`].
    pub path: PathBuf,
}

/// A file whose content is known by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The resource that it holds.
    pub resource: ResourceUri,
    /// The sealed secret that must bear the signer's name, where one is pinned.
    pub sealed: Option<(SealedSecret, Signer)>,
    /// Where it is written.
    pub path: PathBuf,
}

fn all() -> BTreeSet<Requirement> {
    Requirement::ALL.into()
}

/// Stock mode proves less than is demanded.
#[derive(Debug, thiserror::Error)]
#[error("[stock] require demands {}, which a stock session can't prove", list(.0))]
pub struct NotEnough(BTreeSet<Requirement>);

fn list(names: &BTreeSet<Requirement>) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

impl NotEnough {
    /// Its stable code.
    pub fn code(&self) -> Code {
        Code::StockNotEnough
    }
}

/// A configuration that demands nothing of what a stock session can't prove: whoever wrote it has said so. The steps of a stock
/// boot want this, so none is taken where it was not said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockPlan(Stock);

impl StockPlan {
    /// Goes on only where nothing is demanded.
    pub fn accept(stock: &Stock) -> Result<Self, NotEnough> {
        match stock.require.is_empty() {
            true => Ok(Self(stock.clone())),
            false => Err(NotEnough(stock.require.clone())),
        }
    }
}

impl std::ops::Deref for StockPlan {
    type Target = Stock;

    fn deref(&self) -> &Stock {
        &self.0
    }
}

impl Stock {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |file: &StockFile, why: &dyn fmt::Display| {
            format!("[stock] files, {}: {why}", file.path.display())
        };
        if self.files.len() > MAX_FILES {
            return Err(format!("[stock] has more than {MAX_FILES} files"));
        }
        let mut paths = BTreeSet::new();
        for file in &self.files {
            if !is_below_run(&file.path) {
                return Err(wrong(
                    file,
                    &format_args!("is no plain path below {RUN}, or one of ccnode-init's own"),
                ));
            }
            if !paths.insert(&file.path) {
                return Err(wrong(file, &"stands twice"));
            }
            file.wanted(self.signer.as_ref()).map_err(|e| wrong(file, &e))?;
        }
        let inside = |path: &&PathBuf| paths.iter().any(|other| other != path && other.starts_with(*path));
        match paths.iter().copied().find(inside) {
            Some(path) => Err(format!("[stock] files, {}: is a folder of another one", path.display())),
            None => Ok(()),
        }
    }

    /// The files, in their order.
    pub fn wanted(&self) -> Result<Vec<Wanted>, String> {
        self.files.iter().map(|file| file.wanted(self.signer.as_ref())).collect()
    }
}

impl StockFile {
    fn wanted(&self, signer: Option<&ResourceUri>) -> Result<Wanted, String> {
        let (resource, sealed) = match (&self.resource, &self.sealed) {
            (Some(resource), None) => (resource.clone(), None),
            (None, Some(text)) => {
                let sealed: SealedSecret = text.parse().map_err(|e| format!("{e}"))?;
                (sealed.resource().clone(), signer.map(|uri| (sealed, Signer(uri.clone()))))
            }
            _ => return Err("needs resource or sealed, and not both".to_owned()),
        };
        Ok(Wanted { resource, sealed, path: self.path.clone() })
    }
}

/// Whether each part of the path below [`RUN`] is plain, so that nothing climbs, hides or takes the place of what is ours.
fn is_below_run(path: &Path) -> bool {
    let Ok(rest) = path.strip_prefix(RUN) else { return false };
    let plain = |part: Component<'_>| {
        let Component::Normal(part) = part else { return false };
        let part = part.to_string_lossy();
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        part.len() <= 128 && !part.starts_with('.') && !part.ends_with(".part") && part.bytes().all(known)
    };
    let as_written = path.to_string_lossy() == format!("{RUN}/{}", rest.display());
    let ours = OURS.iter().any(|name| rest.starts_with(name));
    as_written && rest.components().count() > 0 && rest.components().all(plain) && !ours
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Mode};
    use super::*;

    const GOOD: &str = r#"
mode = "stock"
[service]
urls = ["https://10.0.2.100"]
ca = ["/etc/ccnode/ca.pem"]
deadline = "30s"
[disk]
serial = "ccnode-root"
root = "root"
[stock]
require = []
key = "kbs:///default/28632274-8c8a-493f-835b-da802e1c576b/root"
files = [{ resource = "kbs:///default/node-1/kubeconfig", path = "/run/ccnode/kubelet/kubeconfig" }]
"#;

    fn stock(text: &str) -> Result<Stock, String> {
        match Config::parse(text)?.mode {
            Mode::Stock(stock) => Ok(*stock),
            Mode::Ccnode { .. } => Err("ccnode/1".into()),
        }
    }

    fn with(old: &str, new: &str) -> Result<Stock, String> {
        assert!(GOOD.contains(old), "{old}");
        stock(&GOOD.replace(old, new))
    }

    #[test]
    fn a_stock_configuration_that_demands_nothing_is_a_plan() {
        let plan = StockPlan::accept(&stock(GOOD).unwrap()).unwrap();
        assert_eq!((plan.form, plan.session_key), (KeyForm::Jwk, SessionKeyKind::P256));
        let wanted = plan.wanted().unwrap();
        assert_eq!(
            (wanted.len(), wanted[0].resource.to_string().as_str()),
            (1, "kbs:///default/node-1/kubeconfig")
        );
        let more =
            with("require = []", "require = []\nform = \"confdata\"\nsession-key = \"P-521\"").unwrap();
        assert_eq!((more.form, more.session_key), (KeyForm::Confdata, SessionKeyKind::P521));
    }

    #[test]
    fn stock_mode_alone_is_refused_and_names_what_it_can_not_prove() {
        let demands = |new: &str| StockPlan::accept(&with("require = []\n", new).unwrap()).unwrap_err();
        let error = demands("");
        assert_eq!(error.code(), Code::StockNotEnough);
        assert_eq!(
            error.to_string(),
            "[stock] require demands activation, header-digest, grant, which a stock session can't prove"
        );
        for one in Requirement::ALL {
            let error = demands(&format!("require = [\"{}\"]\n", one.as_str()));
            assert!(error.to_string().contains(&format!("demands {},", one.as_str())), "{error}");
            assert!(one.unproven().starts_with(&format!("not proven: {}", one.as_str())));
        }
        assert!(with("require = []", "require = [\"everything\"]").is_err());
    }

    #[test]
    fn what_belongs_to_one_mode_is_refused_in_the_other() {
        assert!(with("[stock]", "[stocks]").unwrap_err().contains("unknown field"));
        let (head, _) = GOOD.split_once("[stock]").unwrap();
        assert!(Config::parse(head).unwrap_err().contains("[stock] is missing"));
        let ccnode = GOOD
            .replace("\"stock\"", "\"ccnode/1\"\npool = \"workers\"")
            .replace("root = \"root\"", "root = \"root\"\nsource = \"s\"");
        assert!(Config::parse(&ccnode).unwrap_err().contains("[stock] needs mode"));
        assert!(
            with("mode = \"stock\"", "mode = \"stock\"\npool = \"workers\"").unwrap_err().contains("pool")
        );
        assert!(
            with("root = \"root\"", "root = \"root\"\nsource = \"root-source\"")
                .unwrap_err()
                .contains("source")
        );
    }

    #[test]
    fn files_stay_below_our_folder() {
        for bad in [
            "/etc/shadow",
            "run/ccnode/x",
            "/run/ccnode",
            "/run/ccnode/",
            "/run/ccnode/../x",
            "/run/ccnode/a/../../x",
            "/run/ccnode/./x",
            "/run/ccnode//x",
            "/run/ccnode/x/",
            "/run/ccnodes/x",
            "/run/ccnode/.x",
            "/run/ccnode/x.part",
            "/run/ccnode/status.json",
            "/run/ccnode/eventlog",
            "/run/ccnode/eventlog/x",
            "/run/ccnode/user/motd",
            "/run/ccnode/a b",
        ] {
            let error = with("/run/ccnode/kubelet/kubeconfig", bad).unwrap_err();
            assert!(error.contains("no plain path"), "{bad}: {error}");
        }
        let twice = |path: &str| {
            let more = format!("files = [{{ resource = \"kbs:///a/b/c\", path = \"{path}\" }}, ");
            with("files = [", &more).unwrap_err()
        };
        assert!(twice("/run/ccnode/kubelet/kubeconfig").contains("stands twice"));
        assert!(twice("/run/ccnode/kubelet").contains("is a folder of another"));
    }

    #[test]
    fn a_file_is_a_resource_or_a_sealed_secret() {
        let resource = "resource = \"kbs:///default/node-1/kubeconfig\"";
        assert!(with(&format!("{resource}, "), "").unwrap_err().contains("resource or sealed"));
        assert!(with(resource, "sealed = \"sealed.a.b.c\"").unwrap_err().contains("sealed.HEADER"));
        assert!(with(resource, "resource = \"http://x/a/b/c\"").unwrap_err().contains("kbs:///"));
        let payload = "ewogICAgInZlcnNpb24iOiAiMC4xLjAiLAogICAgInR5cGUiOiAidmF1bHQiLAogICAgIm5hbWUiOiAia2JzOi8vL2RlZmF1bHQvc2VhbGVkLXNlY3JldC90ZXN0IiwKICAgICJwcm92aWRlciI6ICJrYnMiLAogICAgInByb3ZpZGVyX3NldHRpbmdzIjoge30sCiAgICAiYW5ub3RhdGlvbnMiOiB7fQp9Cg";
        let sealed = format!("sealed = \"sealed.h.{payload}.s\"");
        let wanted = &with(resource, &sealed).unwrap().wanted().unwrap()[0];
        assert_eq!(wanted.resource.to_string(), "kbs:///default/sealed-secret/test");
        assert!(wanted.sealed.is_none(), "what is measured needs no signature");
        let signed = GOOD
            .replace(resource, &sealed)
            .replace("require = []", "require = []\nsigner = \"kbs:///a/b/c\"");
        assert!(stock(&signed).unwrap().wanted().unwrap()[0].sealed.is_some());
    }
}
