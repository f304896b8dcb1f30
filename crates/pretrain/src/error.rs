//! Errors of pretraining.

/// Error of the pretraining crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The config is not valid, or does not fit the data.
    #[error("{0}")]
    Config(String),
    /// The dataset can't be opened, read or used.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// The model can't be built, loaded or computed.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// The evaluation on held-out documents failed.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// The training loop or the run folder failed.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
}
