//! `cargo fuzz run toml-prepare`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("toml-prepare", bytes));
