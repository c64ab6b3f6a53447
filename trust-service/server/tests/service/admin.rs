//! The administration interface: objects, conflicts, strictness.

use crate::fixture::*;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::admin::{
    self, AuditRow, EkRootAdd, ImageRecord, NodeRecord, NodeState, OnUnknown, Pair, PlatformRecord, Pool,
    PoolEdit, Rule, TrustLevel,
};
use ccnode_protocol::grants::Cluster;
use ccnode_server::pki;
use ccnode_testkit::{Boot, MakerCa, Seat};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn pools_are_made_edited_and_deleted() {
    let trust = Trust::new().await;
    let admin = trust.admin();
    let made = admin.create_pool(OnUnknown::Ask, &[]).await;
    assert_eq!((made.on_unknown, made.nodes), (OnUnknown::Ask, 0));
    let again = json!({"name": POOL});
    assert_eq!(code(admin.call::<Pool>(Method::POST, admin::POOLS, &again).await), Code::Conflict);
    let one = admin::path(admin::POOL, &[&POOL]);
    let cluster = Cluster { server: "https://a:6443".into(), ca: "x".into() };
    let edit = PoolEdit {
        rules: Some(vec![Rule::DangerHostIsTrusted]),
        cluster: Some(cluster.clone()),
        ..PoolEdit::default()
    };
    let edited: Pool = admin.call(Method::PATCH, &one, &edit).await.unwrap();
    assert_eq!((edited.on_unknown, edited.rules.len()), (OnUnknown::Ask, 1), "what is absent stays");
    assert_eq!(edited.cluster, Some(cluster));
    assert_eq!(admin.get::<Pool>(&one).await, edited);
    assert_eq!(admin.get::<Vec<Pool>>(admin::POOLS).await, [edited]);
    admin.delete(&one).await.unwrap();
    assert_eq!(code(admin.delete(&one).await), Code::NotFound);
    assert_eq!(code(admin.call::<Pool>(Method::PATCH, &one, &edit).await), Code::NotFound);
}

#[tokio::test]
async fn a_pool_needs_a_cluster() {
    let trust = Trust::with(|config| config.cluster = None).await;
    let wish = json!({"name": POOL});
    assert_eq!(code(trust.admin().call::<Pool>(Method::POST, admin::POOLS, &wish).await), Code::Conflict);
}

#[tokio::test]
async fn ek_roots_come_and_go() {
    let trust = Trust::new().await;
    let (admin, maker) = (trust.admin(), MakerCa::new("maker"));
    admin.create_pool(OnUnknown::Enrol, &[]).await;
    let path = admin::path(admin::EK_ROOTS, &[&POOL]);
    let root =
        EkRootAdd { certificate: pki::pem("CERTIFICATE", &maker.root()), level: TrustLevel::DiscreteTpm };
    let pool: Pool = admin.post(&path, &root).await;
    let [made] = pool.ek_roots.as_slice() else { panic!("{pool:?}") };
    assert_eq!((made.id, made.level), (Sha256Digest::of(&maker.root()), TrustLevel::DiscreteTpm));
    assert!(made.subject.contains("maker root"));
    assert_eq!(code(admin.call::<Pool>(Method::POST, &path, &root).await), Code::Conflict);
    for level in [TrustLevel::Tee, TrustLevel::TeeBoundVtpm] {
        let bad = EkRootAdd { level, certificate: pki::pem("CERTIFICATE", &maker.intermediate()) };
        assert_eq!(code(admin.call::<Pool>(Method::POST, &path, &bad).await), Code::MalformedRequest);
    }
    let bad = EkRootAdd { certificate: "x".into(), ..root.clone() };
    assert_eq!(code(admin.call::<Pool>(Method::POST, &path, &bad).await), Code::MalformedRequest);
    let leaf = std::fs::read_to_string(trust.dir().join("admin/cert.pem")).unwrap();
    let leaf = EkRootAdd { certificate: leaf, ..root };
    assert_eq!(code(admin.call::<Pool>(Method::POST, &path, &leaf).await), Code::MalformedRequest);
    let one = admin::path(admin::EK_ROOT, &[&POOL, &made.id]);
    admin.delete(&one).await.unwrap();
    assert_eq!(code(admin.delete(&one).await), Code::NotFound);
}

