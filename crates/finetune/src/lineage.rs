//! Lineage of a fine-tuned model (its base, niche and datasets), stored as `base.toml`.

use std::path::{Path, PathBuf};

use polymath_data::{Dataset, HeldoutSplit};
use polymath_train::{is_same_place, locate};
use serde::{Deserialize, Serialize};

use crate::FinetuneError;
use crate::durable;

/// Name of the file in a run folder that holds the lineage.
pub const FILE: &str = "base.toml";

/// Record of the base, method and data of a fine-tuning. `polymath report` takes its defaults from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Path of the base as written in the config.
    pub base: PathBuf,
    /// Checkpoint that `base` was resolved to when the run began; `None` for runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// SHA-256 of the base's weights, which distinguishes bases with the same path.
    pub base_sha256: String,
    /// Fine-tuning method: `full`, `frozen`, `lora` or `dora`.
    pub method: String,
    /// Niche, the domain that the model was fine-tuned on.
    pub niche: String,
    /// Path of the dataset that contains the niche.
    pub dataset: PathBuf,
    /// SHA-256 of the dataset's manifest; `None` for runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_sha256: Option<String>,
    /// Path of the dataset of the retained domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<PathBuf>,
    /// SHA-256 of the manifest of the dataset `retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_sha256: Option<String>,
    /// Split of the held-out documents on which the best checkpoint, and everything after it, was chosen; `None` for
    /// runs of earlier versions, which chose on all held-out documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_on: Option<HeldoutSplit>,
    /// Earlier fine-tunings that led to the base, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Stage>,
}

/// One of the earlier fine-tunings in a lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Folder of the base that this fine-tuning started from.
    pub base: PathBuf,
    /// SHA-256 of the weights of the base that this fine-tuning started from.
    pub base_sha256: String,
    /// Fine-tuning method: `full`, `frozen`, `lora` or `dora`.
    pub method: String,
    /// Domain of this earlier fine-tuning.
    pub niche: String,
    /// Path of the dataset that contains the niche.
    pub dataset: PathBuf,
}

impl Lineage {
    /// Writes the lineage into a run folder or a checkpoint.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), FinetuneError> {
        let text = toml::to_string(self).expect("paths and strings are always TOML");
        durable::write(&folder.join(FILE), &text)
    }

    /// Checks that a run with this lineage may be resumed or compared under the lineage `now`: they must have the
    /// same base weights and data.
    ///
    /// # Errors
    /// Fails if the base or a dataset has changed.
    pub fn check_same(&self, now: &Self, run: &Path) -> Result<(), FinetuneError> {
        let refuse = |what: String, before: &str, after: &str| {
            Err(FinetuneError::Config(format!(
                "the run `{}` was started with {what} has changed since: SHA-256 `{before}` then, `{after}` now. Restore \
                 it, choose another `run`, or remove the run's folder to start again",
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
                let what = format!("the dataset `{}` (`{key}`), which", path.display());
                return refuse(what, before, after);
            }
        }
        Ok(())
    }

    /// Returns true if the dataset `found` has the path of this run's niche or retained dataset, but another content.
    /// Returns false if the run did not record the content.
    pub fn is_of_other_data(&self, found: &Dataset) -> bool {
        let own = (Some(self.dataset.as_path()), &self.dataset_sha256);
        let retained = (self.retain.as_deref(), &self.retain_sha256);
        let is_there = |path: &Path| is_same_place(path, found.path());
        let mut there = [own, retained]
            .into_iter()
            .filter(|(path, _)| path.is_some_and(is_there));
        there.any(|(_, sha256)| {
            sha256
                .as_deref()
                .is_some_and(|sha256| sha256 != found.fingerprint())
        })
    }

    /// Returns the fine-tunings that led to this model, the first one first. A run that starts from it stores them as
    /// `earlier`.
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

    /// Returns the niches of the fine-tunings between a base and this run, the first one first. `base_sha256`
    /// identifies the base by its weights. Empty if the run does not descend from that base.
    pub fn niches_since(&self, base_sha256: &str) -> Vec<String> {
        let since = self
            .earlier
            .iter()
            .skip_while(|stage| stage.base_sha256 != base_sha256);
        since.map(|stage| stage.niche.clone()).collect()
    }

    /// Returns the lineage of a checkpoint folder or a run folder, or `None` if it was not fine-tuned by this
    /// program.
    ///
    /// # Errors
    /// Fails if the file exists but can't be read.
    pub fn of(checkpoint: &Path) -> Result<Option<Self>, FinetuneError> {
        let found = Self::recorded(checkpoint)?;
        Ok(found.map(|lineage| lineage.located(checkpoint)))
    }

    /// Returns the lineage with each path replaced by its present location, found from the files of `folder`.
    fn located(mut self, folder: &Path) -> Self {
        let own = [&mut self.base, &mut self.dataset].into_iter();
        let own = own.chain(&mut self.checkpoint).chain(&mut self.retain);
        let earlier = self.earlier.iter_mut();
        let earlier = earlier.flat_map(|stage| [&mut stage.base, &mut stage.dataset]);
        for path in own.chain(earlier) {
            *path = locate(path, folder);
        }
        self
    }

    /// Returns the lineage as the file records it, with its paths unresolved.
    pub(crate) fn recorded(checkpoint: &Path) -> Result<Option<Self>, FinetuneError> {
        let beside = checkpoint.parent().unwrap_or(Path::new("."));
        for folder in [checkpoint, beside] {
            let path = folder.join(FILE);
            match polymath_base::read_to_string(&path) {
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

/// Returns the paths of the datasets on which a checkpoint was trained and its forgetting was measured. They come from
/// the checkpoint's lineage, or else from the `run.toml` of a pretraining. Empty for a model that this program did not
/// train.
///
/// # Errors
/// Fails if a `base.toml` or `run.toml` can't be read.
pub fn datasets_of(checkpoint: &Path) -> Result<Vec<PathBuf>, FinetuneError> {
    if let Some(lineage) = Lineage::of(checkpoint)? {
        let mut paths = vec![lineage.dataset];
        paths.extend(lineage.retain.filter(|retain| *retain != paths[0]));
        return Ok(paths);
    }
    let path = checkpoint
        .parent()
        .unwrap_or(Path::new("."))
        .join("run.toml");
    let text = match polymath_base::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(FinetuneError::File { path, source }),
    };
    let table: toml::Table = text.parse().map_err(|error| {
        FinetuneError::Config(format!("can't read `{}`: {error}", path.display()))
    })?;
    let dataset = table.get("dataset").and_then(toml::Value::as_str);
    let dataset = dataset.map(|dataset| locate(Path::new(dataset), checkpoint));
    Ok(dataset.into_iter().collect())
}

/// Returns the split of the held-out documents whose scores chose `checkpoint`. It comes from the lineage of a
/// fine-tuned checkpoint, or else from the state of a pretrained one. Returns `None` if all held-out documents were
/// scored, or if the split is unknown. Scores on this split are biased towards better values; use the test split to
/// judge.
///
/// # Errors
/// Fails if the lineage exists but can't be read.
pub fn chosen_on(checkpoint: &Path) -> Result<Option<HeldoutSplit>, FinetuneError> {
    Ok(match Lineage::of(checkpoint)? {
        Some(lineage) => lineage.chosen_on,
        None => polymath_train::chosen_on(checkpoint),
    })
}

#[cfg(test)]
mod tests;
