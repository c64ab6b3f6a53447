//! Random interleavings of two stock nodes with two sessions each, administrators, crashes and repeats: who is ever given what.
//!
//! Stock clients get resources alone. One of each node's own and one that is bound to their pool stand for the keys of volumes.

use crate::fixture::*;
use crate::interleaved::interleave;
use crate::stock_clients::*;
use crate::stock_history::{History, Said, Told};
use ccnode_appraise::default_name;
use ccnode_appraise::stock::ak_id;
use ccnode_evidence::EvidenceKind;
use ccnode_protocol::admin::{self, OnUnknown, Pair, Pool, Reader};
use ccnode_protocol::jwe::Jwe;
use ccnode_protocol::{ATTEST, AttestResponse, Attestation, GRANTS, NodeName};
use ccnode_testkit::{Boot, Seat, SoftTpm};
use proptest::prelude::*;
use reqwest::Method;

/// Bound to the pool, or not.
const SHARED: &str = "default/disk/root";

/// What a session may ask once it is challenged, in its natural order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Attest,
    /// The node's own resource.
    Own,
    Shared,
    /// Its own by the token in place of the cookie.
    ByToken,
    /// That of the other node.
    Theirs,
    /// What sessions of `ccnode/1` get.
    Grants,
}

const STEPS: [Step; 6] = [Step::Attest, Step::Own, Step::Shared, Step::ByToken, Step::Theirs, Step::Grants];

/// A node and one of its sessions.
type Who = (usize, usize);

#[derive(Clone, Copy, Debug)]
enum Op {
    Challenge(Who),
    /// The session's next step.
    Next(Who),
    /// The next step, sent twice at the same time.
    Twice(Who),
    /// The next steps of a session of each node at the same time.
    Both(usize, usize),
    /// The next step, and a crash beside it: whether it was done, nobody hears.
    CrashAmid(Who),
    /// Any step, whatever its turn.
    Again(Who, usize),
    /// The evidence of any other session.
    Foreign(Who, Who),
    Reboot(usize),
    /// Another boot than the pool allows.
    Tamper(usize),
    Cap(usize),
    Approve(usize),
    Revoke(usize),
    Forbid,
    Allow,
    /// The node's own resource gets another content.
    Set(usize),
    Bind,
    Unbind,
    Restart,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let who = || (0..2usize, 0..2usize);
    prop_oneof![
        6 => who().prop_map(Op::Challenge),
        30 => who().prop_map(Op::Next),
        5 => who().prop_map(Op::Twice),
        5 => (0..2usize, 0..2usize).prop_map(|(a, b)| Op::Both(a, b)),
        3 => who().prop_map(Op::CrashAmid),
        12 => (who(), 0..STEPS.len()).prop_map(|(who, step)| Op::Again(who, step)),
        2 => (who(), who()).prop_map(|(who, other)| Op::Foreign(who, other)),
        3 => (0..2usize).prop_map(Op::Reboot),
        1 => (0..2usize).prop_map(Op::Tamper),
        1 => (0..2usize).prop_map(Op::Cap),
        3 => (0..2usize).prop_map(Op::Approve),
        1 => (0..2usize).prop_map(Op::Revoke),
        1 => Just(Op::Forbid),
        2 => Just(Op::Allow),
        2 => (0..2usize).prop_map(Op::Set),
        2 => Just(Op::Bind),
        1 => Just(Op::Unbind),
        1 => Just(Op::Restart),
        1 => Just(Op::Crash),
    ]
}

struct Session {
    client: StockClient,
    /// Made once: a repeat is the same message.
    sent: Option<Attestation>,
    /// Whether it was made in a boot that the pool takes.
    good: bool,
    token: Option<String>,
    next: usize,
}

struct Machine {
    tpm: SoftTpm,
    name: NodeName,
    good: bool,
    sessions: [Option<Session>; 2],
}

struct World {
    trust: Trust,
    pair: Pair,
    machines: [Machine; 2],
    history: History,
}

/// `None` where the connection broke.
async fn sent(request: reqwest::RequestBuilder) -> Option<(bool, Vec<u8>)> {
    let response = request.send().await.ok()?;
    let good = response.status().is_success();
    Some((good, response.bytes().await.ok()?.to_vec()))
}

