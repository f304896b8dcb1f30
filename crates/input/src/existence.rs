//! Existence of files, with errors that name the path.

use std::path::Path;

use crate::InputError;

/// Calls [`polymath_files::is_file`]; errors name the path.
///
/// # Errors
/// Fails if the path can't be looked up.
pub fn is_file(path: &Path) -> Result<bool, InputError> {
    polymath_files::is_file(path).map_err(InputError::file("look up", path))
}

/// Calls [`polymath_files::exists`]; errors name the path.
///
/// # Errors
/// Fails if the path can't be looked up.
pub fn exists(path: &Path) -> Result<bool, InputError> {
    polymath_files::exists(path).map_err(InputError::file("look up", path))
}
