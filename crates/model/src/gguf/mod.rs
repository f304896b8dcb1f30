//! Models as GGUF, the one file that llama.cpp reads: written and read.
//!
//! The container and the quantised types are Candle's; here is what stands in it: which parameter has which name, how the
//! rows of a head lie, and what a tokenizer becomes.

mod architecture;
mod byte_level;
mod config;
mod export;
mod import;
mod metadata;
mod parameters;
mod pieces;
mod pre_tokenizer;
mod quantisation;
mod rebuilt;
mod rotary;
mod scheme;
mod vocabulary;

pub use export::{GgufExport, export_gguf};
pub use import::import_gguf;
pub use quantisation::GgufType;
