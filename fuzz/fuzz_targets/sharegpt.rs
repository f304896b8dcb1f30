//! `cargo fuzz run sharegpt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("sharegpt", bytes));
