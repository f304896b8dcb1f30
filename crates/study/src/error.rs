//! Errors of studies.

use std::path::PathBuf;

/// Error of a study.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Options contradict each other, the checkpoints or the data.
    #[error("{0}")]
    Config(String),
    /// Options, a checkpoint or a dataset can't be used. Nothing was started.
    #[error(transparent)]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// The user stopped the study, and it was saved. The same call resumes it.
    #[error("stopped and saved")]
    Interrupted,
    /// The observer of a run failed.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
    /// A file can't be read or written.
    #[error("can't use `{}`: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// An input file can't be read.
    #[error(transparent)]
    Input(#[from] polymath_input::InputError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A dataset can't be used.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// A model can't be used.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// A report can't be made or written.
    #[error(transparent)]
    Report(#[from] polymath_report::ReportError),
    /// A run folder can't be used, or training failed.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
    /// A fine-tuning failed.
    #[error(transparent)]
    Finetuning(#[from] polymath_finetune::FinetuneError),
}

impl StudyError {
    /// Makes the error for a request that is refused before anything was started.
    pub fn refused(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Refused(reason.into())
    }

    /// Converts the error of a model that can't answer a prompt.
    pub(crate) fn chat(error: polymath_chat::ChatError) -> Self {
        Self::Config(error.to_string())
    }

    /// Returns true if the request was refused before anything was started.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Returns a function that adds `path` to an I/O error.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}
