//! `luks_header` of `ccnode_fuzz_targets`, behind a fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ccnode_fuzz_targets::run("luks_header", bytes));
