//! Whether a proven machine is, or becomes, a node of its pool: a pure decision over its record and its verdict.

use crate::problem::Refusal;
use crate::store::{NodeRow, PoolRow, Seen};
use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::{Code, EvidenceKind, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{Counters, HardwareRecord, NodeState, OnUnknown, Rule, TrustLevel};

/// What the verdict proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// When the session's challenge was made, seconds since 1970.
    pub challenged: u64,
    /// Who: see `NodeRow::identity`.
    pub identity: Sha256Digest,
    /// Kind of the evidence.
    pub kind: EvidenceKind,
    /// What the evidence is worth.
    pub level: TrustLevel,
    /// What the TPM proved; `None` without one, and then the identity is of one boot.
    pub tpm: Option<TpmFacts>,
    /// What the hardware proved.
    pub hardware: Option<HardwareRecord>,
    /// The image that matched, where one did.
    pub image: Option<Sha256Digest>,
    /// Until when a node of one boot is on record, seconds since 1970; `None` for one that persists.
    pub expires: Option<u64>,
}

/// What a TPM's quote proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TpmFacts {
    /// Name of the attestation key, hex; SHA-256 of the key of a stock client.
    pub ak_name: String,
    /// The quote's counters.
    pub counters: Counters,
    /// The platform that matched, where one did.
    pub platform: Option<Sha256Digest>,
}

/// What follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is a node: write the record, go on.
    Accept(NodeRow),
    /// Write the record, and refuse.
    Hold(NodeRow, Code, String),
    /// Refuse; nothing changes.
    Refuse(Code, String),
}

/// Decides over a machine of `pool` that proved `facts`. `name` is what a new node would be called.
pub fn decide(known: Option<&NodeRow>, pool: &PoolRow, name: &NodeName, facts: &Facts, now: u64) -> Decision {
    match known {
        None => newcomer(fresh(pool, name, facts, now), false, pool, facts, now),
        Some(node) => match node.state {
            // An edited pool decides anew; where it still asks, the record waits.
            NodeState::Pending => {
                newcomer(NodeRow { name: name.clone(), ..node.clone() }, true, pool, facts, now)
            }
            NodeState::Active => match &facts.tpm {
                Some(tpm) => returning(node, tpm, facts, now),
                None => again(node, name, facts, now),
            },
            state => refuse_state(state, node),
        },
    }
}

fn fresh(pool: &PoolRow, name: &NodeName, facts: &Facts, now: u64) -> NodeRow {
    let ak_name = facts.tpm.as_ref().map(|tpm| tpm.ak_name.clone()).unwrap_or_default();
    NodeRow { expires: facts.expires, ..registered(pool, name, facts.identity, ak_name, now) }
}

/// The record of a machine that registered its attestation key: it waits, and nothing of it is proven.
pub fn registered(
    pool: &PoolRow,
    name: &NodeName,
    identity: Sha256Digest,
    ak_name: String,
    now: u64,
) -> NodeRow {
    NodeRow {
        identity,
        name: name.clone(),
        pool: pool.name.clone(),
        state: NodeState::Pending,
        reason: None,
        level: None,
        kind: None,
        hardware: None,
        ak_name,
        counters: None,
        seen: None,
        platform: None,
        image: None,
        release_reset: 0,
        releases: 0,
        created: now,
        attested: None,
        expires: None,
    }
}

fn newcomer(mut node: NodeRow, waits: bool, pool: &PoolRow, facts: &Facts, now: u64) -> Decision {
    // Until somebody approves, the record says what was proven last: that is what an approval is about.
    attested(&mut node, facts, now);
    let name = &node.name;
    let (code, text) = match pool.on_unknown {
        OnUnknown::Enrol
            if facts.level != TrustLevel::HypervisorVtpm
                || pool.rules.contains(&Rule::DangerHostIsTrusted) =>
        {
            node.state = NodeState::Active;
            node.reason = None;
            return Decision::Accept(node);
        }
        OnUnknown::Enrol => (
            Code::EnrolmentNeedsTrust,
            format!(
                "{name} attests at level hypervisor-vtpm, and pool {} has no rule danger-host-is-trusted",
                pool.name
            ),
        ),
        OnUnknown::Refuse if !waits => {
            return Decision::Refuse(
                Code::NodeUnknown,
                format!("{name} is not enrolled, and pool {} refuses unknown TPMs", pool.name),
            );
        }
        OnUnknown::Ask | OnUnknown::Refuse => (Code::NodePending, format!("{name} waits for approval")),
    };
    node.reason = Some(text.clone());
    Decision::Hold(node, code, text)
}