#[tokio::test]
async fn tuples_are_checked_listed_and_held_by_pools() {
    let trust = Trust::new().await;
    let admin = trust.admin();
    admin.create_pool(OnUnknown::Enrol, &[]).await;
    let pair = admin.allow(&Boot::standard(), verity()).await;
    let images: Vec<ImageRecord> = admin.get(admin::IMAGES).await;
    let platforms: Vec<PlatformRecord> = admin.get(admin::PLATFORMS).await;
    assert_eq!((images.len(), platforms.len()), (1, 1));
    assert_eq!((&images[0].pools[..], &platforms[0].pools[..]), (&[pool()][..], &[pool()][..]));
    let (image, platform) =
        (admin::path(admin::IMAGE, &[&pair.image]), admin::path(admin::PLATFORM, &[&pair.platform]));
    assert_eq!(admin.get::<ImageRecord>(&image).await, images[0]);
    assert_eq!(admin.get::<PlatformRecord>(&platform).await, platforms[0]);
    assert_eq!(
        code(admin.call::<Value>(Method::POST, admin::IMAGES, &images[0].tuple).await),
        Code::Conflict
    );
    assert_eq!(code(admin.delete(&image).await), Code::Conflict);
    assert_eq!(code(admin.delete(&platform).await), Code::Conflict);
    let held = admin::path(admin::PAIR, &[&POOL, &pair.platform, &pair.image]);
    admin.delete(&held).await.unwrap();
    assert_eq!(code(admin.delete(&held).await), Code::NotFound);
    admin.delete(&image).await.unwrap();
    admin.delete(&platform).await.unwrap();
    assert_eq!(code(admin.delete(&image).await), Code::NotFound);

    let good = crate::fixture::image(&Boot::standard(), verity());
    let other = Sha256Digest::of(b"other");
    for cmdline in [
        "quiet".to_owned(),
        format!("ccnode.roothash={other}"),
        format!("{} ccnode.roothash={other}", good.cmdline),
    ] {
        let bad = ccnode_evidence::ImageTuple { cmdline, ..good.clone() };
        let answer = admin.call::<Value>(Method::POST, admin::IMAGES, &bad).await;
        assert_eq!(code(answer), Code::MalformedRequest, "{}", bad.cmdline);
    }
    let mut bad = good.clone();
    bad.pcrs.0.insert(ccnode_testkit::pcr(11), Sha256Digest::ZERO);
    assert_eq!(code(admin.call::<Value>(Method::POST, admin::IMAGES, &bad).await), Code::MalformedRequest);
    let mut bad = Boot::standard().platform_tuple("x");
    bad.format = 2;
    assert_eq!(code(admin.call::<Value>(Method::POST, admin::PLATFORMS, &bad).await), Code::MalformedRequest);
    let none = Pair { platform: Sha256Digest::ZERO, image: Sha256Digest::ZERO };
    let pairs = admin::path(admin::PAIRS, &[&POOL]);
    assert_eq!(code(admin.call::<Pool>(Method::POST, &pairs, &none).await), Code::NotFound);
}

#[tokio::test]
async fn nodes_are_filtered_and_act_by_state() {
    let (trust, maker) = ready().await;
    let admin = trust.admin();
    let name = first_boot(&trust, &tpm(&maker, Seat::A)).await.grants.node;
    let list =
        async |query: &str| admin.get::<Vec<NodeRecord>>(&format!("{}{query}", admin::NODES)).await.len();
    assert_eq!(list("").await, 1);
    assert_eq!(list("?pool=workers&state=active").await, 1);
    assert_eq!(list("?state=revoked").await, 0);
    assert_eq!(list("?pool=others").await, 0);
    let bad = format!("{}?stat=active", admin::NODES);
    assert_eq!(code(admin.call::<Value>(Method::GET, &bad, &()).await), Code::MalformedRequest);
    let act = async |path, body: Value| {
        admin.call::<NodeRecord>(Method::POST, &admin::path(path, &[&name]), &body).await
    };
    assert_eq!(code(act(admin::NODE_APPROVE, json!({})).await), Code::Conflict);
    let long = json!({"reason": "x".repeat(1025)});
    assert_eq!(code(act(admin::NODE_REVOKE, long).await), Code::MalformedRequest);
    let revoked = act(admin::NODE_REVOKE, json!({"reason": "stolen"})).await.unwrap();
    assert_eq!((revoked.state, revoked.reason.as_deref()), (NodeState::Revoked, Some("stolen")));
    assert_eq!(code(act(admin::NODE_REVOKE, json!({})).await), Code::Conflict);
    let pool = admin::path(admin::POOL, &[&POOL]);
    assert_eq!(code(admin.delete(&pool).await), Code::Conflict, "a pool with nodes");
    let one = admin::path(admin::NODE, &[&name]);
    admin.delete(&one).await.unwrap();
    assert_eq!(code(act(admin::NODE_REGRANT, json!({})).await), Code::Conflict);
    admin.delete(&one).await.unwrap();
    assert_eq!(code(admin.delete(&one).await), Code::NotFound);
    admin.delete(&pool).await.unwrap();
}

#[tokio::test]
async fn bad_paths_and_bodies_are_refused_and_audit_pages() {
    let (trust, _) = ready().await;
    let admin = trust.admin();
    for path in ["/pools/UPPER", "/images/00", "/nodes/-", "/refusals/-1", "/none"] {
        let answer = admin.call::<Value>(Method::GET, &format!("{}{path}", admin::BASE), &()).await;
        assert_eq!(code(answer), Code::NotFound, "{path}");
    }
    assert_eq!(
        code(admin.call::<Value>(Method::GET, &admin::path(admin::REFUSAL, &[&77]), &()).await),
        Code::NotFound
    );
    let typo = json!({"name": "w", "on-unknow": "enrol"});
    assert_eq!(code(admin.call::<Value>(Method::POST, admin::POOLS, &typo).await), Code::MalformedRequest);
    let page = async |query: &str| -> Vec<u64> {
        let rows: Vec<AuditRow> = admin.get(&format!("{}{query}", admin::AUDIT)).await;
        rows.iter().map(|row| row.seq).collect()
    };
    let all = page("").await;
    let newest = all[0];
    assert_eq!(page("?limit=2").await, [newest, newest - 1]);
    assert_eq!(page(&format!("?limit=1&before={newest}")).await, [newest - 1]);
}
