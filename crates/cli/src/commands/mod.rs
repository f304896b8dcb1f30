//! Commands, one in each file: it reads the arguments, calls the crate that does the work, and prints the result.

mod answers;
pub mod audit;
pub mod bench;
pub mod chat;
pub mod completions;
mod count;
pub mod dataset;
pub mod demo;
mod dry_run;
pub mod evaluate;
pub mod export;
pub mod finetune;
pub mod frontier;
pub mod generate;
pub mod import;
pub mod init;
pub mod interpolate;
pub mod merge;
pub mod prepare;
pub mod pretrain;
mod publish;
pub mod report;
pub mod reset;
pub mod runs;
#[cfg(feature = "serve")]
pub mod serve;
mod sweep;
pub mod tasks;
pub mod tokenizer;
pub mod transfer;
pub mod tune;

use std::path::{Path, PathBuf};

use anyhow::Context;

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
    let file = enter_project(file)?;
    polymath_config::load_exclusive(&file, overrides, polymath_train::EXCLUSIVE_KEYS)
        .map_err(Failure::usage)
}

/// Goes to the folder that the paths of a run's own `run.toml` start from, wherever the command was given. Returns the
/// path of the file from there. Any other file is left as it is.
fn enter_project(file: &Path) -> Result<PathBuf, Failure> {
    let run = file
        .parent()
        .filter(|_| file.file_name().is_some_and(|name| name == "run.toml"));
    let Some(project) = run.and_then(polymath_train::project_of) else {
        return Ok(file.to_path_buf());
    };
    let whole = file
        .canonicalize()
        .with_context(|| format!("can't read `{}`", file.display()))?;
    std::env::set_current_dir(&project)
        .with_context(|| format!("can't enter `{}`", project.display()))?;
    Ok(whole)
}
