//! File names of a model folder, and writing of its files.

use std::path::Path;

use crate::ModelError;

/// Name of the tokenizer file.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Name of the model's configuration file.
pub(crate) const CONFIG: &str = "config.json";
/// Name of the file with the settings of generation, including the tokens that end a generated text.
pub(crate) const GENERATION_CONFIG: &str = "generation_config.json";

/// Writes a file of a model folder; the caller must sync it.
///
/// # Errors
/// Fails if the file can't be written.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    std::fs::write(path, bytes).map_err(ModelError::file("write", path))
}
