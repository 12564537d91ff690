//! See `quarrel_fuzz::arch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quarrel_fuzz::bounded(quarrel_fuzz::arch, input));
