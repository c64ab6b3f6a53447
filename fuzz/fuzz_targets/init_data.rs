//! `init_data` of `ccnode_fuzz_targets`, behind a fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ccnode_fuzz_targets::run("init_data", bytes));
