//! Errors of reports.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A dataset.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// Scores or statistics.
    #[error(transparent)]
    Eval(#[from] polymath_eval::EvalError),
    /// Scores that can't be compared, or a report that can't be read.
    #[error("{0}")]
    Report(String),
    /// A file can't be written.
    #[error("can't write `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
