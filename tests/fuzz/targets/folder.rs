//! See `quarrel_fuzz::folder`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quarrel_fuzz::bounded(quarrel_fuzz::folder, input));
