//! Reading of JSON files that may be missing.

use std::path::Path;

use polymath_input::InputError;
use serde_json::Value;

/// Reads a JSON file; `None` if it does not exist.
///
/// # Errors
/// Fails if the file can't be read or is not JSON; the message gives the position.
pub fn read_optional_json(path: &Path) -> Result<Option<Value>, InputError> {
    match polymath_input::is_file(path)? {
        true => polymath_input::read_json(path).map(Some),
        false => Ok(None),
    }
}
