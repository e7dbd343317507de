//! See `litter_fuzz::url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::url(data));
