//! Helpers that several tests share.

pub mod drawn;
pub mod gpt2_reference;
pub mod letters;
pub mod llama_reference;
pub mod pieces;
