//! Helpers that several tests share.

#[path = "../../../../model/tests/it/support/drawn.rs"]
pub mod drawn;
#[path = "../../../../model/tests/it/support/llama_reference.rs"]
pub mod llama_reference;
pub mod machine;
pub mod values;
