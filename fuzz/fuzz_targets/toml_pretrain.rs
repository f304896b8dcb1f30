//! `cargo fuzz run toml-pretrain`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("toml-pretrain", bytes));
