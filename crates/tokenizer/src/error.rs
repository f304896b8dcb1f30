//! Errors of this crate.

use std::path::Path;

use polymath_input::InputError;

/// An error of this crate; every one names the file or the key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file can't be read, or does not say what it should.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A key of the `[tokenizer]` table holds something that can't be.
    #[error("`tokenizer.{key}`: {message}")]
    Key {
        /// The key.
        key: &'static str,
        /// The fault, and how to mend it.
        message: String,
    },
    /// A text that can't be encoded.
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
