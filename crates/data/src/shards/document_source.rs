//! Sources of stored documents: the file and line that each was read from.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sources::files::Files;
use crate::{DataError, Dataset, TokenShard};

/// Name of the file, which is next to the shards of a domain.
pub(crate) const FILE: &str = "sources.json";

/// Source of a document; displayed as `path` or `path:line`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentSource {
    /// Path of the file when the dataset was prepared.
    pub path: String,
    /// Line, row or text of the file, counted from 1; `None` if the file is one document.
    pub record: Option<u64>,
}

impl fmt::Display for DocumentSource {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.path)?;
        match self.record {
            Some(record) => write!(to, ":{record}"),
            None => Ok(()),
        }
    }
}

/// Files that the documents of a domain were read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentSources {
    files: Vec<String>,
}

impl DocumentSources {
    pub(crate) fn of(files: &Files) -> Self {
        let files = files.all().map(|path| path.display().to_string());
        Self {
            files: files.collect(),
        }
    }

    /// Writes the list of files into a domain's folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), DataError> {
        std::fs::create_dir_all(folder).map_err(DataError::file("make the folder", folder))?;
        let path = folder.join(FILE);
        let json = serde_json::to_vec(self)
            .map_err(|error| DataError::content(&path, error.to_string()))?;
        polymath_base::write(&path, &json).map_err(DataError::file("write", &path))
    }

    /// Returns the source of the `index`-th document of one of the domain's shards; `None` if it is unknown.
    ///
    /// # Panics
    /// Panics if `index` is not below [`TokenShard::documents`].
    pub fn source_of(&self, shard: &TokenShard, index: usize) -> Option<DocumentSource> {
        let origin = shard.origin_of(index)?;
        Some(DocumentSource {
            path: self.files.get(origin.file as usize)?.clone(),
            record: (origin.record > 0).then_some(origin.record),
        })
    }
}

impl Dataset {
    /// Reads the list of source files of a domain. It is empty for a dataset of an earlier version, which does not
    /// store it.
    ///
    /// # Errors
    /// Fails if the list exists and can't be read.
    pub fn sources(&self, domain: &str) -> Result<DocumentSources, DataError> {
        let path = self.path().join(domain).join(FILE);
        match polymath_base::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(DocumentSources::default())
            }
            Err(error) => Err(DataError::file("read", &path)(error)),
            Ok(json) => serde_json::from_slice(&json).map_err(|error| {
                DataError::content(&path, format!("is not a list of files: {error}"))
            }),
        }
    }
}
