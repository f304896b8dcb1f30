//! Helpers that several tests share.

pub mod simulated;
#[path = "../../../../eval/tests/it/support/values.rs"]
pub mod values;
