//! One file a command: reads its arguments, calls the crate that does the work, prints the result.

pub mod bench;
pub mod dataset;
pub mod demo;
pub mod evaluate;
pub mod export;
pub mod finetune;
pub mod forget;
pub mod frontier;
pub mod generate;
pub mod import;
pub mod interpolate;
pub mod merge;
pub mod prepare;
pub mod pretrain;
mod publish;
pub mod revert;
mod runs;
pub mod tasks;
pub mod tokenizer;
pub mod transfer;

use std::path::Path;

use crate::failure::Failure;

/// The config of a run: a file and what the command line changes in it.
fn load_run<T: serde::de::DeserializeOwned>(
    file: &Path,
    overrides: &[String],
) -> Result<T, Failure> {
    polymath_config::load_exclusive(file, overrides, polymath_train::EXCLUSIVE_KEYS)
        .map_err(Failure::usage)
}
