//! Errors of training.

use std::path::{Path, PathBuf};

/// Error of this crate. Each names the file, key or parameter that caused it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting has an invalid value.
    #[error("{0}")]
    Config(String),
    /// The run folder can't be used as requested.
    #[error("{0}")]
    Run(String),
    /// A file can't be read or written.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// Failed action: `read`, `write`, …
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The files of a checkpoint differ from the saved ones.
    #[error("the checkpoint `{}` is broken: {message}", path.display())]
    Broken {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Difference between the files and the saved ones.
        message: String,
    },
    /// The model is neither on this machine nor on the hub.
    #[error("{0}")]
    Hub(String),
    /// Training diverged.
    #[error("{0}")]
    Diverged(String),
    /// The evaluation was stopped from outside.
    #[error("stopped")]
    Stopped,
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The model can't be used.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// The pretraining or fine-tuning code that the loop calls failed: saving or evaluating.
    #[error(transparent)]
    Hook(Box<dyn std::error::Error + Send + Sync>),
}

impl TrainError {
    /// Returns a function that adds the action and the path to an I/O error.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
