//! Errors of pretraining.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The config contradicts itself or the data.
    #[error("{0}")]
    Config(String),
    /// The dataset.
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
