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

/// What was measured, in the order of its making.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Value>,
    /// The service's milliseconds a session at 100 nodes at once, with the fleet alone on record.
    cpu: Option<f64>,
}

impl Report {
    pub(crate) fn phase(&mut self, at_once: usize, mut measured: Measured) {
        measured.times.sort_unstable();
        let per_second = measured.count() / measured.wall.as_secs_f64();
        self.add(format!("sessions-at-{at_once}"), per_second, "1/s", None);
        for (name, permille) in [("p50", 500), ("p99", 990), ("p999", 999)] {
            let place = measured.times.len().saturating_sub(1) * permille / 1000;
            let time = measured.times.get(place).map_or(f64::NAN, Duration::as_secs_f64);
            self.add(format!("session-at-{at_once}-{name}"), time * 1e3, "ms", None);
        }
        let goal = (at_once == 100).then_some(CPU_GOAL);
        if goal.is_some() {
            self.cpu = Some(measured.cpu_millis());
        }
        self.add(format!("service-cpu-a-session-at-{at_once}"), measured.cpu_millis(), "ms", goal);
    }

    pub(crate) fn registered(&mut self, nodes: usize, measured: Measured) {
        self.add(format!("service-cpu-a-session-of-{nodes}-nodes"), measured.cpu_millis(), "ms", None);
        if let Some(cpu) = self.cpu {
            let growth = measured.cpu_millis() / cpu;
            self.add(format!("cost-of-{nodes}-nodes-over-1000"), growth, "ratio", Some(GROWTH_GOAL));
        }
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
