//! See `litter_fuzz::ltrignore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::ltrignore(data));
