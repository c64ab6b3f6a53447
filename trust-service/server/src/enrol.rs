//! Whether a proven machine is, or becomes, a node of its pool: a pure decision over its record and its verdict.

use crate::store::{NodeRow, PoolRow, Seen};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{Counters, NodeState, OnUnknown, Rule, TrustLevel};

/// What the verdict proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// When the session's challenge was made, seconds since 1970.
    pub challenged: u64,
    /// SHA-256 of the EK's Name.
    pub identity: Sha256Digest,
    /// Name of the attestation key, hex.
    pub ak_name: String,
    /// What the evidence is worth.
    pub level: TrustLevel,
    /// The quote's counters.
    pub counters: Counters,
    /// The platform that matched.
    pub platform: Sha256Digest,
    /// The image that matched.
    pub image: Sha256Digest,
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
            NodeState::Pending => newcomer(node.clone(), true, pool, facts, now),
            NodeState::Active => returning(node, facts, now),
            state => refuse_state(state, node),
        },
    }
}

fn fresh(pool: &PoolRow, name: &NodeName, facts: &Facts, now: u64) -> NodeRow {
    NodeRow {
        identity: facts.identity,
        name: name.clone(),
        pool: pool.name.clone(),
        state: NodeState::Pending,
        reason: None,
        level: None,
        ak_name: facts.ak_name.clone(),
        counters: None,
        seen: None,
        platform: None,
        image: None,
        release_reset: 0,
        releases: 0,
        created: now,
        attested: None,
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

fn returning(node: &NodeRow, facts: &Facts, now: u64) -> Decision {
    // A network can hold an attestation back until the node has made another: that is no reason to take a good node out.
    let held_back = node.attested.is_some_and(|last| facts.challenged <= last);
    let hold = |code, text: String| {
        if held_back {
            let text = format!("{text}; another session of it was accepted since this one's challenge");
            return Decision::Refuse(Code::SessionExpired, text);
        }
        let seen = Seen { ak_name: facts.ak_name.clone(), counters: facts.counters };
        let reason = Some(text.clone());
        let row = NodeRow { state: NodeState::Quarantined, reason, seen: Some(seen), ..node.clone() };
        Decision::Hold(row, code, text)
    };
    if node.ak_name != facts.ak_name {
        return hold(
            Code::AkChanged,
            format!("{} has attestation key {}, and {} is on record", node.name, facts.ak_name, node.ak_name),
        );
    }
    if let Some(last) = node.counters
        && order(&facts.counters) < order(&last)
    {
        return hold(
            Code::CountersRolledBack,
            format!("{} quotes {}, and {} is on record", node.name, words(&facts.counters), words(&last)),
        );
    }
    let mut row = node.clone();
    attested(&mut row, facts, now);
    Decision::Accept(row)
}

fn attested(node: &mut NodeRow, facts: &Facts, now: u64) {
    node.ak_name = facts.ak_name.clone();
    node.level = Some(facts.level);
    node.counters = Some(facts.counters);
    node.platform = Some(facts.platform);
    node.image = Some(facts.image);
    node.attested = Some(now);
}

fn refuse_state(state: NodeState, node: &NodeRow) -> Decision {
    match crate::problem::Refusal::of_state(state, &node.name, node.reason.as_deref()) {
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
            cluster: None,
            created: 0,
        }
    }

    fn facts(level: TrustLevel) -> Facts {
        Facts {
            challenged: 2,
            identity: Sha256Digest::of(b"ek"),
            ak_name: "000b".into(),
            level,
            counters: Counters { reset_count: 5, restart_count: 1, clock: 1000, safe: true },
            platform: Sha256Digest::of(b"p"),
            image: Sha256Digest::of(b"i"),
        }
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
        assert_eq!(active().counters, Some(facts(level).counters));
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
        let mut other = facts(TrustLevel::DiscreteTpm);
        other.ak_name = "000c".into();
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
            let mut facts = facts(TrustLevel::DiscreteTpm);
            facts.counters = Counters { reset_count, restart_count, clock, safe: true };
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
        let (mut older, mut foreign) = (facts(TrustLevel::DiscreteTpm), facts(TrustLevel::DiscreteTpm));
        older.counters.clock -= 1;
        foreign.ak_name = "000c".into();
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
