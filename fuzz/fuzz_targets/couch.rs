//! See `litter_fuzz::couch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::couch(data));