impl Session {
    /// Asks, and remembers nothing.
    async fn ask(&self, step: Step, [own, theirs]: [&NodeName; 2]) -> Told {
        let StockClient { http, base, cookie, .. } = &self.client;
        let resource = |name: &str| http.get(format!("{base}/kbs/v0/resource/{name}"));
        let name = match step {
            Step::Shared => SHARED.to_owned(),
            Step::Theirs => format!("{theirs}/key/root"),
            _ => format!("{own}/key/root"),
        };
        let request = match (step, &self.sent, &self.token) {
            (Step::Attest, Some(attestation), _) => http.post(format!("{base}{ATTEST}")).json(attestation),
            (Step::Grants, ..) => http.get(format!("{base}{GRANTS}")),
            (Step::ByToken, _, Some(token)) => {
                resource(&name).header("authorization", format!("Bearer {token}"))
            }
            (Step::Attest | Step::ByToken, ..) => return Told::Refused,
            (Step::Own | Step::Shared | Step::Theirs, ..) => resource(&name),
        };
        let request = if step == Step::ByToken { request } else { request.header("cookie", cookie) };
        match (step, sent(request).await) {
            (_, None) => Told::Nothing,
            (_, Some((false, _))) => Told::Refused,
            (Step::Attest, Some((true, body))) => {
                let answer: AttestResponse = serde_json::from_slice(&body).unwrap();
                Told::Accepted(answer.token)
            }
            (_, Some((true, body))) => {
                let jwe: Jwe = serde_json::from_slice(&body).unwrap();
                Told::Content(self.client.key.open(&jwe).unwrap().expose().to_vec())
            }
        }
    }
}

impl World {
    async fn new() -> Self {
        let trust = Trust::with(|config| {
            stock_config(config);
            config.limits.sessions_per_minute_per_address = u32::MAX;
            config.limits.releases_per_minute_per_node = u32::MAX;
        })
        .await;
        trust.admin().create_pool(OnUnknown::Enrol, &RULES).await;
        let pair = trust.admin().allow(&Boot::standard(), verity()).await;
        let machines = [Seat::A, Seat::B].map(|seat| {
            let tpm = soft(seat);
            let name = default_name(&pool(), &ak_id(EvidenceKind::Tpm, &tpm.ak_spki()));
            Machine { tpm, name, good: true, sessions: [None, None] }
        });
        let mut world = Self { trust, pair, machines, history: History::default() };
        for node in 0..2 {
            world.apply(Op::Set(node)).await;
        }
        world.trust.admin().set(SHARED, b"shared").await.unwrap();
        world
    }

    /// What is needed for a step, made beforehand, so that repeats at the same time are alike.
    fn next(&mut self, (node, slot): Who) -> Option<Step> {
        let machine = &mut self.machines[node];
        let session = machine.sessions[slot].as_mut()?;
        let step = STEPS[session.next % STEPS.len()];
        session.next += 1;
        if session.sent.is_none() {
            session.sent = Some(session.client.answer(&machine.tpm));
            session.good = machine.good;
        }
        Some(step)
    }

    async fn ask(&self, (node, slot): Who, step: Step) -> Told {
        let names = [&self.machines[node].name, &self.machines[1 - node].name];
        match &self.machines[node].sessions[slot] {
            Some(session) => session.ask(step, names).await,
            None => Told::Refused,
        }
    }

