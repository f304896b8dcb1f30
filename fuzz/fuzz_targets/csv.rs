//! `cargo fuzz run csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("csv", bytes));
