//! Tokens of all kinds, real volumes as clevis binds them, and files.

use super::*;
use ccnode_attest_client::stock::Signer;
use ccnode_protocol::jwe::seal_direct;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

const URI: &str = "kbs:///default/28632274-8c8a-493f-835b-da802e1c576b/root";

fn pinned() -> ResourceUri {
    URI.parse().unwrap()
}

fn key() -> Secret<32> {
    Secret::new([7; 32])
}

/// The JWE that the pin of confidential clusters makes; `change` may change its member `clevis`.
fn compact(change: impl FnOnce(&mut Value)) -> String {
    let mut clevis = json!({"pin": "trustee", "path": "default/28632274-8c8a-493f-835b-da802e1c576b/root",
        "servers": [{"url": "https://evil.example", "cert": "theirs"}], "initdata": null});
    change(&mut clevis);
    let Value::Object(claims) = json!({"clevis": clevis}) else { unreachable!() };
    seal_direct(&key(), claims, b"passphrase").unwrap()
}

fn token(change: impl FnOnce(&mut Value)) -> ClevisToken {
    let text = compact(change);
    let parts: Vec<&str> = text.split('.').collect();
    let jwe = json!({"protected": parts[0], "encrypted_key": "", "iv": parts[2], "ciphertext": parts[3], "tag": parts[4]});
    ClevisToken { keyslot: 1, jwe: jwe.to_string() }
}

#[test]
fn a_token_for_the_pinned_resource_opens_whatever_servers_it_names() {
    let open = |change: fn(&mut Value)| token_passphrase(&token(change), &pinned(), &key());
    assert_eq!(open(|_| ()).unwrap().expose(), b"passphrase");
    // What stands there as servers is not so much as read.
    for servers in [Value::Null, json!("x"), json!([{"url": 3}]), json!([])] {
        let token = token(|clevis| clevis["servers"] = servers.clone());
        assert_eq!(token_passphrase(&token, &pinned(), &key()).unwrap().expose(), b"passphrase");
    }
    assert!(open(|clevis| clevis["path"] = json!(URI)).is_ok());
    let wrong = token_passphrase(&token(|_| ()), &pinned(), &Secret::new([8; 32])).unwrap_err();
    assert_eq!(wrong.code(), Code::UnlockKeyWrong);
}

#[test]
fn t07_a_token_for_another_resource_is_refused_though_it_opens() {
    let code =
        |change: fn(&mut Value)| token_passphrase(&token(change), &pinned(), &key()).unwrap_err().code();
    assert_eq!(code(|clevis| clevis["path"] = json!("default/other/root")), Code::ClevisForeign);
    assert_eq!(code(|clevis| clevis["path"] = json!("../../default/x")), Code::ClevisForeign);
    assert_eq!(code(|clevis| clevis["path"] = json!(3)), Code::ClevisForeign);
    assert_eq!(code(|clevis| clevis["pin"] = json!("tang")), Code::ClevisForeign);
    assert_eq!(code(|clevis| *clevis = json!(null)), Code::ClevisForeign);
    let garbage = ClevisToken { keyslot: 1, jwe: "{}".into() };
    assert_eq!(token_passphrase(&garbage, &pinned(), &key()).unwrap_err().code(), Code::HeaderRefused);
}

fn run(program: &str, args: &[&str], input: &[u8]) {
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect(program);
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {args:?}");
}

/// A volume in a file with `passphrase` in keyslot 1, and a token of clevis where one is given.
fn volume(dir: &Path, token: Option<&ClevisToken>) -> File {
    let (image, first) = (dir.join("image"), dir.join("first"));
    File::create(&image).unwrap().set_len(20 << 20).unwrap();
    std::fs::write(&first, "first").unwrap();
    let (image, first) = (image.to_str().unwrap(), first.to_str().unwrap());
    let cheap = ["-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    run("cryptsetup", &[&["luksFormat", image, first][..], &cheap].concat(), b"");
    run(
        "cryptsetup",
        &[&["luksAddKey", "--key-file", first, image, "-"][..], &cheap].concat(),
        b"passphrase",
    );
    if let Some(ClevisToken { keyslot, jwe }) = token {
        let jwe: Value = serde_json::from_str(jwe).unwrap();
        let json = json!({"type": "clevis", "keyslots": [keyslot.to_string()], "jwe": jwe}).to_string();
        run("cryptsetup", &["token", "import", image], json.as_bytes());
    }
    File::open(image).unwrap()
}

/// Opening goes up to the block device, which a file is none of.
fn opens(result: Result<Opened, StockError>) -> bool {
    let error = result.unwrap_err();
    match error.code() {
        Code::UnlockKeyWrong => false,
        Code::DiskFailed => true,
        other => panic!("{other}: {error}"),
    }
}

#[test]
fn a_bound_volume_is_judged_and_opened_by_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = volume(dir.path(), Some(&token(|_| ())));
    let header = read_header(&mut root, KeyForm::Jwk).unwrap();
    let (path, name) = (dir.path().join("image"), "root".parse().unwrap());
    let open = |key: &LuksKey, pinned: &ResourceUri| open(&header, &path, pinned, key, &name);
    assert!(opens(open(&LuksKey::Token(key()), &pinned())));
    assert!(!opens(open(&LuksKey::Token(Secret::new([8; 32])), &pinned())));
    let other = "kbs:///default/other/root".parse().unwrap();
    assert_eq!(open(&LuksKey::Token(key()), &other).unwrap_err().code(), Code::ClevisForeign);
    // A passphrase of another keyslot than the token's does not open it.
    let first = LuksKey::Passphrase(SecretBytes::new(b"first".to_vec()));
    assert!(!opens(open(&first, &pinned())));
}

