//! Errors of reports.

use std::path::PathBuf;

/// Error of a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Error of a dataset.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// Error of scores or statistics.
    #[error(transparent)]
    Eval(#[from] polymath_eval::EvalError),
    /// Scores that can't be compared, or a report that can't be read.
    #[error("{0}")]
    Report(String),
    /// A file can't be written.
    #[error("can't write `{}`: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}
