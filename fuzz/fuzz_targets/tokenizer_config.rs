//! `cargo fuzz run tokenizer-config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("tokenizer-config", bytes));
