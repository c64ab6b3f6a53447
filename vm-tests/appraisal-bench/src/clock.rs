//! Milliseconds a run, of runs that take turns so that a slow moment of the machine slows all of them.

use std::time::{Duration, Instant};

const TURNS: usize = 40;
const TURN: Duration = Duration::from_millis(15);

/// The best turn of each: what else the machine did disturbs it least.
pub(crate) fn millis<const N: usize>(mut runs: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..TURNS {
        for (run, best) in runs.iter_mut().zip(&mut best) {
            let (start, mut done) = (Instant::now(), 0u32);
            while start.elapsed() < TURN {
                run();
                done += 1;
            }
            *best = best.min(start.elapsed().as_secs_f64() * 1e3 / f64::from(done));
        }
    }
    best
}
