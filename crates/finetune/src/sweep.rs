//! What configs of several runs have in common.

use toml::Table;

use crate::{FinetuneConfig, FinetuneError, Finetuning};

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

/// Checks that runs that are compared start from the same weights: the base of one is not the base of all otherwise.
///
/// # Errors
/// Two runs of different bases, by their folders; a base that was replaced meanwhile.
pub fn check_bases<'a>(
    runs: impl Iterator<Item = &'a Finetuning> + Clone,
) -> Result<(), FinetuneError> {
    let mut others = runs.clone();
    let Some(first) = others.next() else {
        return Ok(());
    };
    if let Some(other) = others.find(|other| other.base_sha256() != first.base_sha256()) {
        let described = |run: &Finetuning| {
            format!(
                "`{}` from `{}` (SHA-256 `{}`)",
                run.run_folder().display(),
                run.base().display(),
                run.base_sha256()
            )
        };
        return Err(FinetuneError::Config(format!(
            "the runs of a comparison start from one base, and {} does, but {}: a link such as `best` may have moved \
             between them. Name the folder of one checkpoint as `base`, and remove the run that has another",
            described(first),
            described(other)
        )));
    }
    first.check_base()
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
