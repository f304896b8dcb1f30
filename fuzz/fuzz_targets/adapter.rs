//! `cargo fuzz run adapter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("adapter", bytes));
