//! Custodians that are taken and refused, and shares of the right form.

use super::*;
use p256::pkcs8::LineEnding;
use rand_core::OsRng;

fn pem() -> String {
    p256::SecretKey::random(&mut OsRng).public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

fn parse(custodians: &[String], threshold: i64) -> Result<Custodians, String> {
    let mut table = toml::Table::new();
    table.insert("custodians".into(), custodians.to_vec().into());
    table.insert("threshold".into(), threshold.into());
    table.try_into().map_err(|e: toml::de::Error| e.message().to_owned())
}

#[test]
fn custodians_are_two_to_sixteen_each_with_a_key_of_its_own() {
    let many: Vec<String> = std::iter::repeat_with(pem).take(17).collect();
    let taken = parse(&many[..3], 2).unwrap();
    assert_eq!((taken.all().len(), taken.threshold()), (3, 2));
    assert_eq!(taken.all()[0], Custodian::from_pem(&format!("\n{}\n", many[0])).unwrap());
    assert_ne!(taken.all()[0].id(), taken.all()[1].id());
    parse(&many[..2], 2).unwrap();
    parse(&many[..16], 16).unwrap();
    for (custodians, threshold, want) in [
        (&many[..3], 1, "threshold 1 of 3"),
        (&many[..3], 0, "threshold 0 of 3"),
        (&many[..3], 4, "threshold 4 of 3"),
        (&many[..1], 2, "threshold 2 of 1"),
        (&many[..0], 2, "threshold 2 of 0"),
        (&many[..17], 2, "17 custodians"),
    ] {
        let error = parse(custodians, threshold).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
    assert!(parse(&many[..3], 256).is_err() && parse(&many[..3], -1).is_err());
    let twice = [many[0].clone(), many[1].clone(), many[0].clone()];
    assert!(parse(&twice, 2).unwrap_err().contains("custodian 3 has the key of one before it"));
}

#[test]
fn another_kind_of_key_is_no_custodian_s() {
    let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE\n-----END PUBLIC KEY-----\n";
    for bad in ["", "x", p384, &pem().replace("PUBLIC", "PRIVATE")] {
        let error = parse(&[pem(), bad.to_owned()], 2).unwrap_err();
        assert!(error.contains("custodian 2: not a public key of P-256"), "{error}");
    }
}

fn recovery(threshold: u8, shares: usize) -> Recovery {
    let bytes = |len: usize| vec![1; len].into();
    let jwe = Jwe {
        protected: "x".repeat(PROTECTED),
        encrypted_key: bytes(40),
        iv: bytes(12),
        ciphertext: bytes(KEY_LEN),
        tag: bytes(16),
    };
    let share = |n: usize| SealedShare { custodian: Sha256Digest::of(&n.to_le_bytes()), jwe: jwe.clone() };
    Recovery { threshold, commitment: Sha256Digest::ZERO, shares: (0..shares).map(share).collect() }
}

#[test]
fn shares_have_a_number_and_a_length() {
    for (threshold, shares) in [(2, 2), (2, 16), (16, 16)] {
        recovery(threshold, shares).check().unwrap();
    }
    for (threshold, shares) in [(0, 2), (1, 2), (3, 2), (2, 1), (2, 17)] {
        let error = recovery(threshold, shares).check().unwrap_err();
        assert_eq!(error, RecoveryError::Number { shares, threshold });
    }
    let mut twice = recovery(2, 3);
    twice.shares[2].custodian = twice.shares[0].custodian;
    assert_eq!(twice.check(), Err(RecoveryError::Twice(3)));
    let changes: [fn(&mut Jwe); 6] = [
        |jwe| jwe.protected.push('x'),
        |jwe| jwe.encrypted_key.0.push(0),
        |jwe| jwe.iv.0.clear(),
        |jwe| jwe.ciphertext.0.push(0),
        |jwe| jwe.ciphertext.0.truncate(31),
        |jwe| jwe.tag.0.push(0),
    ];
    for change in changes {
        let mut long = recovery(2, 2);
        change(&mut long.shares[1].jwe);
        assert_eq!(long.check(), Err(RecoveryError::Length(2)));
    }
}

#[test]
fn sixteen_shares_fit_into_what_a_service_reads() {
    let text = serde_json::to_string(&recovery(16, 16)).unwrap();
    assert!(text.len() < 24 * 1024, "{}", text.len());
    assert_eq!(serde_json::from_str::<Recovery>(&text).unwrap(), recovery(16, 16));
}
