//! Configurations that are obeyed, and all the ways in which one is not.

use super::*;

const GOOD: &str = r#"
mode = "ccnode/1"
pool = "workers"
[service]
urls = ["https://10.0.2.100"]
ca = ["/etc/ccnode/ca-current.pem", "/etc/ccnode/ca-next.pem"]
deadline = "30s"
[network]
interface = "auto"
[disk]
serial = "ccnode-root"
root = "root"
source = "root-source"
[refusal]
action = "poweroff"
"#;

fn with(old: &str, new: &str) -> Result<Config, String> {
    assert!(GOOD.contains(old), "{old}");
    Config::parse(&GOOD.replace(old, new))
}

#[test]
fn the_documented_sample_is_obeyed() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.service.deadline, Duration::from_secs(30));
    assert_eq!(config.disk.serial.as_deref(), Some("ccnode-root"));
    assert_eq!((config.refusal.action, config.handover.modules_disabled), (Action::Poweroff, false));
    assert_eq!(with("\"poweroff\"", "\"reboot\"").unwrap().refusal.action, Action::Reboot);
    assert_eq!(config.init_data, InitDataRule::Ignored);
    let allowed = with("pool =", "init-data = \"allowed\"\npool =").unwrap();
    assert_eq!(allowed.init_data, InitDataRule::Allowed);
    assert_eq!(allowed.hints, BTreeSet::new());
    let hints = "init-data = \"allowed\"\nhints = [\"address\", \"proxy\", \"files\"]\npool =";
    let hints = with("pool =", hints).unwrap().hints;
    assert_eq!(Vec::from_iter(hints.iter().map(|hint| hint.as_str())), ["address", "proxy", "files"]);
    let least = with("[network]\ninterface = \"auto\"\n", "").unwrap();
    assert_eq!(least.network, Network::default());
}

#[test]
fn a_static_network() {
    let config = with(
        "interface = \"auto\"",
        "interface = \"eth1\"\naddress = \"192.0.2.7/24\"\ngateway = \"192.0.2.1\"\ndns = [\"192.0.2.53\"]",
    );
    let network = config.unwrap().network;
    assert_eq!(network.address, Some(Cidr { address: Ipv4Addr::new(192, 0, 2, 7), prefix: 24 }));
    assert_eq!((network.interface.as_str(), network.dns.len()), ("eth1", 1));
    for bad in
        ["address = \"192.0.2.7\"", "address = \"192.0.2.7/33\"", "gateway = \"192.0.2.1\"", "dns = \"x\""]
    {
        assert!(with("interface = \"auto\"", bad).is_err(), "{bad}");
    }
}

#[test]
fn a_measured_address_leaves_no_place_for_a_host_s() {
    let hints = "init-data = \"allowed\"\nhints = [\"address\"]\npool =";
    let text = GOOD.replace("pool =", hints);
    Config::parse(&text).unwrap();
    let both = text.replace("interface = \"auto\"", "address = \"192.0.2.7/24\"");
    assert!(Config::parse(&both).unwrap_err().contains("[network] has an address already"));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("mode = \"ccnode/1\"", "mode = \"other\"", "line 2: unknown variant `other`"),
        ("mode = \"ccnode/1\"", "mode = \"stock\"", "[stock] is missing"),
        ("source = \"root-source\"", "", "[disk] source is missing"),
        ("pool = \"workers\"", "pool = \"Workers\"", "line 3: `Workers` is no pool name"),
        ("pool = \"workers\"", "", "missing field `pool`"),
        ("deadline", "retries = 3\ndeadline", "line 7: unknown field `retries`"),
        ("pool =", "hints = [\"files\"]\npool =", "hints need init-data"),
        ("pool =", "init-data = \"allowed\"\nhints = [\"ca\"]\npool =", "line 4: unknown variant `ca`"),
        ("\"30s\"", "\"30\"", "line 7: a duration ends with ms, s or m"),
        ("\"30s\"", "\"x\"", "line 7: a duration is a number"),
        ("\"30s\"", "\"0s\"", "line 7: a deadline lies between"),
        ("\"30s\"", "\"99999999999999999m\"", "line 7: a deadline lies between"),
        (
            "\"https://10.0.2.100\"",
            "\"http://10.0.2.100\"",
            "line 5: `http://10.0.2.100` is not https://HOST",
        ),
        ("\"https://10.0.2.100\"", "\"https://a/b\"", "line 5: `https://a/b` is not https://HOST"),
        ("\"https://10.0.2.100\"", "\"https://u:p@a\"", "is not https://HOST"),
        ("\"https://10.0.2.100\"", "", "line 5: urls is empty"),
        ("\"/etc/ccnode/ca-current.pem\", \"/etc/ccnode/ca-next.pem\"", "", "[service] ca is empty"),
        ("serial = \"ccnode-root\"", "", "[disk] needs serial or sysfs"),
        ("serial =", "sysfs = \"pci\"\nserial =", "[disk] needs serial or sysfs"),
        ("\"ccnode-root\"", "\"\"", "[disk] names no disk"),
        ("\"root-source\"", "\"root\"", "[disk] names a label twice"),
        ("root = \"root\"", "root = \"root\"\nswap = \"root\"", "[disk] names a label twice"),
        ("root = \"root\"", "root = \"root\"\nswap = \"root-source\"", "[disk] names a label twice"),
        ("root = \"root\"", "root = \"root\"\nswap = \"\"", "[disk] has an empty label"),
        ("root = \"root\"", "root = \"\"", "[disk] has an empty label"),
        ("\"poweroff\"", "\"shell\"", "line 15: unknown variant `shell`"),
        ("[disk]", "[disk", "line 10: "),
    ];
    for (old, new, want) in cases {
        let error = with(old, new).unwrap_err();
        assert!(error.contains(want), "{new}: {error}");
    }
}

