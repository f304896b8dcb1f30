//! Errors of the evaluation crate.

/// Error of the evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Error of a dataset.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// Error of a model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Error of a tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] polymath_tokenizer::TokenizerError),
    /// The progress callback stopped scoring.
    #[error("stopped")]
    Stopped,
    /// Scores or options are not valid.
    #[error("{0}")]
    Scores(String),
}
