//! Errors of training.

use std::path::{Path, PathBuf};

/// Error of this crate; each names the file, key or parameter at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Invalid value of a setting.
    #[error("{0}")]
    Config(String),
    /// Run folder that can't be used as requested.
    #[error("{0}")]
    Run(String),
    /// File that can't be read or written.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Checkpoint whose files differ from the saved ones.
    #[error("the checkpoint `{}` is broken: {message}", path.display())]
    Broken {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Description of the mismatch.
        message: String,
    },
    /// Model that is neither on this machine nor on the hub.
    #[error("{0}")]
    Hub(String),
    /// Diverged training.
    #[error("{0}")]
    Diverged(String),
    /// Evaluation that was stopped from outside.
    #[error("stopped")]
    Stopped,
    /// Failed tensor operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Error of the model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// Failed hook of the phase: saving or evaluating.
    #[error(transparent)]
    Hook(Box<dyn std::error::Error + Send + Sync>),
}

impl TrainError {
    /// Wraps an I/O error with the action and the path of the file.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
