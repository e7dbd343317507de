//! See `litter_fuzz::terminal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::terminal(data));
