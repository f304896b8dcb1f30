//! Existence of files.

use std::path::Path;

use crate::InputError;

/// As [`polymath_files::is_file`].
///
/// # Errors
/// A path that can't be looked up.
pub fn is_file(path: &Path) -> Result<bool, InputError> {
    polymath_files::is_file(path).map_err(InputError::file("look up", path))
}

/// As [`polymath_files::exists`].
///
/// # Errors
/// A path that can't be looked up.
pub fn exists(path: &Path) -> Result<bool, InputError> {
    polymath_files::exists(path).map_err(InputError::file("look up", path))
}
