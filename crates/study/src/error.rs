//! Errors of studies.

use std::path::PathBuf;

/// Error of a study.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Options that contradict themselves, the checkpoints or the data.
    #[error("{0}")]
    Config(String),
    /// Options, a checkpoint or a dataset that can't be used. Nothing was started.
    #[error(transparent)]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// Stopped by the user after saving. Calling again resumes.
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
        /// Cause.
        source: std::io::Error,
    },
    /// An input file can't be read.
    #[error(transparent)]
    Input(#[from] polymath_input::InputError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Error of a dataset.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// Error of a model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Error of the evaluation.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// Error of a report.
    #[error(transparent)]
    Report(#[from] polymath_report::ReportError),
    /// Error of a run folder or of training.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
    /// Error of a fine-tuning.
    #[error(transparent)]
    Finetuning(#[from] polymath_finetune::FinetuneError),
}

impl StudyError {
    /// Creates a refusal: the request is at fault and nothing was started.
    pub fn refused(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Refused(reason.into())
    }

    /// Returns whether the request is at fault and nothing was started.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Returns a closure that attaches `path` to an I/O error.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}
