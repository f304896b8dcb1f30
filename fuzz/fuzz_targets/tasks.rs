//! `cargo fuzz run tasks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| polymath_fuzz::fuzz("tasks", bytes));
