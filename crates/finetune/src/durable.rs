//! Writing of a run's files, completely or not at all.

use std::path::Path;

use crate::FinetuneError;

/// Writes a file durably: after a crash it is complete or absent.
///
/// # Errors
/// Fails if the file can't be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FinetuneError> {
    polymath_base::write(path, text.as_bytes()).map_err(|source| FinetuneError::File {
        path: path.to_path_buf(),
        source,
    })
}
