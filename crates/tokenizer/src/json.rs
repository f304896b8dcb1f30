//! Files of JSON that may be missing.

use std::path::Path;

use polymath_input::InputError;
use serde_json::Value;

/// Reads a file of JSON; `None` where there is no such file.
///
/// # Errors
/// A file that can't be read, or is not JSON: with the place of the fault.
pub fn read_optional_json(path: &Path) -> Result<Option<Value>, InputError> {
    match polymath_input::is_file(path)? {
        true => polymath_input::read_json(path).map(Some),
        false => Ok(None),
    }
}
