//! See `litter_fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::records(data));
