//! Errors of pretraining.

/// Error of the pretraining crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The config is not valid, or does not fit the data.
    #[error("{0}")]
    Config(String),
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
