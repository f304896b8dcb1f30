//! Errors of reading a file.

use std::path::{Path, PathBuf};

/// Error in reading a file. It names the file, and the line if there is one.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file can't be opened or read.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// Failed action: `open` or `read`.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The content of a file is not valid.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// A line of the file is not valid.
    #[error("`{}:{line}`: {message}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: u64,
        /// Description of the problem and how to fix it.
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
