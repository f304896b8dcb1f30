//! What can go wrong in fine-tuning.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinetuneError {
    /// The config contradicts itself, the base or the data.
    #[error("{0}")]
    Config(String),
    /// A file of the run can't be read or written.
    #[error("can't use `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that can't be read.
    #[error(transparent)]
    Input(#[from] polymath_input::InputError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The data set.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Scoring.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// Training.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
}
