//! Existence of files, with errors that name the path.

use std::path::Path;

use crate::InputError;

/// Calls [`polymath_base::is_file`]; errors name the path.
///
/// # Errors
/// Fails if the path can't be looked up.
pub fn is_file(path: &Path) -> Result<bool, InputError> {
    polymath_base::is_file(path).map_err(InputError::file("look up", path))
}

/// Calls [`polymath_base::exists`]; errors name the path.
///
/// # Errors
/// Fails if the path can't be looked up.
pub fn exists(path: &Path) -> Result<bool, InputError> {
    polymath_base::exists(path).map_err(InputError::file("look up", path))
}
