//! See `quarrel_fuzz::chat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| quarrel_fuzz::bounded(quarrel_fuzz::chat, input));
