//! See `litter_fuzz::document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litter_fuzz::document(data));