#[test]
fn custodians_are_checked_like_all_else() {
    let key = || ccnode_recovery::CustodianKey::generate().public_pem().unwrap();
    let table = |keys: &[String], threshold: u8| {
        let keys: Vec<_> = keys.iter().map(|key| format!("\"\"\"{key}\"\"\"")).collect();
        format!("[recovery]\ncustodians = [{}]\nthreshold = {threshold}\n[refusal]", keys.join(", "))
    };
    let keys = [key(), key(), key()];
    let config = with("[refusal]", &table(&keys, 2)).unwrap();
    let custodians = config.recovery.clone().unwrap();
    assert_eq!((custodians.all().len(), custodians.threshold()), (3, 2));
    let line = |layout| {
        Cmdline::parse(&format!("ccnode.roothash={} ccnode.layout={layout}", "ab".repeat(32))).unwrap()
    };
    for layout in [Layout::LuksRoot, Layout::VerityRoot] {
        config.takes(&line(layout)).unwrap();
    }
    assert_eq!(config.takes(&line(Layout::Ephemeral)).unwrap_err().code(), Code::CmdlineMalformed);
    assert!(Config::parse(GOOD).unwrap().takes(&line(Layout::Ephemeral)).is_ok());
    assert_eq!(Config::parse(GOOD).unwrap().recovery, None);
    for (keys, threshold, want) in [
        (&keys[..1], 2, "threshold 2 of 1 custodians"),
        (&keys[..], 1, "threshold 1 of 3 custodians"),
        (&["x".to_owned(), key()], 2, "custodian 1: not a public key of P-256"),
    ] {
        let error = with("[refusal]", &table(keys, threshold)).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
    assert!(with("[refusal]", "[recovery]\nthreshold = 2\n[refusal]").is_err());
}

#[test]
fn a_missing_and_a_malformed_file_have_codes_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    assert_eq!(Config::load(&path).unwrap_err().code(), Code::ConfigMissing);
    for bytes in [b"mode = ".as_slice(), &[0xff, 0xfe], b""] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Config::load(&path).unwrap_err().code(), Code::ConfigMalformed);
    }
    assert_eq!(Config::load(dir.path()).unwrap_err().code(), Code::ConfigMalformed);
    std::fs::write(&path, GOOD).unwrap();
    let config = Config::load(&path).unwrap();
    let pins = config.pins().unwrap_err();
    assert_eq!(
        (pins.code(), pins.to_string().as_str()),
        (Code::ConfigMalformed, "/etc/ccnode/ca-current.pem is missing")
    );
}

