//! Errors of reports.

use std::path::PathBuf;

/// Error of a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A dataset can't be used.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// Scores or statistics can't be used.
    #[error(transparent)]
    Eval(#[from] polymath_eval::EvalError),
    /// Scores can't be compared, or a report file can't be read.
    #[error("{0}")]
    Report(String),
    /// A file can't be written.
    #[error("can't write `{}`: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
}
