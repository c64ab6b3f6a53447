//! Tests of recipes: the one that ships is good, and each refusal is produced.

use super::*;
use crate::cmdline::CmdlineError;
use std::fs;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/debian-12-worker");

/// The shipped recipe in a folder of its own, with `edit` applied to its text.
fn edited(edit: impl Fn(String) -> String) -> Result<Recipe, RecipeError> {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(format!("{SHIPPED}/node.toml"), dir.path().join("node.toml")).unwrap();
    let text = fs::read_to_string(format!("{SHIPPED}/recipe.toml")).unwrap();
    let changed = edit(text.clone());
    assert!(changed != text, "the edit did nothing");
    fs::write(dir.path().join("recipe.toml"), changed).unwrap();
    Recipe::read(&dir.path().join("recipe.toml"))
}

fn replaced(from: &str, to: &str) -> Result<Recipe, RecipeError> {
    edited(|text| text.replacen(from, to, 1))
}

#[test]
fn shipped_recipe_is_good() {
    let recipe = Recipe::read(Path::new(&format!("{SHIPPED}/recipe.toml"))).unwrap();
    assert_eq!(recipe.name, "debian-12-worker");
    assert_eq!(Recipe::read(Path::new(SHIPPED)).unwrap(), recipe);
    assert_eq!(recipe.certificates, ["/etc/ccnode/ca-current.pem"]);
    assert!(recipe.kernel.cmdline.contains(" lockdown=integrity "));
    assert!(recipe.root.overlay.unwrap().join("usr/lib/ccnode-demo/kubelet").is_file());
    assert_eq!(recipe.platform, Platform { machine: "q35".into(), cpus: 1, memory: 768 });
}

#[test]
fn command_line_is_checked() {
    let error = replaced("\"systemd.gpt_auto=no\", ", "").unwrap_err();
    assert!(matches!(error, RecipeError::Cmdline(CmdlineError::Lacks { word: "systemd.gpt_auto=no", .. })));
}

#[test]
fn unknown_members_are_refused_with_their_line() {
    for (from, to) in [
        ("version = ", "colour = \"red\"\nversion = "),
        ("suite = ", "sweet = 1\nsuite = "),
        ("machine = ", "engine = 1\nmachine = "),
        ("layout = \"luks-root\"", "layout = \"raid\""),
    ] {
        let error = replaced(from, to).unwrap_err();
        assert!(matches!(error, RecipeError::Toml { .. }), "{error}");
        assert!(error.to_string().contains("line "), "{error}");
    }
}

#[test]
fn layouts_are_for_nodes_that_make_their_roots() {
    for layout in Layout::ALL {
        let text = format!("layout = \"{layout}\"");
        let read = |text: &str| {
            edited(|recipe| format!("# of a test\n{recipe}").replace("layout = \"luks-root\"", text))
        };
        assert_eq!(read(&text).unwrap().layout, layout);
        assert_eq!(read("").unwrap().layout, Layout::LuksRoot);
    }
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(format!("{SHIPPED}/recipe.toml")).unwrap();
    fs::write(dir.path().join("recipe.toml"), text.replace("\"luks-root\"", "\"ephemeral\"")).unwrap();
    let config = fs::read_to_string(format!("{SHIPPED}/node.toml")).unwrap();
    fs::write(dir.path().join("node.toml"), config.replace("\"ccnode/1\"", "\"stock\"")).unwrap();
    let error = Recipe::read(dir.path()).unwrap_err();
    assert!(matches!(error, RecipeError::Value { field: "layout", .. }), "{error}");
}

