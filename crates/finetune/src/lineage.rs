//! What a fine-tuned run started from: `base.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::FinetuneError;

/// The file's name in a run folder.
pub const FILE: &str = "base.toml";

/// Where a fine-tuning came from and what it was for; `forget` finds its defaults here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The base's folder, as the config named it.
    pub base: PathBuf,
    /// SHA-256 of its weights, which tells a base apart from another under the same name.
    pub base_sha256: String,
    /// `full`, `frozen`, `lora` or `dora`.
    pub method: String,
    /// The domain that was tuned for.
    pub niche: String,
    /// The data set that holds the niche.
    pub dataset: PathBuf,
    /// The data set whose domains are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<PathBuf>,
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
    /// Writes it into a run folder.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, run: &Path) -> Result<(), FinetuneError> {
        let path = run.join(FILE);
        let text = toml::to_string(self).expect("paths and strings are always TOML");
        std::fs::write(&path, text).map_err(|source| FinetuneError::File { path, source })
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
            match std::fs::read_to_string(&path) {
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
