//! Base as a tuned model's files record it: digest, name, and folder if it is on this machine.

use std::path::{Path, PathBuf};

use polymath_finetune::Lineage;
use polymath_model::{Adapter, sha256_of_weights};
use polymath_train::{is_same_place, locate, resolve_checkpoint};

use crate::StudyError;

/// Base as a tuned model's files record it.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// SHA-256 of the weights of the models from which the base itself was tuned, and last of the base. Empty if none
    /// is recorded.
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

    /// Returns the SHA-256 of the base's weights; `None` if none is recorded.
    pub fn digest(&self) -> Option<&String> {
        self.digests.last()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a base which was itself fine-tuned is recorded with its own digest, and that the models before it
    /// are known too, so that the tuned model can be compared with any of them.
    #[test]
    fn a_base_that_was_tuned_has_its_own_digest() {
        let folder = tempfile::tempdir().unwrap();
        let stage = |number: u8| {
            format!(
                "base = \"b{number}\"\nbase_sha256 = \"{number}\"\nmethod = \"full\"\nniche = \"n{number}\"\ndataset = \"d\"\n"
            )
        };
        let text = format!(
            "{}[[earlier]]\n{}[[earlier]]\n{}",
            stage(3),
            stage(1),
            stage(2)
        );
        std::fs::write(folder.path().join("base.toml"), text).unwrap();
        let found = Recorded::of(folder.path(), None).unwrap();
        assert_eq!(found.digests, ["1", "2", "3"]);
        assert_eq!(found.digest().map(String::as_str), Some("3"));
        assert_eq!(found.name.as_deref(), Some("b3"));
    }
}
