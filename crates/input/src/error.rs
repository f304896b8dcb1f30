//! Errors of reading a file.

use std::path::{Path, PathBuf};

/// A file that can't be read; names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file can't be opened or read.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// `open` or `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Fault, and the way to mend it.
        message: String,
    },
    /// A line of the file is not what it should be.
    #[error("`{}:{line}`: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// Fault, and the way to mend it.
        message: String,
    },
}

impl InputError {
    pub(crate) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> InputError {
        let path = path.to_path_buf();
        move |source| InputError::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn content(path: &Path, message: impl Into<String>) -> InputError {
        InputError::Content {
            path: path.to_path_buf(),
            message: message.into(),
        }
    }
}
