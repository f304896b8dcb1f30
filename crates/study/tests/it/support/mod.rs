//! Helpers that several tests share.

#[path = "../../../../finetune/tests/it/support/tiny.rs"]
pub mod tiny;
