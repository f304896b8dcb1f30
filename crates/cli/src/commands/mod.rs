//! Commands, one in each file: it reads the arguments, calls the crate that does the work, and prints the result.

mod answers;
pub mod bench;
pub mod chat;
pub mod completions;
pub mod dataset;
pub mod demo;
pub mod evaluate;
pub mod export;
pub mod finetune;
pub mod frontier;
pub mod generate;
pub mod import;
pub mod interpolate;
pub mod merge;
pub mod prepare;
pub mod pretrain;
mod publish;
pub mod report;
pub mod reset;
mod runs;
#[cfg(feature = "serve")]
pub mod serve;
pub mod tasks;
pub mod tokenizer;
pub mod transfer;

use std::path::Path;

use crate::failure::Failure;

/// Loads the config of a run: from a file with overrides, or from `key=value` arguments alone.
fn load_run<T: serde::de::DeserializeOwned>(
    file: &Path,
    overrides: &[String],
) -> Result<T, Failure> {
    let first = file.to_str().filter(|first| first.contains('='));
    if let Some(first) = first.filter(|_| !file.exists()) {
        let all: Vec<String> = std::iter::once(first.to_owned())
            .chain(overrides.iter().cloned())
            .collect();
        return polymath_config::from_overrides(&all).map_err(Failure::usage);
    }
    polymath_config::load_exclusive(file, overrides, polymath_train::EXCLUSIVE_KEYS)
        .map_err(Failure::usage)
}
