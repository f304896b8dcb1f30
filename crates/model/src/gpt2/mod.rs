//! GPT-2 as Hugging Face writes it: a `config.json` with words of its own, and weights with other names and layouts.
//!
//! Everywhere else the parameters are called as a Llama's are, so that one pattern means the same of every family.

mod config;
mod names;

pub(crate) use config::{read, to_json};
pub(crate) use names::{PREFIX, stored};
