//! What can go wrong in evaluation.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
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
    /// Scores or options that can't be used.
    #[error("{0}")]
    Scores(String),
}
