//! `cargo fuzz run source`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("source", bytes));