    fn hear(&mut self, (node, slot): Who, step: Step, told: Told) {
        let Some(session) = &mut self.machines[node].sessions[slot] else { return };
        if let Told::Accepted(token) = &told {
            session.token = Some(token.clone());
        }
        let (nonce, good) = (session.client.nonce.0, session.good);
        let said = match step {
            Step::Attest => Said::Attest { good },
            Step::Own | Step::ByToken => Said::Own,
            Step::Shared => Said::Shared,
            Step::Theirs | Step::Grants => Said::Never,
        };
        self.history.hear(node, nonce, said, told);
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Challenge((node, slot)) => {
                let client = stock_auth(&self.trust, EvidenceKind::Tpm).await.unwrap();
                let session = Session { client, sent: None, good: false, token: None, next: 0 };
                self.machines[node].sessions[slot] = Some(session);
            }
            Op::Next(who) => {
                let Some(step) = self.next(who) else { return };
                let told = self.ask(who, step).await;
                self.hear(who, step, told);
            }
            Op::Twice(who) => {
                let Some(step) = self.next(who) else { return };
                let (one, two) = tokio::join!(self.ask(who, step), self.ask(who, step));
                self.hear(who, step, one);
                self.hear(who, step, two);
            }
            Op::Both(a, b) => {
                let (a, b) = ((0, a), (1, b));
                let (Some(of_a), Some(of_b)) = (self.next(a), self.next(b)) else { return };
                let (one, two) = tokio::join!(self.ask(a, of_a), self.ask(b, of_b));
                self.hear(a, of_a, one);
                self.hear(b, of_b, two);
            }
            Op::CrashAmid(who) => {
                let Some(step) = self.next(who) else { return };
                let Self { trust, machines, .. } = self;
                let [own, theirs] = [who.0, 1 - who.0].map(|node| &machines[node].name);
                let session = machines[who.0].sessions[who.1].as_ref().unwrap();
                let (told, ()) = tokio::join!(session.ask(step, [own, theirs]), trust.crash());
                self.hear(who, step, told);
                self.moved();
            }
            Op::Again(who, step) => {
                let told = self.ask(who, STEPS[step]).await;
                self.hear(who, STEPS[step], told);
            }
            Op::Foreign((node, slot), (other, of)) => {
                let theirs =
                    self.machines[other].sessions[of].as_ref().and_then(|session| session.sent.clone());
                if let (Some(session), Some(theirs), true) =
                    (&self.machines[node].sessions[slot], theirs, (node, slot) != (other, of))
                {
                    let answer = session.client.attest(&theirs).await;
                    assert!(answer.is_err(), "the evidence of another session was taken");
                }
            }
            Op::Reboot(node) => self.booted(node, Boot::standard(), true),
            Op::Tamper(node) => self.booted(node, Boot::new("2022.11", "init=/bin/sh", b"initrd"), false),
            Op::Cap(node) => {
                self.machines[node].tpm.cap();
                self.machines[node].good = false;
            }
            Op::Approve(node) => {
                if act(&self.trust, admin::NODE_APPROVE, &self.machines[node].name).await.is_ok() {
                    self.history.revoked[node] = false;
                }
            }
            Op::Revoke(node) => {
                if act(&self.trust, admin::NODE_REVOKE, &self.machines[node].name).await.is_ok() {
                    self.history.revoked[node] = true;
                }
            }
            Op::Forbid => {
                let path = admin::path(admin::PAIR, &[&POOL, &self.pair.platform, &self.pair.image]);
                if self.trust.admin().delete(&path).await.is_ok() {
                    self.history.forbidden = true;
                }
            }
            Op::Allow => {
                let path = admin::path(admin::PAIRS, &[&POOL]);
                let _: Answered<Pool> = self.trust.admin().call(Method::POST, &path, &self.pair).await;
                self.history.forbidden = false;
            }
            Op::Set(node) => {
                let content = self.history.content(node);
                let name = format!("{}/key/root", self.machines[node].name);
                self.trust.admin().set(&name, &content).await.unwrap();
            }
            Op::Bind => {
                self.trust.admin().allow_reader(SHARED, &Reader::Pool(pool())).await.unwrap();
                self.history.bound = true;
            }
            Op::Unbind => {
                let path = format!("{}/{SHARED}/readers/pool/{POOL}", admin::RESOURCES);
                let _ = self.trust.admin().delete(&path).await;
                self.history.bound = false;
            }
            Op::Restart => {
                self.trust.restart().await;
                self.moved();
            }
            Op::Crash => {
                self.trust.crash().await;
                self.moved();
            }
        }
    }

    fn booted(&mut self, node: usize, boot: Boot, good: bool) {
        self.machines[node].tpm.reboot(boot);
        self.machines[node].good = good;
    }

    /// The service listens elsewhere once it is started again.
    fn moved(&mut self) {
        for session in self.machines.iter_mut().flat_map(|machine| machine.sessions.iter_mut().flatten()) {
            session.client.base = self.trust.url("");
        }
    }

    /// Nothing is stuck: once all is allowed again, every node reads both.
    async fn ends_well(&mut self) {
        self.apply(Op::Allow).await;
        self.apply(Op::Bind).await;
        for node in 0..2 {
            self.apply(Op::Reboot(node)).await;
            self.apply(Op::Challenge((node, 0))).await;
            self.apply(Op::Approve(node)).await;
            let before = self.history.reads;
            for _ in STEPS {
                self.apply(Op::Next((node, 0))).await;
            }
            assert_eq!(self.history.reads, before + 3, "node {node} does not read any more");
        }
    }
}

async fn case(ops: Vec<Op>) {
    let mut world = World::new().await;
    for op in ops {
        world.apply(op).await;
    }
    world.ends_well().await;
    world.history.on_record(world.trust.service()).await;
    world.trust.stop().await;
}

#[test]
fn what_must_never_happen_to_stock_nodes_does_not() {
    interleave(op(), case);
}
