//! Errors of models and their folders.

use std::path::{Path, PathBuf};

use polymath_input::InputError;

/// Error of this crate. Every variant names the file or the value at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file can't be read or written.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// Verb of the failed action: `read`, `write`, …
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A file of a checkpoint folder has wrong content.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// Weights that are loaded have NaN or infinite values, so every result would be NaN.
    #[error(
        "`{}`: the parameter `{name}` has NaN or infinite values: take a checkpoint from before they appeared, or get the \
         file again", path.display()
    )]
    NotFinite {
        /// Path of the file.
        path: PathBuf,
        /// Name of the parameter.
        name: String,
    },
    /// Weights were not saved, because they have NaN or infinite values.
    #[error("the parameter `{0}` has NaN or infinite values: it is not saved")]
    Unsaved(String),
    /// A model's architecture is not supported or not valid.
    #[error("{0}")]
    Architecture(String),
    /// The model can't process a batch or a prompt.
    #[error("{0}")]
    Input(String),
}

impl From<InputError> for ModelError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::File {
                action,
                path,
                source,
            } => Self::File {
                action,
                path,
                source,
            },
            InputError::Content { path, message } => Self::Content { path, message },
            InputError::Line {
                path,
                line,
                message,
            } => Self::Content {
                path,
                message: format!("line {line} {message}"),
            },
        }
    }
}

impl ModelError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn content(path: &Path, message: impl Into<String>) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            message: message.into(),
        }
    }
}
