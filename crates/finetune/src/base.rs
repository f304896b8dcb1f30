//! The base of a run, resolved once and known by the hash of its weights.

use std::path::{Path, PathBuf};

use polymath_model::TokenizerFiles;
use polymath_train::resolve_checkpoint;

use crate::adapter::refuse_adapter_as_base;
use crate::{FinetuneConfig, FinetuneError, Lineage};

/// The checkpoint that a run starts from.
#[derive(Debug, Clone)]
pub(crate) struct PinnedBase {
    /// Its folder, with no link on the way.
    pub folder: PathBuf,
    /// The checkpoint as the config calls it.
    pub named: PathBuf,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Its tokenizer.
    pub tokenizer: TokenizerFiles,
}

impl PinnedBase {
    /// Resolves the config's `base`; a run that has begun stays with the checkpoint that it began with, wherever a link
    /// leads now.
    ///
    /// # Errors
    /// A base that can't be read, or is an adapter.
    pub fn open(config: &FinetuneConfig) -> Result<Self, FinetuneError> {
        if let Some(begun) = Self::of_begun(config)? {
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

    /// Returns the checkpoint that the run in the config's folder began with, where it is still there and unchanged.
    fn of_begun(config: &FinetuneConfig) -> Result<Option<Self>, FinetuneError> {
        if !has_checkpoints(&config.run) {
            return Ok(None);
        }
        let Some(lineage) = Lineage::of(&config.run)? else {
            return Ok(None);
        };
        let Some(folder) = lineage.checkpoint.filter(|_| lineage.base == config.base) else {
            return Ok(None);
        };
        let unchanged = polymath_model::sha256_of_weights(&folder)
            .is_ok_and(|found| found == lineage.base_sha256);
        match unchanged {
            true => Self::at(folder, config, lineage.base_sha256).map(Some),
            false => Ok(None),
        }
    }

    /// Checks that the weights are still those that were there when the base was resolved.
    ///
    /// # Errors
    /// They are gone, or others.
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

/// Whether a run has saved anything.
fn has_checkpoints(run: &Path) -> bool {
    let is_step = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("step-");
    std::fs::read_dir(run)
        .is_ok_and(|entries| entries.flatten().any(|entry| is_step(&entry.file_name())))
}
