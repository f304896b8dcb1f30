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
    /// A tensor operation of Candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A dataset can't be opened, read or used.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// The model can't be loaded or computed.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// The evaluation on held-out documents failed.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// The training loop or the run folder failed.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
}
