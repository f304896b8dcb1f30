//! What configs of several runs have in common.

use toml::Table;

use polymath_finetune::{FinetuneConfig, Finetuning};

use crate::StudyError;

/// Checks the seeds, and that `shared` leaves out the keys that each run has as its `own`.
pub fn check(seeds: &[u64], shared: &Table, own: &[&str]) -> Result<(), StudyError> {
    if seeds.is_empty() {
        return Err(StudyError::Config(
            "`seeds` is empty: give at least one".into(),
        ));
    }
    match own.iter().find(|key| shared.contains_key(**key)) {
        Some(key) => Err(StudyError::Config(format!(
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
) -> Result<(), StudyError> {
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
        return Err(StudyError::Config(format!(
            "the runs of a comparison start from one base, and {} does, but {}: a link such as `best` may have moved \
             between them. Name the folder of one checkpoint as `base`, and remove the run that has another",
            described(first),
            described(other)
        )));
    }
    Ok(first.check_base()?)
}

/// Runs that are compared, or mixed with their base, have its vocabulary.
pub fn refuse_new_tokens(config: &FinetuneConfig) -> Result<(), StudyError> {
    if config.tokenizer.is_empty() {
        return Ok(());
    }
    Err(StudyError::Config(
        "`tokenizer` adds tokens, and the runs of a comparison share their base's vocabulary: tune a base with the new tokens \
         first, by `polymath finetune`, and start from that"
            .into(),
    ))
}