#[test]
fn volumes_for_data_are_those_of_the_node() {
    let read = |layout: &str, data: &str, sizes: &str| {
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(format!("{SHIPPED}/recipe.toml")).unwrap();
        let text =
            text.replace("\"luks-root\"", layout).replace("[disk]\n", &format!("[disk]\ndata = {sizes}\n"));
        fs::write(dir.path().join("recipe.toml"), text).unwrap();
        let config = fs::read_to_string(format!("{SHIPPED}/node.toml")).unwrap();
        fs::write(dir.path().join("node.toml"), format!("{config}\n{data}")).unwrap();
        Recipe::read(dir.path())
    };
    let table =
        |name: &str| format!("[[disk.data]]\nname = \"{name}\"\nlabel = \"l-{name}\"\nmount = \"/srv\"\n");
    let two = [table("work"), table("logs")].concat();
    let sizes = "{ work = \"1G\", logs = \"64M\" }";
    let volumes = read("\"verity-root\"", &two, sizes).unwrap().data;
    let of = |name: &str, mib| DataVolume { name: name.parse().unwrap(), label: format!("l-{name}"), mib };
    assert_eq!(volumes, [of("logs", 64), of("work", 1024)]);
    let nine: String = (0..9).map(|n| table(&format!("d{n}"))).collect();
    let sizes_of_nine: Vec<_> = (0..9).map(|n| format!("d{n} = \"64M\"")).collect();
    let esp = table("work").replace("l-work", "esp");
    let long = table("work").replace("l-work", &"l".repeat(37));
    for (layout, data, sizes, want) in [
        ("ephemeral", &two, sizes, "layout ephemeral keeps nothing"),
        ("luks-root", &two, "{ work = \"1G\" }", "`logs`: give it a size"),
        ("luks-root", &table("work"), sizes, "none is named `logs`"),
        ("luks-root", &String::new(), sizes, "none is named `logs`"),
        ("luks-root", &[table("work"), table("work")].concat(), sizes, "`work`: named twice"),
        ("luks-root", &table("Work"), "{ Work = \"1G\" }", "`Work`: a name has"),
        ("luks-root", &esp, "{ work = \"1G\" }", "`work`: choose another label"),
        ("luks-root", &long, "{ work = \"1G\" }", "`work`: choose another label"),
        ("luks-root", &nine, &format!("{{ {} }}", sizes_of_nine.join(", ")), "9 volumes; 8 at most"),
    ] {
        let error = read(&format!("\"{layout}\""), data, sizes).unwrap_err().to_string();
        assert!(
            error.contains("[[disk.data]] of the node's configuration: ") && error.contains(want),
            "{error}"
        );
    }
}

#[test]
fn values_are_checked() {
    for (from, to, field) in [
        ("\"debian-12-worker\"", "\"a b\"", "name"),
        ("version = \"1\"", "version = \"\"", "version"),
        ("\"bookworm\"", "\"book/worm\"", "root.suite"),
        ("\"udev\"", "\"--exec\"", "root.packages"),
        ("\"xts\"", "\"../xts\"", "kernel.modules"),
        ("package = ", "suite = \"trixie\"\npackage = ", "kernel.suite"),
        ("package = ", "suite = \"bookworm-updates\"\npackage = ", "kernel.suite"),
        ("enable = [\"kubelet.service\"]", "enable = [\"kubelet\"]", "root.enable"),
        ("\"getty.target\"", "\"-getty.target\"", "root.mask"),
        ("root = \"640M\"", "root = \"640\"", "disk.root"),
        ("root = \"640M\"", "esp = \"0M\"", "disk.esp"),
        ("root = \"640M\"", "swap = \"64M\"", "disk.swap"),
        ("overlay = ", "files = [{ path = \"etc/x\", source = \"x\" }]\noverlay = ", "root.files.path"),
        ("overlay = ", "files = [{ path = \"/../x\", source = \"x\" }]\noverlay = ", "root.files.path"),
        (
            "overlay = ",
            "files = [{ path = \"/x\", source = \"x\", mode = \"9\" }]\noverlay = ",
            "root.files.mode",
        ),
    ] {
        let error = replaced(from, to).unwrap_err();
        assert!(matches!(error, RecipeError::Value { field: f, .. } if f == field), "{field}: {error}");
    }
}

#[test]
fn the_kernel_may_come_from_backports() {
    let suite = |to: &str| replaced("package = ", to).unwrap().kernel.suite;
    assert_eq!(suite("suite = \"bookworm-backports\"\npackage = "), "bookworm-backports");
    assert_eq!(suite("# nothing\npackage = "), "bookworm");
}

#[test]
fn sizes_have_units() {
    assert_eq!(replaced("root = \"640M\"", "root = \"4G\"").unwrap().disk.root, Some(4096));
}