/// A boot without a TPM that attests once more before its release: the session's name is its name now.
fn again(node: &NodeRow, name: &NodeName, facts: &Facts, now: u64) -> Decision {
    if node.releases > 0 {
        let text = format!("{} had its release, and a boot without a TPM has one", node.name);
        return Decision::Refuse(Code::ReleasesExhausted, text);
    }
    let mut row = NodeRow { name: name.clone(), ..node.clone() };
    attested(&mut row, facts, now);
    Decision::Accept(row)
}

fn returning(node: &NodeRow, tpm: &TpmFacts, facts: &Facts, now: u64) -> Decision {
    // A network can hold an attestation back until the node has made another: that is no reason to take a good node out.
    let held_back = node.attested.is_some_and(|last| facts.challenged <= last);
    let hold = |code, text: String| {
        if held_back {
            let text = format!("{text}; another session of it was accepted since this one's challenge");
            return Decision::Refuse(Code::SessionExpired, text);
        }
        let seen = Seen { ak_name: tpm.ak_name.clone(), counters: tpm.counters, level: Some(facts.level) };
        let reason = Some(text.clone());
        let row = NodeRow { state: NodeState::Quarantined, reason, seen: Some(seen), ..node.clone() };
        Decision::Hold(row, code, text)
    };
    if node.ak_name != tpm.ak_name {
        return hold(
            Code::AkChanged,
            format!("{} has attestation key {}, and {} is on record", node.name, tpm.ak_name, node.ak_name),
        );
    }
    if let Some(last) = node.counters
        && order(&tpm.counters) < order(&last)
    {
        return hold(
            Code::CountersRolledBack,
            format!("{} quotes {}, and {} is on record", node.name, words(&tpm.counters), words(&last)),
        );
    }
    if let Some(last) = node.level.filter(|last| strength(facts.level) < strength(*last)) {
        return hold(
            Code::LevelDropped,
            format!(
                "{} attests at level {}, and {} is on record",
                node.name,
                facts.level.as_str(),
                last.as_str()
            ),
        );
    }
    let mut row = node.clone();
    attested(&mut row, facts, now);
    Decision::Accept(row)
}

/// Whether a pool that was edited since a verdict still takes evidence of that kind and level.
pub fn still_admitted(
    pool: &PoolRow,
    kind: Option<EvidenceKind>,
    level: Option<TrustLevel>,
) -> Result<(), Refusal> {
    let demands = &pool.hardware;
    if let Some(kinds) = &demands.kinds
        && !kind.is_some_and(|kind| kinds.contains(&kind))
    {
        let text = format!("pool {} no longer takes evidence of this kind", pool.name);
        return Err(Refusal::new(Code::KindNotAllowed, text));
    }
    let Some(least) = demands.least_level.map(crate::references::level) else { return Ok(()) };
    if level.is_some_and(|level| strength(level) >= strength(least)) {
        return Ok(());
    }
    let text = format!(
        "the session is of level {}, and pool {} now wants {}",
        level.map_or("?", TrustLevel::as_str),
        pool.name,
        least.as_str()
    );
    Err(Refusal::new(Code::LevelTooLow, text))
}

/// What of a pool's demands nothing but the evidence can be judged by once more; kinds and level are in the verdict, see
/// [`still_admitted`].
pub fn judged_by(demands: &HardwarePolicy) -> Result<Sha256Digest, Refusal> {
    let rest = HardwarePolicy { least_level: None, kinds: None, ..demands.clone() };
    serde_json::to_vec(&rest).map(|json| Sha256Digest::of(&json)).map_err(Refusal::internal)
}

/// Higher is more.
fn strength(level: TrustLevel) -> u8 {
    match level {
        TrustLevel::HypervisorVtpm => 0,
        TrustLevel::DiscreteTpm => 1,
        TrustLevel::Tee => 2,
        TrustLevel::TeeBoundVtpm => 3,
    }
}

fn attested(node: &mut NodeRow, facts: &Facts, now: u64) {
    node.ak_name = facts.tpm.as_ref().map(|tpm| tpm.ak_name.clone()).unwrap_or_default();
    node.level = Some(facts.level);
    node.kind = Some(facts.kind);
    node.hardware = facts.hardware.clone();
    node.counters = facts.tpm.as_ref().map(|tpm| tpm.counters);
    node.platform = facts.tpm.as_ref().and_then(|tpm| tpm.platform);
    node.image = facts.image;
    node.attested = Some(now);
    node.expires = facts.expires;
}

