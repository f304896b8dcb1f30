//! File `sides.json`: the split of a small domain's groups, saved so that a later `prepare` keeps it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// Name of the file, in the domain's folder beside the shards.
pub(crate) const FILE: &str = "sides.json";

/// Split of a small domain into training and held-out groups, as stored in `sides.json`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides {
    /// Seed with which the split hashes were computed.
    pub(crate) seed: u64,
    /// Share of the documents that the config held out.
    pub(crate) share: f64,
    /// Name of the field whose values were hashed; `None` if the content of the documents was hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// Split hashes of training groups: only the lowest ones, up to a limit.
    pub(crate) trained: BTreeSet<u64>,
    /// Split hashes of held-out groups: only the lowest ones, up to a limit.
    pub(crate) heldout: BTreeSet<u64>,
}

impl Sides {
    /// Reads the split that a domain had in the dataset in `folder`; `None` if it had none.
    ///
    /// # Errors
    /// Fails if the file exists and can't be read.
    pub(crate) fn read(folder: &Path, domain: &str) -> Result<Option<Self>, DataError> {
        let path = folder.join(domain).join(FILE);
        match polymath_base::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataError::file("read", &path)(error)),
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| {
                let message = format!(
                    "does not say which documents were trained on ({error}): remove it, and the split is made again"
                );
                DataError::content(&path, message)
            }),
        }
    }
}
