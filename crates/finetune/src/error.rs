//! Errors of fine-tuning.

use std::path::PathBuf;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinetuneError {
    /// Config that contradicts itself, the base or the data.
    #[error("{0}")]
    Config(String),
    /// File of the run that can't be read or written.
    #[error("can't use `{}`: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// File that can't be read.
    #[error(transparent)]
    Input(#[from] polymath_input::InputError),
    /// Failed tensor operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Error of the dataset.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// Error of the model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Error of scoring.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// Error of training.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
}
