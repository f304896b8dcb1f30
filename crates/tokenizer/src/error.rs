//! Errors of the tokenizer crate.

use std::path::Path;

use polymath_input::InputError;

/// Error of this crate. Every variant names the file or the key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file can't be read, or its content is not valid.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The value of a key of the `[tokenizer]` table is not valid.
    #[error("`tokenizer.{key}`: {message}")]
    Key {
        /// Name of the configuration key.
        key: &'static str,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// The tokenizer library can't encode a text.
    #[error("tokenizer: {0}")]
    Text(String),
}

impl TokenizerError {
    pub(crate) fn content(path: &Path, message: impl Into<String>) -> Self {
        Self::Input(InputError::Content {
            path: path.to_path_buf(),
            message: message.into(),
        })
    }
}
