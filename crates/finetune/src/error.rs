//! Errors of fine-tuning.

use std::path::PathBuf;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinetuneError {
    /// The config contradicts itself, the base or the data.
    #[error("{0}")]
    Config(String),
    /// Stopped from outside before the work was done. Calling again resumes.
    #[error("stopped")]
    Stopped,
    /// A file of the run can't be read or written.
    #[error("can't use `{}`: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A file can't be read.
    #[error(transparent)]
    Input(#[from] polymath_input::InputError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The dataset can't be used.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// The model can't be used.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Scoring failed.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// Training failed.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
}
