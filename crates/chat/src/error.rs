//! Errors of conversations.

use polymath_data::DataError;
use polymath_model::ModelError;
use polymath_tokenizer::TokenizerError;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The model can't be loaded or computed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The chat template can't be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer can't be opened or can't encode a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template rejects the messages.
    #[error("{0}")]
    Refused(String),
    /// The prompt leaves no room for an answer.
    #[error("the context is full: the prompt has {tokens} tokens, the model's context {context}")]
    ContextFull {
        /// Number of tokens in the prompt.
        tokens: usize,
        /// Maximum number of tokens that the model can read.
        context: usize,
    },
    /// A sampling or length setting is out of range.
    #[error("{0}")]
    Setting(String),
    /// The model has no chat template.
    #[error(
        "`{0}` has no chat template: it continues text, and takes no messages; use plain completion"
    )]
    NoTemplate(String),
    /// The conversation can't be saved.
    #[error("can't write `{}`: {source}", path.display())]
    Save {
        /// Path of the file.
        path: std::path::PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
}

impl ChatError {
    /// Returns true if the request caused the error, rather than the model or the machine.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::ContextFull { .. }
                | Self::Setting(_)
                | Self::NoTemplate(_)
                | Self::Model(ModelError::Input(_))
        )
    }
}
