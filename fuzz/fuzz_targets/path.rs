//! See `litter_fuzz::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::path(data));
