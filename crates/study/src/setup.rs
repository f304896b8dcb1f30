//! Device, operations and progress receiver of a study.

use candle_core::Device;
use polymath_model::{Implementation, LoadOptions, ModelSource, Ops, Precision};

use crate::StudyError;

/// Settings that every study needs in addition to its own options.
pub struct Setup<'a> {
    /// Device to compute on.
    pub device: Device,
    /// Implementation of the operations.
    pub implementation: Implementation,
    /// Precision of scoring.
    pub precision: Precision,
    /// Receiver of the study's progress.
    pub progress: &'a dyn StudyProgress,
}

impl Setup<'_> {
    /// Returns the options to load a model for scoring, without trainable parameters.
    pub fn frozen(&self) -> LoadOptions<'_> {
        let ops = Ops {
            implementation: self.implementation,
            precision: self.precision,
        };
        LoadOptions::frozen(&self.device, ops)
    }

    /// Tells the progress receiver about files of a model folder, or of an adapter's base, that are not used.
    ///
    /// # Errors
    /// Fails if a folder can't be read.
    pub fn note_unused_files(&self, source: ModelSource) -> Result<(), StudyError> {
        for sentence in source.unused_content()? {
            self.progress.say(&format!("note: {sentence}"));
        }
        Ok(())
    }
}

/// Item whose scoring or generation a progress display shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored<'a> {
    /// Held-out text of the domain with this name; progress is counted in tokens.
    Domain(&'a str),
    /// Task with this name; progress is counted in answer choices.
    Task(&'a str),
    /// Text that a model generates under this name; progress is counted in tokens.
    Generated(&'a str),
}

/// Receiver of a study's progress.
pub trait StudyProgress {
    /// Called with a line for the user.
    fn say(&self, text: &str);

    /// Called when scoring of a domain or task starts. The default does nothing.
    fn begin(&self, _scored: Scored) {}

    /// Called after each part: `done` of `all` tokens or choices are scored. The default does nothing.
    fn advance(&self, _done: u64, _all: u64) {}

    /// Called when scoring ends. The default does nothing.
    fn finish(&self) {}
}

/// Receiver that ignores all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentStudy;

impl StudyProgress for SilentStudy {
    fn say(&self, _text: &str) {}
}
