//! What configs of several runs have in common.

use toml::Table;

use crate::FinetuneError;

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