#[test]
fn a_volume_without_a_token_is_opened_by_its_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = volume(dir.path(), None);
    let header = read_header(&mut root, KeyForm::Raw).unwrap();
    let (path, name) = (dir.path().join("image"), "root".parse().unwrap());
    for (passphrase, good) in [("first", true), ("passphrase", true), ("wrong", false)] {
        let key = LuksKey::Passphrase(SecretBytes::new(passphrase.into()));
        assert_eq!(opens(open(&header, &path, &pinned(), &key, &name)), good, "{passphrase}");
    }
    let mut root = File::open(&path).unwrap();
    assert_eq!(read_header(&mut root, KeyForm::Jwk).unwrap_err().code(), Code::HeaderRefused);
    let blank = dir.path().join("blank");
    std::fs::write(&blank, vec![0; 1 << 20]).unwrap();
    let error = read_header(&mut File::open(&blank).unwrap(), KeyForm::Raw).unwrap_err();
    assert_eq!(error.code(), Code::HeaderMalformed, "what is no volume is not made one");
    assert_eq!(std::fs::read(&blank).unwrap(), vec![0; 1 << 20]);
}

fn wanted(path: &str, sealed: bool) -> Wanted {
    let text = "sealed.fakejwsheader.ewogICAgInZlcnNpb24iOiAiMC4xLjAiLAogICAgInR5cGUiOiAidmF1bHQiLAogICAgIm5hbWUiOiAia2JzOi8vL2RlZmF1bHQvc2VhbGVkLXNlY3JldC90ZXN0IiwKICAgICJwcm92aWRlciI6ICJrYnMiLAogICAgInByb3ZpZGVyX3NldHRpbmdzIjoge30sCiAgICAiYW5ub3RhdGlvbnMiOiB7fQp9Cg.fakesignature";
    let signer = || Signer("kbs:///default/signing/key".parse().unwrap());
    let sealed = sealed.then(|| (text.parse().unwrap(), signer()));
    Wanted { resource: "kbs:///default/node-1/x".parse().unwrap(), sealed, path: path.into() }
}

#[test]
fn resources_are_asked_for_once_and_sorted_in_order() {
    let files = vec![wanted("/run/ccnode/a", false), wanted("/run/ccnode/b/c", false)];
    assert_eq!(wants(&pinned(), &files).len(), 3);
    let bytes = |text: &str| SecretBytes::new(text.into());
    let all = || vec![bytes("pass"), bytes("one"), bytes("two")];
    let released = Released::sort(&pinned(), KeyForm::Raw, files.clone(), all()).unwrap();
    assert!(matches!(&released.key, LuksKey::Passphrase(p) if p.expose() == b"pass"));
    assert_eq!(released.files[1].1.expose(), b"two");
    let fewer = Released::sort(&pinned(), KeyForm::Raw, files.clone(), vec![bytes("pass")]).unwrap_err();
    assert_eq!(fewer.code(), Code::NodeInternal);
    let form = Released::sort(&pinned(), KeyForm::Jwk, files, all()).unwrap_err();
    assert_eq!(form.code(), Code::ResourceMalformed);
    assert!(form.to_string().starts_with(URI), "{form}");
}

#[test]
fn a_sealed_secret_without_its_signer_is_no_file() {
    let files = vec![wanted("/run/ccnode/a", true)];
    assert_eq!(wants(&pinned(), &files)[2].to_string(), "kbs:///default/signing/key");
    let bytes = |text: &str| SecretBytes::new(text.into());
    let all = vec![bytes("pass"), bytes("one"), bytes("{}")];
    let error = Released::sort(&pinned(), KeyForm::Raw, files, all).unwrap_err();
    assert_eq!(error.code(), Code::SealedRefused, "{error}");
}

#[test]
fn t21_files_are_for_root_alone_in_folders_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        (wanted("/run/ccnode/kubelet/kubeconfig", false), SecretBytes::new(b"kubeconfig".to_vec())),
        (wanted("/run/ccnode/token", false), SecretBytes::new(b"token".to_vec())),
    ];
    write_files(dir.path(), &files).unwrap();
    write_files(dir.path(), &files).unwrap();
    for (file, content) in &files {
        let path = dir.path().join(file.path.strip_prefix("/").unwrap());
        assert_eq!(fs::read(&path).unwrap(), content.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let folder = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(folder & 0o777, 0o700);
    }
    fs::create_dir_all(dir.path().join("run/ccnode/x")).unwrap();
    let folder = [(wanted("/run/ccnode/x", false), SecretBytes::new(Vec::new()))];
    assert_eq!(write_files(dir.path(), &folder).unwrap_err().code(), Code::NodeInternal);
}
