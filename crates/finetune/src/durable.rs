//! Files of a run, written completely or not at all.

use std::path::Path;

use crate::FinetuneError;

/// Writes a file durably: completely or not at all.
///
/// # Errors
/// A file that can't be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FinetuneError> {
    polymath_base::write(path, text.as_bytes()).map_err(|source| FinetuneError::File {
        path: path.to_path_buf(),
        source,
    })
}
