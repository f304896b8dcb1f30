//! Export to and import from GGUF, the single-file format of llama.cpp.
//!
//! Candle provides the container format and the quantized types. This module defines the content: parameter names,
//! row order of attention heads, and tokenizer keys.

mod architecture;
mod byte_level;
mod config;
mod export;
mod import;
mod imported_tokenizer;
mod metadata;
mod parameters;
mod pieces;
mod pre_tokenizer;
mod quantization;
mod rotary;
mod scheme;
mod vocabulary;

/// First bytes of a GGUF file.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";

pub use export::{GgufExport, export_gguf};
pub use import::import_gguf;
pub use quantization::GgufType;
