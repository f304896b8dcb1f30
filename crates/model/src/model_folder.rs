//! Files of a model folder.

use std::path::Path;

use crate::ModelError;

/// The tokenizer.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Settings of generation, with the tokens that end a generated text.
pub(crate) const GENERATION_CONFIG: &str = "generation_config.json";

/// Writes a file of a model folder that the caller makes durable.
///
/// # Errors
/// A file that can't be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    std::fs::write(path, bytes).map_err(ModelError::file("write", path))
}
