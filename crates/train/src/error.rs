//! What can go wrong in training.

use std::path::{Path, PathBuf};

/// An error of this crate; every one names the file, key or parameter at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting that can't be.
    #[error("{0}")]
    Config(String),
    /// A run folder that can't be used as asked.
    #[error("{0}")]
    Run(String),
    /// A file can't be read or written.
    #[error("can't {action} `{}`: {source}", path.display())]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A checkpoint that is not what it was when it was saved.
    #[error("the checkpoint `{}` is broken: {message}", path.display())]
    Broken {
        /// Its folder.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// A model that is neither here nor on the hub.
    #[error("{0}")]
    Hub(String),
    /// Training that has gone wrong.
    #[error("{0}")]
    Diverged(String),
    /// Stopped from outside, in an evaluation.
    #[error("stopped")]
    Stopped,
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] polymath_model::ModelError),
    /// A hook of the phase failed: saving or evaluating.
    #[error(transparent)]
    Hook(Box<dyn std::error::Error + Send + Sync>),
}

impl TrainError {
    /// A file that can't be used, from the system's own error.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
