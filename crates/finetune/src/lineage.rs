//! What a fine-tuned run started from: `base.toml`.

use std::path::{Path, PathBuf};

use polymath_data::{Dataset, HeldoutSplit};
use serde::{Deserialize, Serialize};

use crate::FinetuneError;
use crate::durable;

/// The file's name in a run folder.
pub const FILE: &str = "base.toml";

/// Where a fine-tuning came from and what it was for; `forget` finds its defaults here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The base's folder, as the config named it.
    pub base: PathBuf,
    /// The checkpoint that `base` led to when the run began; unknown of runs by earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// SHA-256 of its weights, which tells a base apart from another under the same name.
    pub base_sha256: String,
    /// `full`, `frozen`, `lora` or `dora`.
    pub method: String,
    /// The domain that was tuned for.
    pub niche: String,
    /// The data set that holds the niche.
    pub dataset: PathBuf,
    /// SHA-256 of its manifest; unknown of runs by earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_sha256: Option<String>,
    /// The data set whose domains are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<PathBuf>,
    /// SHA-256 of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_sha256: Option<String>,
    /// The split of the held-out documents that decided which checkpoint is its best, and what was chosen since; `None` of runs
    /// by earlier versions, whose choice was made on all held-out documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// Where the base was itself fine-tuned: its own lineage and that of its bases, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Stage>,
}

/// A fine-tuning before this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its base's folder.
    pub base: PathBuf,
    /// SHA-256 of that base's weights.
    pub base_sha256: String,
    /// As in [`Lineage`].
    pub method: String,
    /// The domain that it was tuned for.
    pub niche: String,
    /// The data set that holds that niche.
    pub dataset: PathBuf,
}

impl Lineage {
    /// Writes it into a run folder or a checkpoint.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), FinetuneError> {
        let text = toml::to_string(self).expect("paths and strings are always TOML");
        durable::write(&folder.join(FILE), &text)
    }

    /// Checks that a run that began as `self` says can go on, or be compared, as `now` says: from the same weights, on the
    /// same data.
    ///
    /// # Errors
    /// The base or a data set that is another one now.
    pub fn check_same(&self, now: &Self, run: &Path) -> Result<(), FinetuneError> {
        let refuse = |what: String, before: &str, after: &str| {
            Err(FinetuneError::Config(format!(
                "the run `{}` was begun with {what} is another one now: SHA-256 `{before}` then, `{after}` now. Restore \
                 what it was begun with, choose another `run`, or remove the run's folder to begin anew",
                run.display()
            )))
        };
        if self.base_sha256 != now.base_sha256 {
            let mut what = format!("the base `{}`", self.base.display());
            if let Some(checkpoint) = self.checkpoint.as_ref().filter(|path| **path != self.base) {
                what += &format!(", which was `{}` and", checkpoint.display());
            } else {
                what += ", which";
            }
            return refuse(what, &self.base_sha256, &now.base_sha256);
        }
        let data = [
            (
                "dataset",
                &self.dataset,
                &self.dataset_sha256,
                &now.dataset_sha256,
            ),
            (
                "retain",
                self.retain.as_ref().unwrap_or(&self.dataset),
                &self.retain_sha256,
                &now.retain_sha256,
            ),
        ];
        for (key, path, before, after) in data {
            if let (Some(before), Some(after)) = (before, after)
                && before != after
            {
                let what = format!("the data set `{}` (`{key}`), which", path.display());
                return refuse(what, before, after);
            }
        }
        Ok(())
    }

    /// Whether a data set that is in the place of the run's own, or of its retained one, is not what the run had; `false` where
    /// that is not known.
    pub fn is_of_other_data(&self, found: &Dataset) -> bool {
        let own = (Some(self.dataset.as_path()), &self.dataset_sha256);
        let retained = (self.retain.as_deref(), &self.retain_sha256);
        let mut there = [own, retained]
            .into_iter()
            .filter(|(path, _)| *path == Some(found.path()));
        there.any(|(_, sha256)| {
            sha256
                .as_deref()
                .is_some_and(|sha256| sha256 != found.fingerprint())
        })
    }

    /// The fine-tunings that led to this model, the first one first: what is earlier for one that starts from it.
    pub fn stages(&self) -> Vec<Stage> {
        let own = Stage {
            base: self.base.clone(),
            base_sha256: self.base_sha256.clone(),
            method: self.method.clone(),
            niche: self.niche.clone(),
            dataset: self.dataset.clone(),
        };
        self.earlier.iter().cloned().chain([own]).collect()
    }

    /// What was tuned for between the base of these weights and this run; nothing where it did not come from them.
    pub fn niches_since(&self, base_sha256: &str) -> Vec<String> {
        let since = self
            .earlier
            .iter()
            .skip_while(|stage| stage.base_sha256 != base_sha256);
        since.map(|stage| stage.niche.clone()).collect()
    }

    /// The lineage of a checkpoint folder, or of a run folder; `None` where it was not fine-tuned here.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn of(checkpoint: &Path) -> Result<Option<Self>, FinetuneError> {
        let beside = checkpoint.parent().unwrap_or(Path::new("."));
        for folder in [checkpoint, beside] {
            let path = folder.join(FILE);
            match polymath_files::read_to_string(&path) {
                Ok(text) => {
                    return toml::from_str(&text).map(Some).map_err(|error| {
                        FinetuneError::Config(format!("`{}`: {}", path.display(), error.message()))
                    });
                }
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(FinetuneError::File { path, source }),
            }
        }
        Ok(None)
    }
}

/// Returns the split of the held-out documents by whose scores `checkpoint` was chosen: by its lineage where it was fine-tuned
/// here, else by its own record of a pretraining. `None` where the choice was made on all held-out documents, or is unknown.
/// Scores on that split look better than they are; judge on the test split.
///
/// # Errors
/// A lineage that is there and can't be read.
pub fn chosen_on(checkpoint: &Path) -> Result<Option<HeldoutSplit>, FinetuneError> {
    Ok(match Lineage::of(checkpoint)? {
        Some(lineage) => lineage.chosen_on,
        None => polymath_train::chosen_on(checkpoint),
    })
}
