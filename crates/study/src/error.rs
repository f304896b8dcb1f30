//! Errors of studies.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Options that contradict themselves, the checkpoints or the data.
    #[error("{0}")]
    Config(String),
    /// Options, a checkpoint or a dataset that can't be used for what was asked for: nothing was begun.
    #[error(transparent)]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// Stopped from outside, after saving: the same call goes on.
    #[error("stopped and saved")]
    Interrupted,
    /// What was to observe a run.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
    /// A file can't be read or written.
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
    /// A dataset.
    #[error(transparent)]
    Data(#[from] polymath_data::DataError),
    /// A model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Scoring.
    #[error(transparent)]
    Evaluation(#[from] polymath_eval::EvalError),
    /// A report.
    #[error(transparent)]
    Report(#[from] polymath_report::ReportError),
    /// A run folder.
    #[error(transparent)]
    Training(#[from] polymath_train::TrainError),
    /// A fine-tuning.
    #[error(transparent)]
    Finetuning(#[from] polymath_finetune::FinetuneError),
}

impl StudyError {
    /// Refuses what was asked for, before anything is begun.
    pub fn refused(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Refused(reason.into())
    }

    /// Returns whether nothing was begun: the request is at fault, not what came after it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Returns what turns the error of a file at `path` into one of this crate.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}
