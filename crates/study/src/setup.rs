//! Where a study computes, and who is told how far it is.

use std::path::Path;

use candle_core::Device;
use polymath_model::{Implementation, LoadOptions, Ops, Precision};

use crate::StudyError;

/// What every study needs beside its own options.
pub struct Setup<'a> {
    /// Where to compute.
    pub device: Device,
    /// How operations are computed.
    pub implementation: Implementation,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl Setup<'_> {
    /// Returns how a model is loaded that only scores: in full precision, nothing trained.
    pub fn frozen(&self) -> LoadOptions<'_> {
        let ops = Ops {
            implementation: self.implementation,
            precision: Precision::F32,
        };
        LoadOptions::frozen(&self.device, ops)
    }

    /// Says what a model folder, or the base of an adapter, holds that is not used.
    ///
    /// # Errors
    /// A folder that can't be read.
    pub fn say_what_is_left_out(
        &self,
        folder: &Path,
        base: Option<&Path>,
    ) -> Result<(), StudyError> {
        for sentence in polymath_model::left_out(folder, base)? {
            self.progress.say(&format!("note: {sentence}"));
        }
        Ok(())
    }
}

/// What is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored<'a> {
    /// A domain by its name, counted in tokens.
    Domain(&'a str),
    /// A task by its name, counted in choices.
    Task(&'a str),
}

/// Takes what a study says on its way.
pub trait Progress {
    /// Takes a line for a person.
    fn say(&self, text: &str);

    /// Scoring begins. The default does nothing.
    fn begin(&self, _scored: Scored) {}

    /// `done` of `all` are scored. The default does nothing.
    fn advance(&self, _done: u64, _all: u64) {}

    /// Scoring has ended. The default does nothing.
    fn finish(&self) {}
}

/// Takes everything and says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn say(&self, _text: &str) {}
}
