//! How fast a log is read and replayed, beside SHA-256 alone over the same bytes: `cargo run --release --example speed LOG…`.

use ccnode_evidence::{HashAlg, PcrSet, Sha256Digest};
use ccnode_tpm_eventlog::EventLog;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let log = EventLog::parse(&bytes)?;
        let quoted = log.replay(HashAlg::Sha256)?.pcrs();
        let mut hash = || {
            black_box(Sha256Digest::of(black_box(&bytes)));
        };
        let mut parse = || {
            let _ = black_box(EventLog::parse(black_box(&bytes)).map(|log| log.events.len()));
        };
        let mut replay = || {
            let log = EventLog::parse(black_box(&bytes));
            let _ = black_box(log.map(|log| log.matches(&quoted, PcrSet::STOCK).map(|proof| proof.set())));
        };
        let [limit, parse, replay] = rates(bytes.len(), [&mut hash, &mut parse, &mut replay]);
        eprintln!(
            "{path}: {} bytes, {} events; SHA-256 {limit:.0} MB/s, reading {parse:.0} MB/s, reading and replay {replay:.0} MB/s ({:.0} % of SHA-256)",
            bytes.len(),
            log.events.len(),
            100.0 * replay / limit
        );
    }
    Ok(())
}

/// MB/s of each, the best of 40 turns of 5 ms; in turns, so that whatever else runs slows all of them.
fn rates<const N: usize>(bytes: usize, mut runs: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [0f64; N];
    for _ in 0..40 {
        for (run, best) in runs.iter_mut().zip(&mut best) {
            let (start, mut done) = (Instant::now(), 0u32);
            while start.elapsed() < Duration::from_millis(5) {
                run();
                done += 1;
            }
            let bytes = bytes as f64 * f64::from(done);
            *best = best.max(bytes / start.elapsed().as_secs_f64() / 1e6);
        }
    }
    best
}
