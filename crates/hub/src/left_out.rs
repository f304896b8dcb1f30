//! Stand-ins for the hub client in a build without it: each function returns an error that names the feature to build
//! with.

use std::path::{Path, PathBuf};

use crate::error::failure;
use crate::{DatasetFiles, HubError, Push, Pushed, Repository};

const MEND: &str =
    "this program was built without the hub's client: build it with `--features hub`";

/// Always fails, because this build has no hub client.
///
/// # Errors
/// Fails always.
pub fn model_folder(
    repository: &Repository,
    _accept: &dyn Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, HubError> {
    Err(failure(repository, MEND))
}

/// Always fails, because this build has no hub client.
///
/// # Errors
/// Fails always.
pub fn dataset_files(
    files: &DatasetFiles,
    _is_known: &dyn Fn(&str) -> bool,
) -> Result<Vec<PathBuf>, HubError> {
    Err(failure(&files.repository, MEND))
}

/// Always fails, because this build has no hub client.
///
/// # Errors
/// Fails always.
pub fn push(push: &Push) -> Result<Pushed, HubError> {
    Err(HubError::Push {
        repository: push.repository.to_string(),
        reason: MEND.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_client_names_the_feature() {
        let repository = Repository::parse("owner/name").unwrap();
        let error = model_folder(&repository, &|_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`owner/name`") && error.contains("`--features hub`"),
            "{error}"
        );
    }
}
