//! Errors of training.

use std::path::{Path, PathBuf};

/// Advice for a run whose activations do not fit into memory.
pub(crate) const SMALLER_ACTIVATIONS: &str = "raise `training.accumulation_steps`, set `training.recompute = \"block\"`, \
    or lower `training.batch_size` or `training.sequence_length`";

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
    /// An evaluation was stopped by the user's stop flag.
    #[error("stopped")]
    Stopped,
    /// A tensor operation of Candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The model can't be loaded or computed.
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

    /// Adds advice to the error of a GPU that is out of memory: the keys to lower.
    pub(crate) fn with_memory_advice(self) -> Self {
        let text = self.to_string();
        if !text.contains("OUT_OF_MEMORY") && !text.contains("out of memory") {
            return self;
        }
        let first = text.lines().next().unwrap_or_default();
        Self::Config(format!(
            "the memory of the GPU is full ({first}): {SMALLER_ACTIVATIONS}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the error of a GPU out of memory gets advice with keys, and that other errors stay unchanged.
    #[test]
    fn a_full_gpu_gets_advice() {
        let of = |text: &str| {
            let error = TrainError::from(candle_core::Error::Msg(text.into()));
            error.with_memory_advice().to_string()
        };
        let advice = of("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")\nbacktrace");
        assert!(advice.contains("`training.recompute"), "{advice}");
        assert!(!advice.contains("backtrace"), "{advice}");
        assert_eq!(of("shape mismatch"), "shape mismatch");
    }
}