fn refuse_state(state: NodeState, node: &NodeRow) -> Decision {
    match Refusal::of_state(state, &node.name, node.reason.as_deref()) {
        Some(refusal) => Decision::Refuse(refusal.code, refusal.detail),
        None => Decision::Refuse(Code::Internal, format!("{} is active", node.name)),
    }
}

/// A TPM's counters only grow, in this order; equal ones are a retry.
fn order(counters: &Counters) -> (u32, u32, u64) {
    (counters.reset_count, counters.restart_count, counters.clock)
}

fn words(c: &Counters) -> String {
    format!("reset {}, restart {}, clock {}", c.reset_count, c.restart_count, c.clock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_protocol::grants::OnForeignDisk;

    fn pool(on_unknown: OnUnknown, rules: &[Rule]) -> PoolRow {
        PoolRow {
            name: "workers".parse().unwrap(),
            on_unknown,
            rules: rules.to_vec(),
            on_foreign_disk: OnForeignDisk::Refuse,
            allow_init_data: false,
            hardware: Default::default(),
            cluster: None,
            created: 0,
        }
    }

    fn facts(level: TrustLevel) -> Facts {
        Facts {
            challenged: 2,
            identity: Sha256Digest::of(b"ek"),
            kind: EvidenceKind::Tpm,
            level,
            tpm: Some(TpmFacts {
                ak_name: "000b".into(),
                counters: Counters { reset_count: 5, restart_count: 1, clock: 1000, safe: true },
                platform: Some(Sha256Digest::of(b"p")),
            }),
            hardware: None,
            image: Some(Sha256Digest::of(b"i")),
            expires: None,
        }
    }

    fn with_tpm(level: TrustLevel, change: impl FnOnce(&mut TpmFacts)) -> Facts {
        let mut facts = facts(level);
        change(facts.tpm.as_mut().unwrap());
        facts
    }

    fn name() -> NodeName {
        "workers-a".parse().unwrap()
    }

    fn code(decision: &Decision) -> Option<Code> {
        match decision {
            Decision::Accept(_) => None,
            Decision::Hold(_, code, _) | Decision::Refuse(code, _) => Some(*code),
        }
    }

    fn active() -> NodeRow {
        let pool = pool(OnUnknown::Enrol, &[]);
        match decide(None, &pool, &name(), &facts(TrustLevel::DiscreteTpm), 1) {
            Decision::Accept(row) => row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn newcomers_by_the_pools_rule() {
        let level = TrustLevel::DiscreteTpm;
        let of = |on_unknown| decide(None, &pool(on_unknown, &[]), &name(), &facts(level), 1);
        assert_eq!(code(&of(OnUnknown::Refuse)), Some(Code::NodeUnknown));
        assert!(matches!(of(OnUnknown::Refuse), Decision::Refuse(..)));
        assert!(
            matches!(of(OnUnknown::Ask), Decision::Hold(row, Code::NodePending, _) if row.state == NodeState::Pending)
        );
        assert_eq!(active().state, NodeState::Active);
        assert_eq!(active().counters, facts(level).tpm.map(|tpm| tpm.counters));
    }

    #[test]
    fn t12_hypervisor_level_enrols_only_by_the_danger_rule() {
        let facts = facts(TrustLevel::HypervisorVtpm);
        let without = decide(None, &pool(OnUnknown::Enrol, &[]), &name(), &facts, 1);
        let Decision::Hold(row, Code::EnrolmentNeedsTrust, _) = without else { panic!("{without:?}") };
        assert_eq!(row.state, NodeState::Pending);
        let with = pool(OnUnknown::Enrol, &[Rule::DangerHostIsTrusted]);
        assert_eq!(code(&decide(None, &with, &name(), &facts, 1)), None);
        assert_eq!(code(&decide(Some(&row), &with, &name(), &facts, 2)), None, "the edited pool decides");
    }

    #[test]
    fn t06_changed_key_is_quarantined() {
        let pool = pool(OnUnknown::Enrol, &[]);
        let other = with_tpm(TrustLevel::DiscreteTpm, |tpm| tpm.ak_name = "000c".into());
        let decision = decide(Some(&active()), &pool, &name(), &other, 2);
        let Decision::Hold(row, Code::AkChanged, _) = decision else { panic!("{decision:?}") };
        assert_eq!((row.state, row.ak_name.as_str()), (NodeState::Quarantined, "000b"));
        assert_eq!(row.seen.as_ref().map(|s| s.ak_name.as_str()), Some("000c"));
        let again = decide(Some(&row), &pool, &name(), &facts(TrustLevel::DiscreteTpm), 3);
        assert_eq!(code(&again), Some(Code::NodeQuarantined));
    }

    #[test]
    fn t18_counters_never_go_back() {
        let pool = pool(OnUnknown::Enrol, &[]);
        let with = |reset_count, restart_count, clock| {
            let counters = Counters { reset_count, restart_count, clock, safe: true };
            let facts = with_tpm(TrustLevel::DiscreteTpm, |tpm| tpm.counters = counters);
            code(&decide(Some(&active()), &pool, &name(), &facts, 2))
        };
        for good in [(5, 1, 1000), (5, 1, 1001), (5, 2, 0), (6, 0, 0)] {
            assert_eq!(with(good.0, good.1, good.2), None, "{good:?}");
        }
        for back in [(5, 1, 999), (5, 0, 2000), (4, 9, 2000)] {
            assert_eq!(with(back.0, back.1, back.2), Some(Code::CountersRolledBack), "{back:?}");
        }
    }

    #[test]
    fn t18_what_was_held_back_quarantines_nobody() {
        let pool = pool(OnUnknown::Enrol, &[]);
        let older = with_tpm(TrustLevel::DiscreteTpm, |tpm| tpm.counters.clock -= 1);
        let foreign = with_tpm(TrustLevel::DiscreteTpm, |tpm| tpm.ak_name = "000c".into());
        for mut facts in [older, foreign] {
            // The record's last verdict is of second 1.
            facts.challenged = 1;
            let held = decide(Some(&active()), &pool, &name(), &facts, 3);
            assert!(matches!(held, Decision::Refuse(Code::SessionExpired, _)), "{held:?}");
            facts.challenged = 2;
            assert!(matches!(decide(Some(&active()), &pool, &name(), &facts, 3), Decision::Hold(..)));
        }
    }

    #[test]
    fn t12_a_level_does_not_drop_in_silence() {
        let pool = pool(OnUnknown::Enrol, &[]);
        let at = |level| NodeRow { level: Some(level), ..active() };
        let decide = |node: &NodeRow, level| decide(Some(node), &pool, &name(), &facts(level), 2);
        let bound = at(TrustLevel::TeeBoundVtpm);
        for weaker in [TrustLevel::Tee, TrustLevel::DiscreteTpm, TrustLevel::HypervisorVtpm] {
            let Decision::Hold(row, Code::LevelDropped, _) = decide(&bound, weaker) else { panic!() };
            assert_eq!((row.state, row.level), (NodeState::Quarantined, Some(TrustLevel::TeeBoundVtpm)));
            assert_eq!(row.seen.unwrap().level, Some(weaker), "what an approval takes over");
        }
        assert_eq!(code(&decide(&bound, TrustLevel::TeeBoundVtpm)), None);
        let Decision::Accept(row) = decide(&at(TrustLevel::HypervisorVtpm), TrustLevel::Tee) else {
            panic!()
        };
        assert_eq!(row.level, Some(TrustLevel::Tee), "a higher one becomes the record");
    }

    #[test]
    fn t17_a_boot_without_a_tpm_has_one_release() {
        let pool = pool(OnUnknown::Enrol, &[]);
        let bare = Facts { tpm: None, expires: Some(100), ..facts(TrustLevel::Tee) };
        let Decision::Accept(first) = decide(None, &pool, &name(), &bare, 1) else { panic!() };
        assert_eq!((first.expires, first.ak_name.as_str(), first.counters), (Some(100), "", None));
        let later: NodeName = "workers-b".parse().unwrap();
        let Decision::Accept(again) = decide(Some(&first), &pool, &later, &bare, 2) else { panic!() };
        assert_eq!(again.name, later, "each session has a name of its own");
        let released = NodeRow { releases: 1, ..again };
        let refused = decide(Some(&released), &pool, &name(), &bare, 3);
        assert!(matches!(refused, Decision::Refuse(Code::ReleasesExhausted, _)), "{refused:?}");
    }

    #[test]
    fn other_states_refuse() {
        let pool = pool(OnUnknown::Enrol, &[]);
        for (state, want) in [
            (NodeState::Quarantined, Code::NodeQuarantined),
            (NodeState::Revoked, Code::NodeRevoked),
            (NodeState::Retired, Code::NodeRetired),
        ] {
            let node = NodeRow { state, ..active() };
            let decision = decide(Some(&node), &pool, &name(), &facts(TrustLevel::DiscreteTpm), 2);
            assert!(matches!(decision, Decision::Refuse(code, _) if code == want), "{state:?}");
        }
    }
}
