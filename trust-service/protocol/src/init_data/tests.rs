//! Init-data that is read, and each way in which it is not.

use super::*;

const GOOD: &str = r#"
[network]
address = "192.0.2.7/24"
gateway = "192.0.2.1"
dns = ["192.0.2.53", "198.51.100.53"]
proxy = "http://proxy.example.com:3128"
[files]
motd = "from the host\n"
"user-data_1.yaml" = ""
"#;

fn whole(hints: &str) -> String {
    format!(
        "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\nuuid = \"node-1\"\n\"ccnode.toml\" = '''{hints}'''\n"
    )
}

fn hints(text: &str) -> Result<Hints, InitDataError> {
    whole(text).parse::<InitData>().map(|data| data.hints)
}

fn with(old: &str, new: &str) -> Result<Hints, InitDataError> {
    assert!(GOOD.contains(old), "{old}");
    hints(&GOOD.replace(old, new))
}

#[test]
fn hints_are_read_and_other_texts_counted() {
    let data: InitData = whole(GOOD).parse().unwrap();
    assert_eq!(data.others, 1);
    let address = StaticAddress {
        address: Ipv4Addr::new(192, 0, 2, 7),
        prefix: 24,
        gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
        dns: vec![Ipv4Addr::new(192, 0, 2, 53), Ipv4Addr::new(198, 51, 100, 53)],
    };
    assert_eq!(data.hints.address, Some(address));
    assert_eq!(data.hints.proxy.unwrap().to_string(), "http://proxy.example.com:3128");
    let files: Vec<_> = data.hints.files.iter().map(|f| (f.name.as_str(), f.content.as_str())).collect();
    assert_eq!(files, [("motd", "from the host\n"), ("user-data_1.yaml", "")]);
    assert_eq!(hints("").unwrap(), Hints::default());
    let none: InitData = "version = \"0.1.0\"\nalgorithm = \"sha256\"".parse().unwrap();
    assert_eq!(none, InitData::default());
    let alone = hints("[network]\naddress = \"10.0.0.1/32\"").unwrap().address.unwrap();
    assert_eq!((alone.prefix, alone.gateway, alone.dns.len()), (32, None, 0));
}

#[test]
fn the_form_around_them_is_the_one_that_is_measured() {
    for (old, new) in
        [("0.1.0", "0.2.0"), ("sha256", "sha384"), ("[data]", "more = 1\n[data]"), ("\"node-1\"", "1")]
    {
        assert_eq!(whole("").replace(old, new).parse::<InitData>(), Err(InitDataError::Form), "{new}");
    }
    assert_eq!("not TOML".parse::<InitData>(), Err(InitDataError::Form));
    for typo in ["ccnode.tml", "ccnode", "ccnode.toml.bak"] {
        let text = whole("").replace("uuid", &format!("\"{typo}\""));
        assert_eq!(text.parse::<InitData>(), Err(InitDataError::Name), "{typo}");
    }
    let long = format!("{}{}", whole(""), " ".repeat(limits::INIT_DATA));
    assert_eq!(long.parse::<InitData>(), Err(InitDataError::Long));
}

#[test]
fn unknown_members_are_refused_whatever_they_would_say() {
    for unknown in [
        "urls = [\"https://192.0.2.66\"]",
        "[service]\nurls = [\"https://192.0.2.66\"]",
        "[network]\nca = \"PEM\"",
        "[network]\ninterface = \"eth9\"",
        "[[files]]\nname = \"x\"",
        "[files]\nx = 1",
        "[files]\nx = \"1\"\nx = \"2\"",
    ] {
        let error = hints(unknown).unwrap_err();
        assert!(matches!(error, InitDataError::Hints(_)), "{unknown}: {error}");
    }
}

