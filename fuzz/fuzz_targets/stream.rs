//! See `litter_fuzz::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::stream(data));
