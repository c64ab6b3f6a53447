//! Random interleavings of two nodes with two sessions each, administrators, crashes and repeats, held to what must never happen.

mod asks;

use crate::fixture::*;
use crate::history::{History, Said};
use asks::{AskOf, Rotating};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::Attestation;
use ccnode_protocol::admin::{self, NodeRecord, Pair, Pool};
use ccnode_testkit::{Boot, MakerCa, Seat, SoftTpm};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;

/// Cases of a property test: `usual`, or as many as `CCNODE_CASES` says.
pub(crate) fn cases(usual: u32) -> u32 {
    std::env::var("CCNODE_CASES").map_or(usual, |text| text.parse().unwrap())
}

/// Runs `case` with many random sequences of `op`, and shrinks one that fails.
pub(crate) fn interleave<S: Strategy, F: Future<Output = ()>>(op: S, case: impl Fn(Vec<S::Value>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config =
        Config { cases: cases(16), failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    let checked = TestRunner::new(config).run(&prop::collection::vec(op, 30..120), |ops| {
        runtime.block_on(Box::pin(case(ops)));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

/// What a session may ask, in its natural order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Auth,
    Attest,
    Grants,
    Formatted,
    Ready,
    Rotated,
    /// On the node alone: what is on record is written to the disk.
    Write,
    Committed,
    Certificate,
}

const STEPS: [Step; 9] = [
    Step::Auth,
    Step::Attest,
    Step::Grants,
    Step::Formatted,
    Step::Ready,
    Step::Rotated,
    Step::Write,
    Step::Committed,
    Step::Certificate,
];

/// A node and one of its sessions.
type Who = (usize, usize);

#[derive(Clone, Copy, Debug)]
enum Op {
    /// The session's next step.
    Next(Who),
    /// The next step, sent twice at the same time.
    Twice(Who),
    /// The next steps of a session of each node at the same time.
    Both(usize, usize),
    /// Any step, whatever its turn: a repeat, or one out of order. Where there is a choice it says something else than before.
    Again(Who, usize, bool),
    /// The evidence of the other node.
    Foreign(Who),
    Reboot(usize),
    Cap(usize),
    Approve(usize),
    Revoke(usize),
    Regrant(usize),
    RotateKey(usize),
    Forbid,
    Allow,
    Restart,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let who = || (0..2usize, 0..2usize);
    prop_oneof![
        30 => who().prop_map(Op::Next),
        5 => who().prop_map(Op::Twice),
        4 => who().prop_map(|(a, b)| Op::Both(a, b)),
        12 => (who(), 0..STEPS.len(), any::<bool>()).prop_map(|(who, step, other)| Op::Again(who, step, other)),
        1 => who().prop_map(Op::Foreign),
        3 => (0..2usize).prop_map(Op::Reboot),
        1 => (0..2usize).prop_map(Op::Cap),
        2 => (0..2usize).prop_map(Op::Approve),
        1 => (0..2usize).prop_map(Op::Revoke),
        1 => (0..2usize).prop_map(Op::Regrant),
        3 => (0..2usize).prop_map(Op::RotateKey),
        1 => Just(Op::Forbid),
        2 => Just(Op::Allow),
        1 => Just(Op::Restart),
        2 => Just(Op::Crash),
    ]
}

/// A session as far as it came.
struct Session {
    session: Challenged,
    /// Made once: a repeat is the same message.
    sent: Option<Sent>,
    grants: Option<ccnode_protocol::grants::Grants>,
    /// The header under the next key that this session has put on record, and whether it wrote it.
    recorded: Option<(Sha256Digest, bool)>,
    next: usize,
}

struct Sent {
    attestation: Attestation,
    csr: Vec<u8>,
    capped: bool,
    boot: u32,
}

struct Machine {
    tpm: SoftTpm,
    capped: bool,
    boot: u32,
    /// The header on its disk.
    disk: Option<Sha256Digest>,
    /// The session that this boot goes on with: the last one with grants.
    active: Option<usize>,
    sessions: [Option<Session>; 2],
}

struct World {
    trust: Trust,
    pair: Pair,
    machines: [Machine; 2],
    history: History,
}

impl World {
    async fn new() -> Self {
        let trust = Trust::with(|config| {
            // All come from one address here.
            config.limits.sessions_per_minute_per_address = u32::MAX;
            config.limits.releases_per_minute_per_node = u32::MAX;
        })
        .await;
        let maker = prepare(&trust).await;
        let pair = trust.admin().allow(&Boot::standard(), verity()).await;
        let machines = [Seat::A, Seat::B].map(|seat| Machine::new(&maker, seat));
        Self { trust, pair, machines, history: History::default() }
    }

    /// What is needed for a step, made beforehand, so that repeats at the same time are alike.
    fn prepare(&mut self, (node, slot): Who, step: Step) {
        let Machine { tpm, capped, boot, disk, active, sessions } = &mut self.machines[node];
        if let (Step::Write, Some(session)) = (step, &mut sessions[slot])
            && let Some((header, written)) = &mut session.recorded
            && *active == Some(slot)
        {
            (*disk, *written) = (Some(*header), true);
        }
        if let (Step::Attest, Some(session)) = (step, &mut sessions[slot])
            && session.sent.is_none()
        {
            let (attestation, csr, name) = session.session.answer(tpm);
            self.history.named(node, name);
            session.sent = Some(Sent { attestation, csr, capped: *capped, boot: *boot });
        }
    }

    /// Asks, and remembers nothing.
    async fn ask(&self, (node, slot): Who, step: Step, other: bool) -> Said {
        let machine = &self.machines[node];
        if step == Step::Auth {
            return Said::Challenged(Box::new(challenge(&self.trust, &machine.tpm).await));
        }
        let Some(Session { session, sent, grants, recorded, .. }) = &machine.sessions[slot] else {
            return Said::Nothing;
        };
        let Some(sent) = sent else { return Said::Nothing };
        match step {
            Step::Auth | Step::Write => Said::Nothing,
            Step::Attest => Said::Attested {
                nonce: session.nonce,
                capped: sent.capped,
                accepted: session.attest(&sent.attestation).await.is_ok(),
            },
            Step::Grants => Said::Granted {
                nonce: session.nonce,
                boot: sent.boot,
                grants: session.grants().await.ok().map(Box::new),
            },
            Step::Rotated | Step::Committed => {
                let Some(grants) = grants else { return Said::Nothing };
                let (disk, recorded) = (machine.disk, *recorded);
                Rotating { session, grants, disk, recorded }.spend(step, other).await
            }
            Step::Formatted | Step::Ready | Step::Certificate => {
                let Some(grants) = grants else { return Said::Nothing };
                let csr = sent.csr.clone();
                let granted = AskOf { session, grants, csr };
                granted.spend(step, other).await
            }
        }
    }

    fn hear(&mut self, (node, slot): Who, said: Said) {
        self.history.hear(node, &said);
        let Machine { boot: now, disk, active, sessions, .. } = &mut self.machines[node];
        let place = &mut sessions[slot];
        match (said, place) {
            (Said::Challenged(session), place) => {
                let (sent, grants, recorded) = (None, None, None);
                *place = Some(Session { session: *session, sent, grants, recorded, next: 1 });
                if *active == Some(slot) {
                    *active = None;
                }
            }
            (Said::Granted { boot, grants: Some(grants), .. }, Some(session)) => {
                History::opens(&grants, *disk);
                session.grants = Some(*grants);
                if boot == *now {
                    *active = Some(slot);
                }
            }
            (Said::Formatted { header, done: true, .. }, _) => *disk = Some(header),
            (Said::Rotated { header, done: true, .. }, Some(session)) => {
                session.recorded.get_or_insert((header, false));
            }
            _ => {}
        }
    }

    fn next(&self, (node, slot): Who) -> Step {
        self.machines[node].sessions[slot]
            .as_ref()
            .map_or(Step::Auth, |session| STEPS[session.next % STEPS.len()])
    }

    fn went_on(&mut self, (node, slot): Who) {
        if let Some(session) = &mut self.machines[node].sessions[slot] {
            session.next += 1;
        }
    }

    async fn step(&mut self, who: Who, step: Step, other: bool) {
        self.prepare(who, step);
        let said = self.ask(who, step, other).await;
        self.hear(who, said);
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Next(who) => {
                let step = self.next(who);
                self.step(who, step, false).await;
                if step != Step::Auth {
                    self.went_on(who);
                }
            }
            Op::Twice(who) => {
                let step = self.next(who);
                self.prepare(who, step);
                // A header that differs: one of them alone may be taken.
                let (one, two) = tokio::join!(self.ask(who, step, false), self.ask(who, step, true));
                self.hear(who, one);
                self.hear(who, two);
                if step != Step::Auth {
                    self.went_on(who);
                }
            }
            Op::Both(a, b) => {
                let (a, b) = ((0, a), (1, b));
                let (of_a, of_b) = (self.next(a), self.next(b));
                self.prepare(a, of_a);
                self.prepare(b, of_b);
                let (said_a, said_b) = tokio::join!(self.ask(a, of_a, false), self.ask(b, of_b, false));
                for (who, step, said) in [(a, of_a, said_a), (b, of_b, said_b)] {
                    self.hear(who, said);
                    if step != Step::Auth {
                        self.went_on(who);
                    }
                }
            }
            Op::Again(who, step, other) => self.step(who, STEPS[step], other).await,
            Op::Foreign((node, slot)) => {
                let other = self.machines[1 - node].sessions.iter().flatten().find_map(|s| s.sent.as_ref());
                if let (Some(session), Some(sent)) = (&self.machines[node].sessions[slot], other) {
                    let answer = session.session.attest(&sent.attestation).await;
                    assert!(answer.is_err(), "the evidence of another session was taken");
                }
            }
            Op::Reboot(node) => self.machines[node].reboot(),
            Op::Cap(node) => {
                self.machines[node].tpm.cap();
                self.machines[node].capped = true;
            }
            Op::Approve(node) => {
                if self.act(admin::NODE_APPROVE, node).await.is_some() {
                    self.history.revoked[node] = false;
                }
            }
            Op::Revoke(node) => {
                if self.act(admin::NODE_REVOKE, node).await.is_some() {
                    self.history.revoked[node] = true;
                }
            }
            Op::Regrant(node) => {
                if let Some(record) = self.act(admin::NODE_REGRANT, node).await {
                    self.history.regranted(node, &record);
                }
            }
            Op::RotateKey(node) => {
                if self.act(admin::NODE_ROTATE_KEY, node).await.is_some() {
                    self.history.asked(node);
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
            Op::Restart | Op::Crash => {
                match op {
                    Op::Crash => self.trust.crash().await,
                    _ => self.trust.restart().await,
                }
                let base = self.trust.url("");
                for session in
                    self.machines.iter_mut().flat_map(|machine| machine.sessions.iter_mut().flatten())
                {
                    session.session.base = base.clone();
                }
            }
        }
    }

    async fn act(&self, path: &str, node: usize) -> Option<NodeRecord> {
        let name = self.history.name(node)?;
        let done = act(&self.trust, path, name).await.ok()?;
        Some(serde_json::from_value(done).unwrap())
    }

    /// Nothing is stuck: once all is allowed again, every node joins and its next boot opens what it made.
    async fn ends_well(&mut self) {
        self.apply(Op::Allow).await;
        for node in 0..2 {
            self.apply(Op::Approve(node)).await;
            for _ in 0..2 {
                self.apply(Op::Reboot(node)).await;
                for step in STEPS {
                    self.step((node, 0), step, false).await;
                }
                let session = self.machines[node].sessions[0].as_ref().unwrap();
                assert!(session.grants.is_some(), "node {node} does not join any more");
            }
            assert!(self.history.is_ready(node), "node {node} made no volume");
            assert!(!self.history.is_rotating(node), "node {node} does not get its next key");
        }
    }
}

impl Machine {
    fn new(maker: &MakerCa, seat: Seat) -> Self {
        let (disk, active) = (None, None);
        Self { tpm: tpm(maker, seat), capped: false, boot: 0, disk, active, sessions: [None, None] }
    }

    fn reboot(&mut self) {
        self.tpm.reboot(Boot::standard());
        (self.capped, self.active) = (false, None);
        self.boot += 1;
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
fn what_must_never_happen_does_not() {
    interleave(op(), case);
}