#[test]
fn words_of_a_refusal_hold_no_control_characters() {
    let error = hints("\"\\u001b[2J\\u202e\\nrefused\" = 1").unwrap_err().to_string();
    assert!(error.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{error:?}");
    let long = hints(&format!("{} = 1", "x".repeat(5000))).unwrap_err().to_string();
    assert!(long.len() < 2 * MAX_DETAIL, "{long}");
}

#[test]
fn an_address_is_one_of_a_host_and_its_gateway_is_beside_it() {
    for bad in [
        "192.0.2.7",
        "192.0.2.7/0",
        "192.0.2.7/33",
        "192.0.2.7/+24",
        "192.0.2.7/24/1",
        "2001:db8::1/64",
        "/24",
        "0.0.0.0/8",
        "127.0.0.1/8",
        "224.0.0.1/24",
        "255.255.255.255/24",
    ] {
        let error = with("192.0.2.7/24", bad).unwrap_err();
        assert!(matches!(error, InitDataError::Network(why) if why.starts_with("address")), "{bad}: {error}");
    }
    for bad in ["192.0.3.1", "192.0.2.7", "0.0.0.0", "127.0.0.1"] {
        let error = with("\"192.0.2.1\"", &format!("\"{bad}\"")).unwrap_err();
        assert_eq!(error, InitDataError::Network("gateway is not in the address's network"), "{bad}");
    }
    let dns = InitDataError::Network("dns is not up to three addresses of hosts");
    assert_eq!(with("192.0.2.53", "127.0.0.53").unwrap_err(), dns);
    assert_eq!(with("dns = [", "dns = [\"192.0.2.1\", \"192.0.2.2\", ").unwrap_err(), dns);
    for member in ["address = \"192.0.2.7/24\"\n", "address = \"192.0.2.7/24\"\ngateway = \"192.0.2.1\"\n"] {
        let error = with(member, "").unwrap_err();
        assert_eq!(error, InitDataError::Network("gateway and dns need address"));
    }
}

#[test]
fn a_proxy_is_asked_to_connect_and_is_told_no_secret() {
    let proxy = "http://proxy.example.com:3128";
    assert_eq!(with(proxy, "http://192.0.2.8:1").unwrap().proxy.unwrap().to_string(), "http://192.0.2.8:1");
    for bad in [
        "https://p:1",
        "socks5://p:1",
        "p:1",
        "http://p",
        "http://p:",
        "http://p:0",
        "http://p:65536",
        "http://p:+1",
        "http://:1",
        "http://u:s@p:1",
        "http://u@p:1",
        "http://p:1/",
        "http://[::1]:1",
        "http://p q:1",
        "http://p\\n:1",
    ] {
        let error = with(proxy, &bad.replace('\\', "\\\\")).unwrap_err();
        assert_eq!(error, InitDataError::Network("proxy is not http://HOST:PORT"), "{bad}");
    }
    assert!(with(proxy, &format!("http://{}:1", "p".repeat(MAX_HOST))).is_ok());
    assert!(with(proxy, &format!("http://{}:1", "p".repeat(MAX_HOST + 1))).is_err());
}

#[test]
fn files_have_plain_names_and_bounds() {
    for bad in
        ["", "..", "../x", "a/b", "/etc/shadow", ".x", "x.part", "a b", "ä", "a\\u0000b", &"x".repeat(65)]
    {
        let error = with("motd", &format!("\"{bad}\"")).unwrap_err();
        assert!(matches!(error, InitDataError::Files(why) if why.starts_with("a name")), "{bad}: {error}");
    }
    assert!(with("motd", &"x".repeat(MAX_NAME)).is_ok());
    let sized = |size: usize| with("from the host", &"y".repeat(size));
    assert!(sized(MAX_FILE - 1).is_ok());
    assert_eq!(sized(MAX_FILE).unwrap_err(), InitDataError::Files("a file has more than 16 KiB"));
    let many = |count: usize| {
        let files: String = (0..count).map(|n| format!("f{n} = \"\"\n")).collect();
        hints(&format!("[files]\n{files}"))
    };
    assert_eq!(many(MAX_FILES).unwrap().files.len(), MAX_FILES);
    assert_eq!(many(MAX_FILES + 1).unwrap_err(), InitDataError::Files("more than 16 files"));
}
