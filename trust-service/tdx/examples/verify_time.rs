//! Times a verification with collateral beside dcap-qvl's in the same run: `cargo run --release -p ccnode-tdx --example verify_time`,
//! of a quote that it makes, or of a real one: `… verify_time QUOTE COLLATERAL.json UNIX-TIME`.
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

/// A quote, its collateral, the root of both (DER; Intel's where there is none) and a time within their validity.
struct Subject {
    quote: Vec<u8>,
    collateral: String,
    root: Option<Vec<u8>>,
    now: UnixTime,
}

fn subject() -> Subject {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [quote, collateral, now] => Subject {
            quote: std::fs::read(quote).unwrap(),
            collateral: std::fs::read_to_string(collateral).unwrap(),
            root: None,
            now: UnixTime(now.parse().unwrap()),
        },
        _ => {
            let platform = Platform::new();
            let collateral = tdx::Collateral::default().sign(&platform).to_string();
            let quote = TdQuote::v5(3).sign(&platform);
            Subject { quote, collateral, root: Some(platform.root()), now: UnixTime(NOW) }
        }
    }
}

fn main() {
    let Subject { quote, collateral, root, now } = subject();
    let (age, policy) = (CollateralAge::default(), TdxPolicy::default());
    let ours = Collateral::from_json(collateral.as_bytes()).unwrap();
    let theirs: QuoteCollateralV3 = serde_json::from_str(&collateral).unwrap();
    let verifier = root.clone().map_or_else(QuoteVerifier::new_prod, QuoteVerifier::new);
    let root = root.map_or_else(Root::intel, |der| Root::danger_other_root(&der).unwrap());
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
