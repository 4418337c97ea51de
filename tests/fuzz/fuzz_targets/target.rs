//! Every program of this package is this file; each runs the target of its own name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockd_fuzz_targets::run(env!("CARGO_BIN_NAME"), data));
