//! A signed bundle of collateral on disk: in use while it lasts, and what was verified of it no longer than that.

use crate::fixture::*;
use crate::machines::*;
use ccnode_bundle::{Draft, Item, SecretKey};
use ccnode_evidence::{Code, UnixTime};
use ccnode_protocol::admin::Rule;
use ccnode_server::config::{CollateralConfig, Lifetime};
use ccnode_testkit::{Boot, Hardware, Machine, Seat};
use std::path::Path;
use std::time::Duration;

/// Writes a bundle whose platform has this status, made `ago` seconds ago, and good for `seconds` from now.
fn write(trust: &Trust, key: &SecretKey, status: &str, ago: u64, seconds: u64) {
    let now = trust.service().now();
    let items = vec![Item::TdxCollateral { json: collateral(trust, status) }];
    let draft = Draft::new(UnixTime(now - ago), UnixTime(now + seconds), items);
    let sealed = draft.seal(std::slice::from_ref(key)).unwrap();
    std::fs::write(trust.dir().join("bundle"), sealed).unwrap();
}

fn configure(dir: &Path, key: &SecretKey, max_age: Option<Duration>) -> CollateralConfig {
    std::fs::write(dir.join("key.pub"), key.public().to_pem().unwrap()).unwrap();
    CollateralConfig { bundle: "bundle".into(), keys: vec!["key.pub".into()], max_age: max_age.map(Lifetime) }
}

/// What the service's clock does each minute.
fn read_again(trust: &Trust, config: &CollateralConfig) {
    let now = UnixTime(trust.service().now());
    trust.service().collateral.refresh(&trust.dir(), config, now);
}

async fn outcome(trust: &Trust, machine: &Machine) -> Option<Code> {
    tpm_of(machine).reboot(Boot::standard());
    let session = offer(trust, machine).await;
    let (attestation, _) = session.reply(machine);
    session.attest(&attestation).await.err().map(|refused| refused.problem.code.unwrap())
}

#[tokio::test]
async fn t19_a_new_bundle_takes_the_place_of_what_was_verified() {
    let (mut trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let machine = Machine::with(tpm(&maker, Seat::A), Hardware::tdx(&PLATFORM));
    let key = SecretKey::generate(&mut rand_core::OsRng);
    let config = configure(&trust.dir(), &key, None);
    write(&trust, &key, "UpToDate", 0, 3600);
    let path = trust.dir().join("config.toml");
    let mut whole = ccnode_server::config::Config::load(&trust.dir()).unwrap();
    whole.collateral = Some(config.clone());
    std::fs::write(path, toml::to_string(&whole).unwrap()).unwrap();
    trust.restart().await;
    // Twice: verified, then kept.
    assert_eq!(outcome(&trust, &machine).await, None);
    assert_eq!(outcome(&trust, &machine).await, None);
    write(&trust, &key, "OutOfDate", 0, 3600);
    assert_eq!(outcome(&trust, &machine).await, None, "not read again yet");
    read_again(&trust, &config);
    assert_eq!(outcome(&trust, &machine).await, Some(Code::TdxTcbStatus));
    // Of another key it is not believed, and what it took the place of is not either.
    write(&trust, &key, "UpToDate", 0, 3600);
    read_again(&trust, &config);
    assert_eq!(outcome(&trust, &machine).await, None);
    write(&trust, &SecretKey::generate(&mut rand_core::OsRng), "UpToDate", 0, 3600);
    read_again(&trust, &config);
    assert_eq!(outcome(&trust, &machine).await, Some(Code::TdxCollateralMissing));
}

#[tokio::test]
async fn t19_a_bundle_that_has_ended_is_not_used_read_again_or_not() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let machine = Machine::with(tpm(&maker, Seat::A), Hardware::tdx(&PLATFORM));
    let key = SecretKey::generate(&mut rand_core::OsRng);
    let config = configure(&trust.dir(), &key, None);
    write(&trust, &key, "UpToDate", 0, 60);
    read_again(&trust, &config);
    assert_eq!(outcome(&trust, &machine).await, None);
    // A minute and more goes by, and nobody reads it again.
    trust.service().clock.at(trust.service().now() + 61);
    assert_eq!(outcome(&trust, &machine).await, Some(Code::TdxCollateralMissing));

    let config = configure(&trust.dir(), &key, Some(Duration::from_secs(100)));
    write(&trust, &key, "UpToDate", 50, 3600);
    read_again(&trust, &config);
    assert_eq!(outcome(&trust, &machine).await, None);
    trust.service().clock.at(trust.service().now() + 51);
    assert_eq!(outcome(&trust, &machine).await, Some(Code::TdxCollateralMissing), "too old by its age");
}
