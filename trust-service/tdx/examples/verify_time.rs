//! Times a verification with collateral beside dcap-qvl's in the same run: `cargo run --release -p ccnode-tdx --example verify_time`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people at their desks")]

use ccnode_evidence::UnixTime;
use ccnode_tdx::{Collateral, CollateralAge, Quote, Root, TdxPolicy, verify};
use ccnode_testkit::tdx::{self, NOW, Platform, TdQuote};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 15;
const RUNS: u32 = 100;

fn main() {
    let platform = Platform::new();
    let quote = TdQuote::v5(3).sign(&platform);
    let json = tdx::Collateral::default().sign(&platform);
    let root = Root::danger_other_root(&platform.root()).unwrap();
    let (now, age, policy) = (UnixTime(NOW), CollateralAge::default(), TdxPolicy::default());
    let ours = Collateral::from_json(json.to_string().as_bytes()).unwrap();
    let theirs: QuoteCollateralV3 = serde_json::from_value(json).unwrap();
    let verifier = QuoteVerifier::new(platform.root());
    let kept = ours.verify(&root, now, &age).unwrap();

    let whole = || {
        let collateral = ours.verify(&root, now, &age).unwrap();
        let proven = verify(&Quote::parse(&quote).unwrap(), &root, Some(&collateral), now).unwrap();
        black_box(policy.check(&proven).unwrap());
    };
    let with_kept = || {
        let proven = verify(&Quote::parse(&quote).unwrap(), &root, Some(&kept), now).unwrap();
        black_box(policy.check(&proven).unwrap());
    };
    let dcap = || drop(black_box(verifier.verify(&quote, &theirs, now.0).unwrap()));

    // Interleaved, so that a slow moment of the machine hits all alike; the median of the rounds counts.
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (times, run) in times.iter_mut().zip([&whole as &dyn Fn(), &with_kept, &dcap]) {
            times.push(time(run));
        }
    }
    let [whole, with_kept, dcap] = times.map(|mut times| {
        times.sort_unstable();
        times.get(ROUNDS / 2).copied().unwrap_or_default()
    });
    println!("quote, collateral and policy     {whole:>9} ns");
    println!("quote and policy, collateral kept{with_kept:>9} ns");
    println!("dcap-qvl, quote and collateral   {dcap:>9} ns");
    println!("ratio {:.2} (goal 1.20 at most)", whole as f64 / dcap as f64);
}

/// Nanoseconds a run.
fn time(run: &dyn Fn()) -> u128 {
    let start = Instant::now();
    for _ in 0..RUNS {
        run();
    }
    start.elapsed().as_nanos() / u128::from(RUNS)
}
