//! What configs of several runs have in common.

use toml::Table;

use crate::{FinetuneConfig, FinetuneError};

/// Checks the seeds, and that `shared` leaves out the keys that each run has as its `own`.
pub(crate) fn check(seeds: &[u64], shared: &Table, own: &[&str]) -> Result<(), FinetuneError> {
    if seeds.is_empty() {
        return Err(FinetuneError::Config(
            "`seeds` is empty: give at least one".into(),
        ));
    }
    match own.iter().find(|key| shared.contains_key(**key)) {
        Some(key) => Err(FinetuneError::Config(format!(
            "`shared.{key}`: each run has its own; leave it out"
        ))),
        None => Ok(()),
    }
}

/// Runs that are compared, or mixed with their base, have its vocabulary.
pub(crate) fn refuse_new_tokens(config: &FinetuneConfig) -> Result<(), FinetuneError> {
    if config.tokenizer.is_empty() {
        return Ok(());
    }
    Err(FinetuneError::Config(
        "`tokenizer` adds tokens, and the runs of a comparison share their base's vocabulary: tune a base with the new tokens \
         first, by `polymath finetune`, and start from that"
            .into(),
    ))
}
