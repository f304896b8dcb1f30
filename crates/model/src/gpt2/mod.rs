//! GPT-2 in Hugging Face's format: a `config.json` with its own keys, and weights with other names and layouts.
//!
//! Everywhere else, the parameters have Llama's names, so that a name pattern has the same meaning for every family.

mod config;
mod names;

pub(crate) use config::{read, to_json};
pub(crate) use names::{PREFIX, stored};
