//! What can go wrong with a model or its folder.

use std::path::{Path, PathBuf};

use polymath_input::InputError;

/// An error of this crate; every one names the file or the value at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file can't be read or written.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of a checkpoint folder is there but does not say what it should.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        message: String,
    },
    /// Weights that compute nothing but NaN.
    #[error(
        "`{}`: the parameter `{name}` has NaN or infinite values: take a checkpoint from before they appeared, or get the \
         file again", path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: String,
    },
    /// Weights that are not saved, since they compute nothing but NaN.
    #[error("the parameter `{0}` has NaN or infinite values: it is not saved")]
    Unsaved(String),
    /// An architecture that can't be built.
    #[error("{0}")]
    Architecture(String),
    /// A batch or prompt that the model can't take.
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
