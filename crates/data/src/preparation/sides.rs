//! Sides of a small domain's groups, as `sides.json` keeps them.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// File beside the shards of a domain.
pub(crate) const FILE: &str = "sides.json";

/// The sides of a small domain, as `sides.json` keeps them.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides {
    /// Seed of the hashes.
    pub(crate) seed: u64,
    /// The share that was held out.
    pub(crate) share: f64,
    /// The field whose values were hashed; `None`: the content was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// Hashes of the groups that are trained on, the lowest ones.
    pub(crate) trained: BTreeSet<u64>,
    /// Hashes of the groups that are held out, the lowest ones.
    pub(crate) heldout: BTreeSet<u64>,
}

impl Sides {
    /// Reads the sides that a domain had in the dataset in `folder`, if there are any.
    ///
    /// # Errors
    /// A file that is there and can't be read.
    pub(crate) fn read(folder: &Path, domain: &str) -> Result<Option<Self>, DataError> {
        let path = folder.join(domain).join(FILE);
        match polymath_base::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataError::file("read", &path)(error)),
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| {
                let message = format!(
                    "does not say which documents were trained on ({error}): remove it, and the split is made anew"
                );
                DataError::content(&path, message)
            }),
        }
    }
}
