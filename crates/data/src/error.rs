//! Errors of the data crate.

use std::path::{Path, PathBuf};

use polymath_input::InputError;
use polymath_tokenizer::TokenizerError;

/// An error of this crate. Each one names the file, line, key or domain at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file can't be read or written.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// Failed action: `read`, `write`, …
        action: &'static str,
        /// Path of the file or folder.
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
    /// A line of a file is not valid.
    #[error("`{}:{line}`: {message}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: u64,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// A configuration key has an invalid value.
    #[error("`{key}`: {message}")]
    Config {
        /// Dotted name of the key, as in `tokenizer.path`.
        key: String,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// A domain does not exist, or is too small for the purpose.
    #[error("domain `{domain}`: {message}")]
    Domain {
        /// Name of the domain.
        domain: String,
        /// Description of the problem and how to fix it.
        message: String,
    },
    /// Records of the sources can't be turned into documents.
    #[error(
        "{count} {} no document{}:\n  {}\nfix {}, or set `on_bad_record = \"skip\"` to leave {} out",
        if *count == 1 { "record makes" } else { "records make" },
        if *count > first.len() as u64 { format!("; the first {}", first.len()) } else { String::new() },
        first.join("\n  "),
        if *count == 1 { "it" } else { "them" },
        if *count == 1 { "it" } else { "them" },
    )]
    Records {
        /// Number of records in all files that can't be turned into documents.
        count: u64,
        /// Error messages for the first of these records, each with its file and line.
        first: Vec<String>,
    },
    /// Lines of a file can't be used.
    #[error("{}", listed_lines(*count, what, first))]
    Lines {
        /// Number of lines in all files that can't be used.
        count: u64,
        /// Expected kind of line, as in `an item of a task`.
        what: &'static str,
        /// Error messages for the first of these lines, each with its file and line.
        first: Vec<String>,
    },
    /// The tokenizer library failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

/// Returns the message of [`DataError::Lines`]; a single line's message stands alone.
fn listed_lines(count: u64, what: &str, first: &[String]) -> String {
    match first {
        [only] if count == 1 => only.clone(),
        _ => format!(
            "{count} lines are not {what}; the first {}:\n  {}",
            first.len(),
            first.join("\n  ")
        ),
    }
}

impl From<InputError> for DataError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::File {
                action,
                path,
                source,
            } => DataError::File {
                action,
                path,
                source,
            },
            InputError::Content { path, message } => DataError::Content { path, message },
            InputError::Line {
                path,
                line,
                message,
            } => DataError::Line {
                path,
                line,
                message,
            },
        }
    }
}

impl From<TokenizerError> for DataError {
    fn from(error: TokenizerError) -> Self {
        match error {
            TokenizerError::Input(error) => error.into(),
            TokenizerError::Key { key, message } => Self::Config {
                key: format!("tokenizer.{key}"),
                message,
            },
            other => Self::Tokenizer(other.to_string()),
        }
    }
}

impl DataError {
    /// Returns a function for `map_err` that turns an I/O error of `action` on `path` into a [`DataError::File`].
    pub(crate) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> DataError {
        let path = path.to_path_buf();
        move |source| DataError::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn content(path: &Path, message: impl Into<String>) -> DataError {
        DataError::Content {
            path: path.to_path_buf(),
            message: message.into(),
        }
    }

    pub(crate) fn line(path: &Path, line: u64, message: impl Into<String>) -> DataError {
        DataError::Line {
            path: path.to_path_buf(),
            line,
            message: message.into(),
        }
    }

    pub(crate) fn config(key: impl Into<String>, message: impl Into<String>) -> DataError {
        DataError::Config {
            key: key.into(),
            message: message.into(),
        }
    }

    pub(crate) fn domain(domain: &str, message: impl Into<String>) -> DataError {
        DataError::Domain {
            domain: domain.into(),
            message: message.into(),
        }
    }
}
