//! What can go wrong in evaluation.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The data set.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] polymath_tokenizer::TokenizerError),
    /// The callback that watches scoring said not to go on.
    #[error("stopped")]
    Stopped,
    /// Scores that can't be compared.
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
