//! `cargo fuzz run tokenizer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("tokenizer", bytes));