#[test]
fn node_configuration_must_pin_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(format!("{SHIPPED}/recipe.toml"), dir.path().join("recipe.toml")).unwrap();
    let read = |config: &str| {
        fs::write(dir.path().join("node.toml"), config).unwrap();
        Recipe::read(&dir.path().join("recipe.toml"))
    };
    for config in [
        "",
        "[service]\nca = []\n",
        "[service]\nca = [\"/etc/ssl/ca.pem\"]\n",
        "[service]\nca = [\"/etc/ccnode/../ca.pem\"]\n",
        "[service]\nca = [1]\n",
    ] {
        assert!(matches!(read(config), Err(RecipeError::NoCertificate(_))), "{config}");
    }
    assert!(matches!(read("[service"), Err(RecipeError::Config { .. })));
    let two = read("[service]\nca = [\"/etc/ccnode/a.pem\", \"/etc/ccnode/b.pem\"]\n").unwrap();
    assert_eq!(two.certificates, ["/etc/ccnode/a.pem", "/etc/ccnode/b.pem"]);
}

#[test]
fn init_data_that_is_allowed_can_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = fs::read_to_string(format!("{SHIPPED}/recipe.toml")).unwrap();
    let with = |rule: &str, module: &str| {
        let config = format!("init-data = \"{rule}\"\n[service]\nca = [\"/etc/ccnode/a.pem\"]\n");
        fs::write(dir.path().join("node.toml"), config).unwrap();
        let recipe = recipe.replace("\"aesni-intel\"", &format!("\"{module}\""));
        fs::write(dir.path().join("recipe.toml"), recipe).unwrap();
        Recipe::read(&dir.path().join("recipe.toml"))
    };
    let error = with("allowed", "aesni-intel").unwrap_err();
    assert!(
        matches!(error, RecipeError::InitData(_)) && error.to_string().contains("qemu_fw_cfg"),
        "{error}"
    );
    with("ignored", "aesni-intel").unwrap();
    with("allowed", "qemu_fw_cfg").unwrap();
    with("allowed", "qemu-fw-cfg").unwrap();
}

#[test]
fn custodians_are_looked_at_before_anything_is_built() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(format!("{SHIPPED}/recipe.toml"), dir.path().join("recipe.toml")).unwrap();
    let config = "[service]\nca = [\"/etc/ccnode/a.pem\"]\n[recovery]\ncustodians = [\"x\"]\nthreshold = 2\n";
    fs::write(dir.path().join("node.toml"), config).unwrap();
    let error = Recipe::read(&dir.path().join("recipe.toml")).unwrap_err();
    assert!(matches!(error, RecipeError::Recovery { .. }), "{error}");
    assert!(error.to_string().contains("[recovery]: custodian 1: not a public key"), "{error}");
}

#[test]
fn missing_files_are_named() {
    let error = Recipe::read(Path::new("/nowhere/recipe.toml")).unwrap_err();
    assert!(error.to_string().starts_with("recipe /nowhere/recipe.toml can't be read"), "{error}");
    let error = replaced("config = \"node.toml\"", "config = \"other.toml\"").unwrap_err();
    assert!(matches!(error, RecipeError::Read { what: "node configuration", .. }), "{error}");
}

#[test]
fn tags_that_are_asked_for_can_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = fs::read_to_string(format!("{SHIPPED}/recipe.toml")).unwrap();
    let with = |name: &str, modules: &[&str]| {
        let config = format!("[service]\nca = [\"/etc/ccnode/a.pem\"]\n[disk]\nintegrity = \"{name}\"\n");
        fs::write(dir.path().join("node.toml"), config).unwrap();
        let list: String = modules.iter().map(|module| format!(", \"{module}\"")).collect();
        let recipe = recipe.replace(", \"aesni-intel\"", &list);
        fs::write(dir.path().join("recipe.toml"), recipe).unwrap();
        Recipe::read(&dir.path().join("recipe.toml"))
    };
    with("none", &[]).unwrap();
    with("hmac-sha256", &["dm_integrity", "authenc"]).unwrap();
    with("aegis128", &["dm-integrity", "algif-aead", "aegis128"]).unwrap();
    with("aes-gcm", &["dm-integrity", "algif_aead", "gcm", "ctr", "ghash-generic"]).unwrap();
    for name in ["hmac-sha256", "aes-gcm", "aegis128"] {
        let error = with(name, &["algif_aead"]).unwrap_err();
        assert!(
            matches!(&error, RecipeError::Integrity { modules, .. } if modules.contains("dm-integrity")),
            "{error}"
        );
        assert!(!error.to_string().contains("algif_aead"), "{error}");
    }
    let error = with("crc32", &[]).unwrap_err().to_string();
    assert!(error.contains("[disk] integrity = `crc32`"), "{error}");
}
