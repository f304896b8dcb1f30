//! Errors of reading a file.

use std::path::{Path, PathBuf};

/// Error of a file that can't be read. Names the file, and the line if there is one.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file can't be opened or read.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// `open` or `read`.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Reason of the failure.
        source: std::io::Error,
    },
    /// The file has wrong content.
    #[error("`{}`: {message}", path.display())]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Description of the fault and how to mend it.
        message: String,
    },
    /// A line of the file has wrong content.
    #[error("`{}:{line}`: {message}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: u64,
        /// Description of the fault and how to mend it.
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
