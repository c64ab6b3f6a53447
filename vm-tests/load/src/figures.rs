//! The figures, and their goals.

use serde_json::{Value, json};
use std::time::Duration;

/// The service's time for a session with all of it and TLS.
const CPU_GOAL: f64 = 0.9;
/// What a session may cost with 100,000 registered nodes, of what it costs with 1,000.
const GROWTH_GOAL: f64 = 1.1;

/// Sessions that were walked.
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    /// Of the service.
    pub(crate) cpu: Duration,
    /// Of each session, as its node saw it.
    pub(crate) times: Vec<Duration>,
}

impl Measured {
    fn count(&self) -> f64 {
        u32::try_from(self.times.len()).map_or(f64::NAN, f64::from)
    }

    fn cpu_millis(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.count()
    }
}

/// The same at two services in turns, in the same minutes of the machine.
#[derive(Default)]
pub(crate) struct Turns {
    /// With the fleet alone on record.
    few: Vec<Measured>,
    /// With many nodes on record.
    many: Vec<Measured>,
}

impl Turns {
    pub(crate) fn add(&mut self, few: Measured, many: Measured) {
        self.few.push(few);
        self.many.push(many);
    }
}

/// What was measured, in the order of its making.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Value>,
}

impl Report {
    pub(crate) fn phase(&mut self, at_once: usize, measured: Measured) {
        self.sessions(at_once, measured, None);
    }

    /// The middle one of the turns.
    pub(crate) fn turns(&mut self, at_once: usize, nodes: usize, turns: Turns) {
        let pairs = turns.few.iter().zip(&turns.many);
        let growth =
            middle(pairs.map(|(few, many)| many.cpu_millis() / few.cpu_millis()).collect(), |it| *it);
        if let Some(few) = middle(turns.few, Measured::cpu_millis) {
            self.sessions(at_once, few, Some(CPU_GOAL));
        }
        if let Some(many) = middle(turns.many, Measured::cpu_millis) {
            self.add(format!("service-cpu-a-session-of-{nodes}-nodes"), many.cpu_millis(), "ms", None);
        }
        if let Some(growth) = growth {
            self.add(format!("cost-of-{nodes}-nodes-over-1000"), growth, "ratio", Some(GROWTH_GOAL));
        }
    }

    fn sessions(&mut self, at_once: usize, mut measured: Measured, goal: Option<f64>) {
        measured.times.sort_unstable();
        let per_second = measured.count() / measured.wall.as_secs_f64();
        self.add(format!("sessions-at-{at_once}"), per_second, "1/s", None);
        for (name, permille) in [("p50", 500), ("p99", 990), ("p999", 999)] {
            let place = measured.times.len().saturating_sub(1) * permille / 1000;
            let time = measured.times.get(place).map_or(f64::NAN, Duration::as_secs_f64);
            self.add(format!("session-at-{at_once}-{name}"), time * 1e3, "ms", None);
        }
        self.add(format!("service-cpu-a-session-at-{at_once}"), measured.cpu_millis(), "ms", goal);
    }

    pub(crate) fn memory(&mut self, nodes: usize, mebibytes: f64) {
        self.add(format!("service-memory-of-{nodes}-nodes"), mebibytes, "MiB", None);
    }

    fn add(&mut self, name: String, value: f64, unit: &str, goal: Option<f64>) {
        let holds = goal.map(|goal| value <= goal);
        self.figures.push(json!({"name": name, "value": value, "unit": unit, "goal": goal, "holds": holds}));
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "figures": self.figures })
    }
}

/// The one in the middle by `key`; of an odd number, with as many above it as below.
fn middle<T>(mut all: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    all.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let place = all.len() / 2;
    (place < all.len()).then(|| all.swap_remove(place))
}
