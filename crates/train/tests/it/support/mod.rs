//! Helpers that several tests share.

pub mod bare;
#[path = "../../../../model/tests/it/support/llama_reference.rs"]
pub mod llama_reference;
#[path = "../../../../ops/tests/it/support/muon_by_hand.rs"]
pub mod muon_by_hand;
pub mod table;
