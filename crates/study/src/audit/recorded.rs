//! Base as a tuned model's files record it: digest, name, and folder if it is on this machine.

use std::path::{Path, PathBuf};

use polymath_finetune::Lineage;
use polymath_model::{Adapter, sha256_of_weights};
use polymath_train::{is_same_place, locate, resolve_checkpoint};

use crate::StudyError;

/// Base as a tuned model's files record it.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// SHA-256 of the weights of the base, and of the models from which the base itself was tuned. Empty if none is
    /// recorded.
    pub digests: Vec<String>,
    /// Name or path of the base; `None` if none is recorded.
    pub name: Option<String>,
    /// Folder in which the base may be on this machine; `None` if none is recorded.
    folder: Option<PathBuf>,
}

impl Recorded {
    /// Reads the lineage in a run folder and, for an adapter, the base that its config names.
    ///
    /// # Errors
    /// Fails if a file exists but can't be read.
    pub fn of(folder: &Path, adapter: Option<&Adapter>) -> Result<Self, StudyError> {
        let mut found = Self::default();
        if let Some(lineage) = Lineage::of(folder)? {
            let stages = lineage.stages().into_iter();
            found.digests = stages.map(|stage| stage.base_sha256).collect();
            found.name = Some(lineage.base.display().to_string());
            found.folder = lineage.checkpoint.or(Some(lineage.base));
        }
        if let Some(adapter) = adapter {
            found.digests.extend(adapter.base.sha256.clone());
            let named = adapter.base.folder.clone();
            if !named.as_os_str().is_empty() {
                found.name.get_or_insert(named.display().to_string());
                found.folder.get_or_insert(locate(&named, folder));
            }
        }
        Ok(found)
    }

    /// Returns true if the model records `base` as its own base, by its path or by its name on the hub.
    pub fn names(&self, base: &Path, published: Option<&str>) -> Result<bool, StudyError> {
        let is_name = published.is_some() && published == self.name.as_deref();
        let here = self.here()?;
        Ok(is_name || here.is_some_and(|here| is_same_place(&here, base)))
    }

    /// Returns the folder of the original base, if it is on this machine, apart from `given`, and has the recorded
    /// weights.
    ///
    /// # Errors
    /// Fails if the folder can't be read.
    pub fn original(&self, given: &Path) -> Result<Option<Original>, StudyError> {
        let Some(folder) = self.here()?.filter(|here| !is_same_place(here, given)) else {
            return Ok(None);
        };
        let Ok(sha256) = sha256_of_weights(&folder) else {
            return Ok(None);
        };
        let is_recorded = self.digests.is_empty() || self.digests.contains(&sha256);
        Ok(is_recorded.then_some(Original { folder, sha256 }))
    }

    fn here(&self) -> Result<Option<PathBuf>, StudyError> {
        match &self.folder {
            Some(folder) if folder.exists() => Ok(Some(resolve_checkpoint(folder)?)),
            _ => Ok(None),
        }
    }
}

/// Original base of a tuned model, found on this machine.
#[derive(Debug)]
pub(super) struct Original {
    /// Folder of the original base.
    pub folder: PathBuf,
    /// SHA-256 of the original base's weights.
    pub sha256: String,
}