#[test]
fn only_our_keys_of_the_command_line_are_read() {
    let hash = "ab".repeat(32);
    let parse = |text: &str| Cmdline::parse(text);
    let line =
        parse(&format!("root=/dev/sda init=/bin/sh roothash=x ccnode.roothash={hash} ccnodex=1 quiet"))
            .unwrap();
    assert_eq!((line.root_hash.to_string(), line.json), (hash.clone(), false));
    assert!(parse(&format!("ccnode.log=json ccnode.roothash={hash}")).unwrap().json);
    assert_eq!(line.layout, Layout::LuksRoot);
    for layout in Layout::ALL {
        let line = parse(&format!("ccnode.roothash={hash} ccnode.layout={layout}")).unwrap();
        assert_eq!(line.layout, layout);
    }
    for bad in [
        String::new(),
        format!("ccnode.roothash={hash} ccnode.layout=other"),
        format!("ccnode.roothash={hash} ccnode.layout"),
        format!("ccnode.roothash={hash} ccnode.layout=ephemeral ccnode.layout=ephemeral"),
        "ccnode.roothash=".into(),
        "ccnode.roothash".into(),
        format!("ccnode.roothash={}", "AB".repeat(32)),
        format!("ccnode.roothash={hash} ccnode.roothash={hash}"),
        format!("ccnode.roothash={hash} ccnode.log=shell"),
        format!("ccnode.roothash={hash} ccnode.log=json ccnode.log=text"),
        format!("ccnode.roothash={hash} ccnode.debug=1"),
        format!("ccnode.roothash={hash} ccnode.debug"),
    ] {
        assert_eq!(parse(&bad).unwrap_err().code(), Code::CmdlineMalformed, "{bad}");
    }
}

#[test]
fn volumes_for_data_are_those_that_the_command_line_names() {
    let hash = "ab".repeat(32);
    let line = |more: &str| Cmdline::parse(&format!("ccnode.roothash={hash} {more}"));
    let of = |tables: &[&str]| {
        let table = |text: &&str| {
            let [name, label, mount] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("three words") };
            format!("[[disk.data]]\nname = \"{name}\"\nlabel = \"{label}\"\nmount = \"{mount}\"\n")
        };
        Config::parse(&format!("{GOOD}\n{}", tables.iter().map(table).collect::<String>()))
    };
    let two = of(&["work w /srv/work", "logs l /srv/logs"]).unwrap();
    two.takes(&line("ccnode.data=logs,work").unwrap()).unwrap();
    for other in ["", "ccnode.data=logs", "ccnode.data=logs,other"] {
        assert_eq!(two.takes(&line(other).unwrap()).unwrap_err().code(), Code::CmdlineMalformed, "{other}");
    }
    for bad in ["ccnode.data=", "ccnode.data=b,a", "ccnode.data=a ccnode.data=a", "ccnode.data"] {
        assert_eq!(line(bad).unwrap_err().code(), Code::CmdlineMalformed, "{bad}");
    }
    for (tables, want) in [
        (vec!["a a /a", "a b /b"], "a name twice"),
        (vec!["a a /a", "b a /b"], "a label twice"),
        (vec!["a root /a"], "a label twice"),
        (vec!["a a a"], "an absolute path"),
        (vec!["a a /"], "an absolute path"),
        (vec!["a a /b/../a"], "an absolute path"),
        (vec!["a a /run/a"], "an absolute path"),
        (vec!["a a /usr/a"], "an absolute path"),
        (vec!["a a /etc"], "an absolute path"),
        (vec!["a a /var"], "not /var"),
        (vec!["a a /tmp/"], "not /var"),
        (vec!["a a /a", "b b /a/b"], "one is in the other"),
        (vec!["a a /a", "b b /a"], "one is in the other"),
        (vec!["A a /a"], "a volume's name is"),
    ] {
        let error = of(&tables).unwrap_err();
        assert!(error.contains(want), "{tables:?}: {error}");
    }
}

#[test]
fn the_build_time_is_a_number_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("build-time");
    assert_eq!(build_time(&path), 0);
    std::fs::write(&path, "1795000000\n").unwrap();
    assert_eq!(build_time(&path), 1_795_000_000);
    std::fs::write(&path, "-1").unwrap();
    assert_eq!(build_time(&path), 0);
}

#[test]
fn what_is_too_large_is_refused_and_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let max = usize::try_from(MAX).unwrap();
    std::fs::write(&path, vec![b'a'; max]).unwrap();
    assert_eq!(read(&path).unwrap().len(), max);
    std::fs::write(&path, vec![b'a'; max + 1]).unwrap();
    let error = read(&path).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge(_)) && error.code() == Code::ConfigMalformed, "{error}");
}
