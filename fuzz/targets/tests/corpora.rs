//! Every seed of every corpus, whole, cut short and with bytes changed, through its target.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a corpus that can't be read is a failed test")]

use ccnode_fuzz_targets::{TARGETS, run};
use std::fs;
use std::path::PathBuf;

/// Cuts and changes of a seed: each at this many places, spread over its length.
const PLACES: usize = 96;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus")).join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut seeds: Vec<_> = files
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_target_has_seeds_and_every_corpus_a_target() {
    for (target, _) in TARGETS {
        assert!(!corpus(target).is_empty(), "{target}");
        assert!(corpus(target).iter().all(|(_, seed)| seed.len() <= 65536), "{target}");
    }
    let folders = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus")).unwrap().count();
    assert_eq!(folders, TARGETS.len());
}

#[test]
fn every_seed_keeps_the_promises() {
    for (target, _) in TARGETS {
        for (_, seed) in corpus(target) {
            run(target, &seed);
        }
    }
}

#[test]
fn so_does_what_is_left_of_a_seed_that_was_cut() {
    for (target, _) in TARGETS {
        for (_, seed) in corpus(target) {
            for place in places(seed.len()) {
                run(target, &seed[..place]);
            }
        }
    }
}

#[test]
fn so_does_a_seed_with_a_byte_changed() {
    for (target, _) in TARGETS {
        for (_, mut seed) in corpus(target) {
            for place in places(seed.len()) {
                for change in [0x01, 0x80, 0xff] {
                    seed[place] ^= change;
                    run(target, &seed);
                    seed[place] ^= change;
                }
            }
        }
    }
}

/// The first bytes, which lengths and versions are made of, and places from there to the end.
fn places(len: usize) -> impl Iterator<Item = usize> {
    let head = len.min(PLACES / 2);
    let step = (len / (PLACES / 2)).max(1);
    (0..head).chain((head..len).step_by(step))
}
