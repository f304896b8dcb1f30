//! Base of a fine-tuning: the checkpoint that it starts from. The base's path is resolved once, and its weights are
//! identified by their SHA-256.

use std::path::{Path, PathBuf};

use polymath_model::TokenizerFiles;
use polymath_train::{is_same_place, resolve_checkpoint};

use crate::{FinetuneConfig, FinetuneError, Lineage};

/// Base that a run starts from, with its path resolved and its weights identified.
#[derive(Debug, Clone)]
pub(crate) struct PinnedBase {
    /// Folder of the checkpoint, with all links resolved.
    pub folder: PathBuf,
    /// Path of the checkpoint as written in the config.
    pub named: PathBuf,
    /// SHA-256 of the weights.
    pub sha256: String,
    /// Tokenizer of the checkpoint.
    pub tokenizer: TokenizerFiles,
}

impl PinnedBase {
    /// Resolves the config's `base`. A run that has already started keeps its checkpoint, even if `base` is a link that
    /// has moved since.
    ///
    /// # Errors
    /// Fails if the base can't be read or is an adapter.
    pub fn open(config: &FinetuneConfig) -> Result<Self, FinetuneError> {
        if let Some(begun) = Self::of_started_run(config)? {
            return Ok(begun);
        }
        let folder = resolve_checkpoint(&config.base)?;
        refuse_adapter_as_base(&folder)?;
        polymath_model::load_config(&folder)?;
        let sha256 = polymath_model::sha256_of_weights(&folder)?;
        Self::at(folder, config, sha256)
    }

    fn at(folder: PathBuf, config: &FinetuneConfig, sha256: String) -> Result<Self, FinetuneError> {
        let tokenizer = polymath_model::tokenizer_in(&folder)?;
        Ok(Self {
            tokenizer: TokenizerFiles::read(&tokenizer)?,
            folder,
            named: config.base.clone(),
            sha256,
        })
    }

    /// Returns the checkpoint that the run in the config's folder started from, or `None` if it is gone or has
    /// changed.
    fn of_started_run(config: &FinetuneConfig) -> Result<Option<Self>, FinetuneError> {
        if !has_checkpoints(&config.run) {
            return Ok(None);
        }
        let Some(lineage) = Lineage::of(&config.run)? else {
            return Ok(None);
        };
        let is_named = is_same_place(&lineage.base, &config.base);
        let Some(folder) = lineage.checkpoint.filter(|_| is_named) else {
            return Ok(None);
        };
        let unchanged = polymath_model::sha256_of_weights(&folder)
            .is_ok_and(|found| found == lineage.base_sha256);
        match unchanged {
            true => Self::at(folder, config, lineage.base_sha256).map(Some),
            false => Ok(None),
        }
    }

    /// Checks that the weights have not changed since the base was resolved.
    ///
    /// # Errors
    /// Fails if the weights are gone or have changed.
    pub fn check(&self) -> Result<(), FinetuneError> {
        let found = polymath_model::sha256_of_weights(&self.folder)?;
        if found == self.sha256 {
            return Ok(());
        }
        Err(FinetuneError::Config(format!(
            "the weights of the base `{}` were replaced since this command began (SHA-256 `{}` then, `{found}` now): \
             restore them, or start again",
            self.folder.display(),
            self.sha256
        )))
    }
}

/// Fails if the base is an adapter. An adapter of an adapter would name a base that has no full weights.
fn refuse_adapter_as_base(base: &Path) -> Result<(), FinetuneError> {
    if polymath_model::is_adapter(base) {
        return Err(FinetuneError::Config(format!(
            "`base` = `{}` is an adapter: merge it first with `polymath merge {0} -o <folder>`, and start from that folder",
            base.display()
        )));
    }
    Ok(())
}

/// Returns true if the run has saved a checkpoint.
pub(crate) fn has_checkpoints(run: &Path) -> bool {
    let is_step = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("step-");
    std::fs::read_dir(run)
        .is_ok_and(|entries| entries.flatten().any(|entry| is_step(&entry.file_name())))
}
